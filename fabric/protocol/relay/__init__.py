"""The relay's core."""
