"""Commands that only look: why somebody may or may not, what a node did, which relay is the nearest."""
