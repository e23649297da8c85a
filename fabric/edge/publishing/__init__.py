"""From what a program publishes to signed messages that the relay holds."""
