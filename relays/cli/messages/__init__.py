"""Commands that publish and subscribe: messages, and where they end."""
