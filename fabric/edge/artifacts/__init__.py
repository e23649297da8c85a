"""Artifacts: what actions leave at their targets, too large for a result (SPEC 9.9)."""
