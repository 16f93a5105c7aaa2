"""Faults under load: an acknowledged write is stored, once, and nobody waits without a limit."""
