"""Commands for who belongs to a fabric: its authority, credentials, joining, revocations."""
