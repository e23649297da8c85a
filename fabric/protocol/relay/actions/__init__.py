"""What a relay does with actions: where they turn, and on their way."""
