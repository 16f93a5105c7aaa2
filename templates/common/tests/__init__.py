"""Tests of the service, on a PostgreSQL database of their own."""
