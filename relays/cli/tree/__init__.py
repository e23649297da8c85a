"""Commands for a tree of relays: its file, running it here or on several machines, and how it is."""
