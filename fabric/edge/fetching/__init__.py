"""Fetching what an action left at its target (SPEC 9.9)."""
