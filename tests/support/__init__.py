"""What several tests use: ports, waiting, a proxy, stubs, servers and a user of a project."""
