"""The tests of the service, on their own PostgreSQL database."""
