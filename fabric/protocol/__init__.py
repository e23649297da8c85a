"""The protocol, pure: bytes and time in, decisions out. SPEC.md beside this file is the normative text.

Nothing in here reads a clock, a socket or a file, starts a thread or rolls a die; tests/unit/test_architecture.py
holds it to that. The same code runs in a relay process, in a control point and in the simulator.
"""
