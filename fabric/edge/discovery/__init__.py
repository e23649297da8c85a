"""Which relay is the nearest, for a control point that names none."""
