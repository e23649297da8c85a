"""A bad parent: somebody with the keys of the relay that is the parent of the one under attack.

It is polite enough to stay the parent: it acknowledges what climbs, and gives credit. When it goes, the relay has an
honest backup to go to.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Direction, Pong, Role
from scripts.attacks import frames
from scripts.attacks.flood import Attack, Flood, Frames, Spoils
from scripts.attacks.peer import Peer, now_ms

_WHO = "parent"
_ME = "boss"
_YEARS_MS = 10 * 365 * 86_400_000


def _parent(kind: str, story: str, made: Frames, *introduces: str, frame_bytes: int = 30_000,
            per_link: bool = False) -> Flood:
    return Flood(_WHO, kind, story, _ME, made, per_link, introduces, Role.PARENT, frame_bytes=frame_bytes)


def _told(ahead_ms: int) -> bytes:
    """A PONG that says how late it is, as if it were asked a moment ago."""
    asked_ms = now_ms()
    return encode_frame(Pong(asked_ms, max(0, asked_ms + ahead_ms)))


def _clocks(*_: object) -> Iterator[bytes]:
    """Ten years ahead, at the beginning of time, a minute off, and true: in turn."""
    while True:
        for ahead_ms in (_YEARS_MS, -_YEARS_MS, 60_000, 0, random.randrange(_YEARS_MS)):
            yield _told(ahead_ms)


def _ahead(*_: object) -> Iterator[bytes]:
    while True:
        yield _told(_YEARS_MS)


def _down(make: Callable[[Spoils], Callable[[], bytes]], lane: Lane = Lane.LOW,
          targets: tuple[str, ...] = ()) -> Frames:
    """Envelopes, down."""
    return lambda spoils, _: frames.pool_of(make(spoils), direction=Direction.DOWN, lane=lane, targets=targets)


def _of_kinds(spoils: Spoils) -> Callable[[], bytes]:
    """What its own sensor may publish and may not."""
    return frames.of_every_kind(spoils.identity("far"))


def _actions(spoils: Spoils) -> Callable[[], bytes]:
    """A few: more it was never sent."""
    soar = spoils.identity("soar")
    few = frames.again([frames.action(soar) for _ in range(16)])
    return lambda: next(few)


def _results(spoils: Spoils) -> Callable[[], bytes]:
    wall = spoils.identity("wall")
    return lambda: frames.envelope(
        wall, {"end": "completed"}, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=os.urandom(32)
    )


def _new_results(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    """Each of them another one: they fill what remembers what was seen."""
    one = _results(spoils)
    while True:
        yield frames.data([one() for _ in range(32)], direction=Direction.DOWN)


def _forged(spoils: Spoils) -> Callable[[], bytes]:
    soar = spoils.identity("soar")
    return lambda: frames.forged(soar)


def _withdrawals(*_: object) -> Iterator[bytes]:
    return frames.withdrawals(("sensor", "wall", "reader", "soar", "cell"))


def _rest(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    return frames.of_all_kinds(
        frames.acks(), frames.nacks(), frames.credits_given(), frames.pings(), frames.reports(), frames.joins(),
    )


ATTACKS: tuple[Attack, ...] = (
    _parent("pong", "tells wild times, ten years ahead and behind", _clocks, frame_bytes=100),
    Flood(_WHO, "pong-ahead", "tells one and the same time, ten years ahead", _ME, _ahead, role=Role.PARENT,
          frame_bytes=100, ahead_ms=_YEARS_MS),
    _parent("data", "sends down messages of every kind, of a sensor that was turned", _down(_of_kinds), "far"),
    _parent("data-actions", "sends down actions of the past, again and again", _down(_actions, Lane.HIGH, ("wall",)),
            "soar"),
    _parent("data-forged", "sends down actions in a requester's name that nobody signed",
            _down(_forged, Lane.HIGH, ("wall",)), "soar"),
    _parent("data-results", "sends down results of actions that nobody asked for, always new ones", _new_results,
            "wall"),
    _parent("documents", "hands over old and forged LISTS, RULES and DIRECTORY",
            lambda spoils, _: frames.documents(spoils, spoils.identity(_ME)), frame_bytes=200_000),
    _parent("withdrawals", "withdraws thousands of sessions, below and nowhere", _withdrawals, per_link=True,
            frame_bytes=200_000),
    _parent("intro-forged", "introduces credentials that nobody signed, hundreds a frame",
            lambda spoils, _: frames.forged_intros(spoils.identity(_ME)), frame_bytes=100_000),
    _parent("joined", "answers questions that nobody asked", lambda *_: frames.joined(), frame_bytes=20_000),
    _parent("rest", "sends ACK, NACK, CREDIT, PING, APPLIED, DENIED and JOIN, in turn", _rest, frame_bytes=100_000),
    _parent("bye", "says BYE and comes again, without end", lambda *_: frames.byes(), frame_bytes=100),
    _parent("noise", "sends frames of the largest size, or depth, with nothing in them",
            lambda *_: frames.noise(), frame_bytes=200_000),
)
