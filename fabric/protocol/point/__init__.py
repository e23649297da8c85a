"""The control point's core."""
