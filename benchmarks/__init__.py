"""What the service costs, next to the least that its libraries allow and to the usual alternatives."""
