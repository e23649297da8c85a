"""Effects of actions that end: their leases, the time that those go by, and reverting what is over."""
