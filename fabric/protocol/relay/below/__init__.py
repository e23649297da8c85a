"""Who is below a relay, and what those say of themselves."""
