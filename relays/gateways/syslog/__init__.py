"""Syslog in, in all the dialects that are sent, from UDP, TCP and TLS; and out, in `sending`.

    framing     messages out of a stream, or a datagram
    reading     one message as a record: `rfc5424`, `rfc3164`, `cef`, `leef`, and what these share
    settings    what a declaration says
    peers       who may send, and how much; `counts`: what was not taken
    listening   the thread that reads: `stream`, `datagrams`, `tls`
    batches     from that thread to the one that takes
    source      the kind, and its source
"""
