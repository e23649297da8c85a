"""The process of one relay: its loop, what it is told and may use, its state for others, and what it looks after."""
