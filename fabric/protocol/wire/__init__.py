"""The frames between two nodes."""
