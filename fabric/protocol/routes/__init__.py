"""Who is where, and who wants what."""
