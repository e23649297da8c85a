"""The kind of sinks that produces to Apache Kafka. It takes the extra `kafka`.

    settings    what a declaration says
    answers     what a fault means for what was produced
    link        the producer, and what it has not reported on yet
    sink        the kind, and its sink
"""
