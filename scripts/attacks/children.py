"""A bad child: somebody with a relay's keys who connects to that relay's parent and speaks by hand.

Its members are a sensor and a firewall. What they signed it has in plenty: in here their keys stand for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from fabric.edge.identity import Identity
from fabric.protocol.envelope import Kind
from fabric.protocol.routing import sign_attachment
from fabric.protocol.severity import Lane
from fabric.protocol.wire import Direction, Intro, Role, Routes, encode_frame
from scripts.attacks import frames
from scripts.attacks.flood import Attack, Flood, Frames, Ghosts, Spoils
from scripts.attacks.peer import Peer, now_ms

_WHO = "child"
_ME = "low"
_NEW_EVENTS = 32


def _child(kind: str, story: str, made: Frames, frame_bytes: int = 30_000) -> Flood:
    return Flood(_WHO, kind, story, _ME, made, role=Role.CHILD, frame_bytes=frame_bytes)


def _introduced(spoils: Spoils, flood: Iterator[bytes], *ids: str) -> Iterator[bytes]:
    """Whoever signed what comes is introduced first, or none of it is looked at."""
    yield encode_frame(Intro([spoils.identity(id_).credential.raw for id_ in ids]))
    yield from flood


def _replayed(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    sensor = spoils.identity("sensor-low")
    return _introduced(spoils, frames.pool_of(lambda: frames.envelope(sensor)), sensor.id)


def _new_events(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    sensor = spoils.identity("sensor-low")
    yield encode_frame(Intro([sensor.credential.raw]))
    while True:
        yield frames.data([frames.envelope(sensor) for _ in range(_NEW_EVENTS)])


def _past_action(spoils: Spoils) -> Callable[[], bytes]:
    """A few: more its firewall was never sent."""
    soar = spoils.identity("soar")
    few = frames.again([frames.action(soar) for _ in range(16)])
    return lambda: next(few)


def _moved_actions(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    """Actions that its firewall was once sent, up again as if it had moved, to another one too."""
    flood = frames.pool_of(_past_action(spoils), lane=Lane.HIGH, targets=("wall", "wall-low"), moved=1)
    return _introduced(spoils, flood, "soar")


def _commands(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    flood = frames.pool_of(_past_action(spoils), direction=Direction.DOWN, lane=Lane.HIGH, targets=("wall",))
    return _introduced(spoils, flood, "soar")


def _results(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    """Of actions that nobody asked for, signed by a firewall that was turned too."""
    wall = spoils.identity("wall-low")

    def one() -> bytes:
        return frames.envelope(
            wall, {"end": "completed"}, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=os.urandom(32)
        )

    return _introduced(spoils, frames.pool_of(one), wall.id)


def _forged(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    sensor = spoils.identity("sensor-low")
    return _introduced(spoils, frames.pool_of(lambda: frames.forged(sensor)), sensor.id)


def _withdrawals(*_: object) -> Iterator[bytes]:
    return frames.withdrawals(("sensor", "wall", "reader", "soar", "mid"))


def _reattached(spoils: Spoils, peer: Peer) -> Iterator[bytes]:
    return frames.attachments(spoils.identity("wall-low"), _ME, peer.session, executes=True)


def _ghosts(spoils: Spoils, peer: Peer) -> Iterator[bytes]:
    return frames.attachments(spoils.identity("sensor-low"), _ME, peer.session, new_sessions=True)


def _places(spoils: Spoils, peer: Peer) -> Iterator[bytes]:
    return frames.attachments(spoils.identity(_ME), spoils.dial.id, peer.session)


def _here(identity: Identity, relay: str, session: bytes) -> bytes:
    raw = sign_attachment(identity.credential, identity.signer, session, relay, now_ms(), False, ())
    return encode_frame(Routes(1, True, [raw], []))


def _rest(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    me = spoils.identity(_ME)
    return frames.of_all_kinds(
        frames.acks(), frames.nacks(), frames.credits_given(), frames.pings(), frames.reports(), frames.joins(),
        frames.unasked(me),
    )


ATTACKS: tuple[Attack, ...] = (
    _child("withdrawals", "withdraws thousands of sessions that never were, and some that are others'", _withdrawals,
           200_000),
    _child("routes", "attaches a member that executes, with ever newer epochs", _reattached),
    _child("routes-ghosts", "attaches thousands of sessions of one member", _ghosts),
    _child("routes-place", "says again and again where it is itself", _places),
    _child("intro-forged", "introduces credentials that nobody signed, hundreds a frame",
           lambda spoils, _: frames.forged_intros(spoils.identity(_ME)), 100_000),
    _child("data", "hands over new events of a member, as fast as it can", _new_events),
    _child("data-replayed", "hands over the same events of a member, without end", _replayed),
    _child("data-forged", "hands over events in a member's name that nobody signed", _forged),
    _child("data-moved", "hands over actions of the past as if their target had moved", _moved_actions),
    _child("data-commands", "sends actions of the past down, to its parent", _commands),
    _child("data-results", "hands over results of actions that nobody asked for", _results),
    _child("rest", "sends ACK, NACK, CREDIT, PING, APPLIED, DENIED, JOIN and answers to nobody, in turn", _rest,
           100_000),
    _child("noise", "sends frames of the largest size, or depth, with nothing in them",
           lambda *_: frames.noise(), 200_000),
    Ghosts(_WHO, "sessions", "comes and goes, each time as another session of the same relay", _ME, _here,
           role=Role.CHILD, at_once=4),
)
