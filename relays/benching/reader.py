"""`python -m relays.benching.reader IDENTITY TOPIC RUN PUBLISHER`: one reader of a run, in a process of its own.

So a reader costs its publisher nothing, and what it costs itself can be told. It says in lines of JSON, on standard
output, that it is ready, and a few times a second how far it is. On the line `end N` it waits for so many records, or
until no more come, and reports. It ends with its standard input.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Final

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.protocol.base.errors import FabricError
from relays.benching.tally import Tally
from relays.logs import set_up_logs
from relays.streams import lossy, standard_input
from relays.terminal import say_json, set_up

# How often it says how far it is.
TELL_S: Final = 0.1
# Nothing came for so long: nothing more will.
QUIET_S: Final = 3.0
_GROUP = 500
_LOOK_S = 0.01


class _Answers:
    """What is said to who started this, by several threads a line at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, **what: Any) -> None:
        """Nobody is told where who started this has gone: then standard input ends, too."""
        with self._lock, lossy():
            say_json(what)


def read(identity: str, topic: str, run: str, publisher: str) -> None:
    """Until standard input ends. What stands against it is said as an error."""
    tally, over, answers = Tally(run, publisher), threading.Event(), _Answers()
    threads: list[threading.Thread] = []
    try:
        with ControlPoint(as_identity(identity)) as point, point.subscribe(topic) as messages:
            began_s = time.process_time()

            def answer() -> None:
                for line in standard_input("what the reader is told"):
                    _, count = line.split()
                    _await(tally, int(count))
                    cpu_s = time.process_time() - began_s
                    answers.say(report={**tally.report(), "cpu_s": round(cpu_s, 6)})
                over.set()
                messages.close_later()

            def tell() -> None:
                while not over.wait(TELL_S):
                    answers.say(records=tally.records, reached=tally.reached, withheld=tally.withheld)

            if messages.in_force:  # else it says why not as soon as it is asked for a message
                answers.say(ready=True)
                threads += [threading.Thread(target=work, name=f"bench {work.__name__}") for work in (answer, tell)]
                for thread in threads:
                    thread.start()
            while group := messages.group(_GROUP):
                now_s = time.monotonic()
                for message in group:
                    tally.take(message, now_s)
    except FabricError as error:
        answers.say(error={"code": error.code.number, "detail": error.detail, "next": error.next_step})
    for thread in threads:  # they end with standard input
        thread.join()


def _await(tally: Tally, count: int) -> None:
    seen, since_s = tally.records, time.monotonic()
    while tally.records < count and time.monotonic() - since_s < QUIET_S:
        if tally.records != seen:
            seen, since_s = tally.records, time.monotonic()
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    set_up()
    set_up_logs("error")
    read(*sys.argv[1:])
