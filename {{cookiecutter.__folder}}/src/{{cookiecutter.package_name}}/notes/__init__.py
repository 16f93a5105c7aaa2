"""The example domain."""
