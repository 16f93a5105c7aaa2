"""Tests of the example domain. Delete them together with it."""
