"""What a program passes in: checked, and what to write instead."""
