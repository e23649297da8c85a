"""The words of security automation: TLP labels, severity, topics, selectors, actions and their arguments."""
