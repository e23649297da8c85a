"""Who is who: credentials, their chains, delegation, revocations, the directory, and who is known."""
