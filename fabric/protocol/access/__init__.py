"""Who may publish, subscribe, request and execute what, and how often."""
