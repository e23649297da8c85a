"""Approvers: what they are asked, and what they say."""
