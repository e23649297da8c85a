"""Handlers of actions: which there are, what they answer, and what of that their requesters are told."""
