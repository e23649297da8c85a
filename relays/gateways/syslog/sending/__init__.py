"""Syslog out: the kind of sinks that sends messages as RFC 5424 over UDP, TCP and TLS.

    settings    what a declaration says
    writing     a message as one of syslog's
    channel     a socket, and what of it the other machine has
    sink        the kind, and its sink
"""
