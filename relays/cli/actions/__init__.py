"""Commands for response actions: asking for them, approving them, and what becomes of them."""
