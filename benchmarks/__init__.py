"""What the service costs, beside the least that its libraries allow and what one would do instead."""
