"""The kind of sinks that publishes to a stream of NATS JetStream. It takes the extra `nats`.

    settings    what a declaration says
    keys        what a connection proves: nkeys, and files with credentials
    answers     what a fault means for what was published
    acks        acknowledgements, each for its message
    link        the connection, on a thread of its own
    sink        the kind, and its sink
"""
