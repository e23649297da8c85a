"""`fabric edge`, and commands for what it runs: handlers of actions, sources and sinks."""
