"""A program's requests for actions, and what became of each target."""
