"""A signed message: its layout, its labelled parts, verification, its lifetime, and reports."""
