"""A signed message: its header, the envelope around it, its labelled parts, verification, its lifetime, and reports."""
