"""What one would usually write instead: one transaction for the whole request."""
