"""The ends of a chain of relays: a publisher and a reader, as a program would write them on `fabric.edge`.

    python -m scripts.comparison.fabric_ends publish IDENTITY stream|bulk|singles
    python -m scripts.comparison.fabric_ends read IDENTITY PATTERN stream|bulk|durable
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from pathlib import Path

from fabric.edge.blocking import ControlPoint
from fabric.edge.publishing.receipts import Many
from scripts.comparison.records import (
    ALERT_TOPIC,
    BULK,
    GAP_S,
    LABELS,
    RECORD,
    STREAM_TOPIC,
    Taken,
)
from scripts.comparison.saying import arguments, say
from scripts.comparison.singles import Singles

# Hand-overs of many that wait for their outcomes at a time.
_MANY_MAX = 8
_FLUSH_S = 110.0


def publish(identity: str, how: str) -> None:
    """`publish S`: for so many seconds as fast as it is let, then until all is durable. `probe S`: a critical one now
    and then. `bulk N`: so many records, however long it takes. What it says: how many, when it began, and when the last
    was acknowledged."""
    begin = {"stream": _stream, "bulk": _bulk, "singles": _singles}[how]
    with ControlPoint(Path(identity)) as point:
        say(ready=True)
        for line in sys.stdin:
            what, amount = line.split()
            began_s = time.perf_counter()
            if what == "bulk":
                count = _bulk(point, math.inf, int(amount))
            else:
                count = (_probe if what == "probe" else begin)(point, began_s + float(amount))
            point.flush(_FLUSH_S)
            say(published=count, began_s=began_s, held_s=time.perf_counter())


def _stream(point: ControlPoint, until_s: float) -> int:
    n = 0
    while time.perf_counter() < until_s:
        point.publish_later(STREAM_TOPIC, {**RECORD, "n": n}, labels=LABELS, severity="low")
        n += 1
    return n


def _singles(point: ControlPoint, until_s: float) -> int:
    singles = Singles(point, STREAM_TOPIC)
    while time.perf_counter() < until_s:
        singles.publish(RECORD, severity="low")
    return singles.count


def _bulk(point: ControlPoint, until_s: float, records_max: float = math.inf) -> int:
    n, waiting = 0, deque[Many]()
    while time.perf_counter() < until_s and n < records_max:
        count = int(min(BULK, records_max - n))
        records = [{**RECORD, "n": each} for each in range(n, n + count)]
        waiting.append(point.publish_many_later(STREAM_TOPIC, records, labels=LABELS, severity="low"))
        n += count
        if len(waiting) >= _MANY_MAX:
            _all_held(waiting.popleft())
    for many in waiting:
        _all_held(many)
    return n


def _all_held(many: Many) -> None:
    for outcome in many.result(_FLUSH_S):
        if not isinstance(outcome, str):
            raise outcome


def _probe(point: ControlPoint, until_s: float) -> int:
    n = 0
    while (now_s := time.perf_counter()) < until_s:
        point.publish_later(
            ALERT_TOPIC, {**RECORD, "n": n, "at": now_s}, labels=LABELS, severity="critical"
        )
        n += 1
        time.sleep(GAP_S)
    return n


def read(identity: str, pattern: str, how: str) -> None:
    """Take what comes, one by one or as much as waits. Who is `durable` gets what came while nobody read, too."""
    taken, durable = Taken(), how == "durable"
    outbox = Path(identity) / "bench.outbox" if durable else None
    with (
        ControlPoint(Path(identity), outbox=outbox) as point,
        point.subscribe(pattern, durable=durable) as messages,
    ):
        taken.answer_in_thread(messages.close_later)
        say(ready=True)
        if how != "stream":
            while group := messages.group(BULK):
                for message in group:
                    taken.take(message.content)
        else:
            for message in messages:
                taken.take(message.content)


if __name__ == "__main__":
    what, *rest = arguments()
    publish(*rest) if what == "publish" else read(*rest)
