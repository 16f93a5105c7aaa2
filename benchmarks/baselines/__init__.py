"""The least that a framework and a driver can do: the same answers, no middleware and no checks."""
