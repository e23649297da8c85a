"""What was given to an identity to execute, on disk: no action is executed a second time, and none is forgotten."""
