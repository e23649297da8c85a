"""What sinks share that hand over to another machine.

    texts    a message as JSON
    tls      certificates, of theirs and of ours
    trying   again and again, until it is taken
    groups   messages for a broker, which says of each what became of it
    names    a subject or a topic there, from a topic here
    headers  what its consumers route by
"""
