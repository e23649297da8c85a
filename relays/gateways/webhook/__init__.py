"""The kind of sinks that posts messages to a URL.

    settings    what a declaration says
    bodies      messages as JSON or as CloudEvents
    signing     signatures as Standard Webhooks has them
    answers     what an HTTP status means for what was posted
    sink        the kind, and its sink
"""
