"""A bad child: somebody with a relay's keys who connects to that relay's parent and speaks by hand.

Its members are a sensor and a firewall. What they signed it has in plenty: in here their keys stand for that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from fabric.edge.identity.identity import Identity
from fabric.protocol.envelope.header import Kind
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Direction, Role, Routes
from scripts.attacks import frames
from scripts.attacks.flood import Attack, Flood, Frames, Ghosts, Spoils
from scripts.attacks.peer import Peer, now_ms

_WHO = "child"
_ME = "low"
_NEW_EVENTS = 32


def _child(kind: str, story: str, made: Frames, *introduces: str, frame_bytes: int = 30_000,
           per_link: bool = False) -> Flood:
    return Flood(_WHO, kind, story, _ME, made, per_link, introduces, Role.CHILD, frame_bytes=frame_bytes)


def _replayed(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    sensor = spoils.identity("sensor-low")
    return frames.pool_of(lambda: frames.envelope(sensor))


def _new_events(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    sensor = spoils.identity("sensor-low")
    while True:
        yield frames.data([frames.envelope(sensor) for _ in range(_NEW_EVENTS)])


def _past_action(spoils: Spoils) -> Callable[[], bytes]:
    """A few: more its firewall was never sent."""
    soar = spoils.identity("soar")
    few = frames.again([frames.action(soar) for _ in range(16)])
    return lambda: next(few)


def _moved_actions(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    """Actions that its firewall was once sent, up again as if it had moved, to another one too."""
    return frames.pool_of(_past_action(spoils), lane=Lane.HIGH, targets=("wall", "wall-low"), moved=1)


def _commands(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    return frames.pool_of(_past_action(spoils), direction=Direction.DOWN, lane=Lane.HIGH, targets=("wall",))


def _results(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    """Of actions that nobody asked for, signed by a firewall that was turned too."""
    wall = spoils.identity("wall-low")

    def one() -> bytes:
        return frames.envelope(
            wall, {"end": "completed"}, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=os.urandom(32)
        )

    return frames.pool_of(one)


def _forged(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    sensor = spoils.identity("sensor-low")
    return frames.pool_of(lambda: frames.forged(sensor))


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
           per_link=True, frame_bytes=200_000),
    _child("routes", "attaches a member that executes, with ever newer epochs", _reattached, "wall-low", per_link=True),
    _child("routes-ghosts", "attaches thousands of sessions of one member", _ghosts, "sensor-low", per_link=True),
    _child("routes-place", "says again and again where it is itself", _places, _ME, per_link=True),
    _child("intro-forged", "introduces credentials that nobody signed, hundreds a frame",
           lambda spoils, _: frames.forged_intros(spoils.identity(_ME)), frame_bytes=100_000),
    _child("data", "hands over new events of a member, as fast as it can", _new_events, "sensor-low"),
    _child("data-replayed", "hands over the same events of a member, without end", _replayed, "sensor-low"),
    _child("data-forged", "hands over events in a member's name that nobody signed", _forged, "sensor-low"),
    _child("data-moved", "hands over actions of the past as if their target had moved", _moved_actions, "soar"),
    _child("data-commands", "sends actions of the past down, to its parent", _commands, "soar"),
    _child("data-results", "hands over results of actions that nobody asked for", _results, "wall-low"),
    _child("rest", "sends ACK, NACK, CREDIT, PING, APPLIED, DENIED, JOIN and answers to nobody, in turn", _rest,
           frame_bytes=100_000),
    _child("noise", "sends frames of the largest size, or depth, with nothing in them",
           lambda *_: frames.noise(), frame_bytes=200_000),
    Ghosts(_WHO, "sessions", "comes and goes, each time as another session of the same relay", _ME, _here,
           role=Role.CHILD, at_once=4),
)
