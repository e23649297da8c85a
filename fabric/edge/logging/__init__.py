"""What a control point logs: printable text, bounded."""
