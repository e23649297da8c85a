"""The links to relays, how other threads reach the thread that has them, and the state and the end of both."""
