"""Joining a fabric, and the questions that are asked of an issuer."""
