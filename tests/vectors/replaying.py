"""A recorded conversation, held again with today's core in the place of one of those who took part.

What the others said is as it was recorded. What today's core says has to be what was said then, frame by frame on each
link and at the same time: the same bytes, or, where a later version appended something, the same elements with more
after them, as far as 0.1 could read them. What may differ nevertheless is in `DIFFERS`. When a node asks whether its
peer is there is its own matter: a PING has to be one, at whatever time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fabric.protocol.base.codec import pack
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ping
from tests.vectors.played import TICK_MS, Turn
from tests.vectors.reader import NAMES, UnreadableError, name_of, seen
from tests.vectors.recording import Recording

# Number of the frame, and which of its elements: a HELLO's highest version, since a later one speaks more, and the
# listener of then chooses what it knows; and a REJECT's words for people.
DIFFERS = {(1, 2), (3, 2)}
PING = "PING"


class MismatchError(AssertionError):
    """Today's core answers otherwise than 0.1 did."""


def replay(recording: Recording, name: str, heard: Callable[[bytes], bytes] = bytes) -> int:
    """How many frames it said but for PINGs, all as they were recorded. Raises MismatchError. `heard`: a frame as it
    comes in."""
    node, said, at_ms = recording.play(name), 0, 0

    def check_turn(recorded: Turn, did: list[list[Any]]) -> int:
        now_ms = recording.begins_ms + recorded.at_ms
        return check(name, recorded, node.turn(recorded.at_ms, did), encode_frame(Ping(now_ms)))

    for turn in [turn for who, turn in recording.turns if who == name]:
        while at_ms < turn.at_ms:
            check_turn(Turn(at_ms, [], [], [], []), [])
            at_ms += TICK_MS
        if at_ms == turn.at_ms:
            at_ms += TICK_MS
        did = [[*what[:2], heard(what[2])] if what[0] == "frame" else what for what in turn.did]
        said += check_turn(turn, did)
    return said


def check(name: str, recorded: Turn, today: Turn, ping: bytes) -> int:
    """Whether today's turn is the recorded one, and each of its PINGs is `ping`; how many other frames it said."""
    where = f"{name} at {recorded.at_ms} ms"
    before, after = ([each for each in turn.said if name_of(each[1]) != PING] for turn in (recorded, today))
    pairs = [(ping, raw) for _, raw in today.said if name_of(raw) == PING]
    for then, now in zip(before, after, strict=False):
        if then[0] != now[0]:
            raise MismatchError(f"{where}: {name_of(now[1])} by link {now[0]}, and not {name_of(then[1])} by {then[0]}")
        pairs.append((then[1], now[1]))
    for problem in filter(None, (differs(*pair) for pair in pairs)):
        raise MismatchError(f"{where}: {problem}")
    if len(before) != len(after):
        frames = [[name_of(raw) for _, raw in each] for each in (before, after)]
        raise MismatchError(f"{where}: said {frames[1]}, and not {frames[0]}")
    if (today.told, today.ended) != (recorded.told, recorded.ended):
        raise MismatchError(f"{where}: told {today.told}, and not {recorded.told}; ended {today.ended}")
    return len(after)


def differs(then: bytes, now: bytes) -> str:
    """What of a frame 0.1 would not find as it was; empty: it would not notice."""
    if then == now:
        return ""
    try:
        before, after = seen(then), seen(now)
    except UnreadableError as error:
        return f"0.1 cannot read it: {error}"
    name = NAMES[before[0]]
    if after[0] != before[0]:
        return f"{name_of(now)}, and not {name}"
    at = [
        at for at, pair in enumerate(zip(before, after, strict=True))
        if (before[0], at) not in DIFFERS and pack(pair[0]) != pack(pair[1])
    ]
    return f"{name} differs at {at}" if at else ""
