"""The tests of the example domain, which go when it goes."""
