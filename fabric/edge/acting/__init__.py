"""Executing actions: from a delivery to a call of its handler, and to the one result that its requester gets."""
