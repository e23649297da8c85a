"""Audit logs as operators see them: where they are, whether they are whole, what is in them."""
