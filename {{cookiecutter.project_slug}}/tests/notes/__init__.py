"""The tests of the example domain."""
