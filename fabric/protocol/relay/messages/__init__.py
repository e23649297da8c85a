"""What happens to a message at a relay."""
