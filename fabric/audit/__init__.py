"""The audit log of a node on disk: segments, the log that grows in them, and what its driver tells it."""
