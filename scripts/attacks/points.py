"""Control points with valid keys and no grants to speak of.

`guest` may nothing. `lurker` may subscribe to the honest sensor's events, `loud` may publish one event a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fabric.edge.identity.identity import Identity
from fabric.protocol.base.limits import INTRO_MAX
from fabric.protocol.envelope.header import Kind
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Direction, Intro, Routes
from relays.demo.intruders import reissued
from scripts.attacks import frames
from scripts.attacks.flood import Attack, Flood, Frames, Ghosts, Spoils
from scripts.attacks.peer import Peer, now_ms

_RENEWALS = 64
_WHO = "point"


def _mine(make: Callable[[Identity], Iterator[bytes]], me: str = "guest") -> Frames:
    return lambda spoils, _: make(spoils.identity(me))


def _plain(make: Callable[[], Iterator[bytes]]) -> Frames:
    return lambda *_: make()


def _renewals(spoils: Spoils, _: Peer) -> Iterator[bytes]:
    """Credentials of one id, as it was given one with each renewal; the oldest is introduced last."""
    me = spoils.identity("guest")
    first = me.credential.serial
    raws = [reissued(me, spoils.authority, serial=first + n).credential.raw for n in range(_RENEWALS, 0, -1)]
    return frames.again([
        encode_frame(Intro(raws[at:at + size])) for size in (1, 5, INTRO_MAX) for at in range(0, _RENEWALS, size)
    ])


def _own_intro(me: Identity) -> Iterator[bytes]:
    return frames.again([encode_frame(Intro([me.credential.raw] * INTRO_MAX))])


def _withdrawals(*_: object) -> Iterator[bytes]:
    return frames.withdrawals(("sensor", "wall", "reader", "soar", "mid"))


def _attachments(spoils: Spoils, peer: Peer) -> Iterator[bytes]:
    return frames.attachments(spoils.identity("guest"), spoils.dial.id, peer.session)


def _sessions(spoils: Spoils, peer: Peer) -> Iterator[bytes]:
    lurker = spoils.identity("lurker")
    return frames.attachments(
        lurker, spoils.dial.id, peer.session, new_sessions=True, subscriptions=("detections.>",)
    )


def _lurk(identity: Identity, relay: str, session: bytes) -> bytes:
    raw = sign_attachment(
        identity.credential, identity.signer, session, relay, now_ms(), False, ("detections.>",)
    )
    return encode_frame(Routes(1, True, [raw], []))


def _denied(me: Identity) -> Iterator[bytes]:
    """Honestly signed, and nothing that it may."""
    return frames.pool_of(frames.of_every_kind(me))


def _down(me: Identity) -> Iterator[bytes]:
    return frames.pool_of(lambda: frames.envelope(me), direction=Direction.DOWN)


def _moved(me: Identity) -> Iterator[bytes]:
    """As if a relay had looked for these targets and found them gone: intelligence and results, straight to a node."""
    made = frames.of_all_kinds(
        iter(lambda: frames.envelope(me, kind=Kind.INTEL, topic="intel.flood"), b""),
        iter(lambda: frames.envelope(me, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar"), b""),
        iter(lambda: frames.action(me), b""),
    )
    return frames.pool_of(lambda: next(made), targets=("soar", "wall", "reader"), moved=1)


ATTACKS: tuple[Attack, ...] = (
    Flood(_WHO, "hello", "repeats the HELLO of an open link, also with versions that nobody speaks", "guest",
          lambda _, peer: frames.hellos(peer), per_link=True),
    Flood(_WHO, "intro", "introduces its own credential, valid, without end", "guest", _mine(_own_intro)),
    Flood(_WHO, "intro-forged", "introduces credentials that nobody signed, hundreds a frame", "guest",
          _mine(frames.forged_intros), frame_bytes=100_000),
    Flood(_WHO, "intro-many", "introduces many renewals of one id, the oldest last", "guest", _renewals,
          frame_bytes=20_000),
    Flood(_WHO, "routes", "attaches itself with ever newer epochs", "guest", _attachments, per_link=True,
          introduces=("guest",), frame_bytes=20_000),
    Flood(_WHO, "routes-sessions", "attaches thousands of sessions of its own on one link", "lurker", _sessions,
          per_link=True, introduces=("lurker",), frame_bytes=20_000),
    Flood(_WHO, "withdrawals", "withdraws thousands of sessions that never were", "guest", _withdrawals,
          per_link=True, frame_bytes=200_000),
    Flood(_WHO, "ack", "acknowledges what nobody sent, one and thousands at a time", "guest", _plain(frames.acks),
          frame_bytes=100_000),
    Flood(_WHO, "nack", "refuses what nobody sent, thousands at a time", "guest", _plain(frames.nacks),
          frame_bytes=100_000),
    Flood(_WHO, "credit", "gives credit without end", "guest", _plain(frames.credits_given)),
    Flood(_WHO, "ping", "asks whether the relay is there, as fast as it can", "guest", _plain(frames.pings)),
    Flood(_WHO, "ping-deaf", "asks that on sixteen connections and never reads an answer", "guest",
          _plain(frames.pings), connections=16, listens=False),
    Flood(_WHO, "bye", "says BYE and comes again, without end", "guest", _plain(frames.byes)),
    Flood(_WHO, "reports", "reports what is in force and what was denied (APPLIED, DENIED)", "guest",
          _plain(frames.reports), frame_bytes=5_000),
    Flood(_WHO, "join", "asks an issuer that there is not", "guest", _plain(frames.joins), frame_bytes=10_000),
    Flood(_WHO, "documents", "hands over old and forged LISTS, RULES and DIRECTORY", "guest",
          lambda spoils, _: frames.documents(spoils, spoils.identity("guest")), frame_bytes=200_000),
    Flood(_WHO, "unasked", "answers what nobody asked (ROUTED, PONG, WELCOME, JOINED, REJECT)", "guest",
          _mine(frames.unasked), frame_bytes=5_000),
    Flood(_WHO, "noise", "sends frames of the largest size, or depth, with nothing in them", "guest",
          _plain(frames.noise), frame_bytes=200_000),
    Flood(_WHO, "data-forged", "sends events in its name that nobody signed", "guest",
          _mine(lambda me: frames.pool_of(lambda: frames.forged(me))), introduces=("guest",), frame_bytes=30_000),
    Flood(_WHO, "data-denied", "sends messages of every kind, honestly signed, that its grants do not cover", "guest",
          _mine(_denied), introduces=("guest",), frame_bytes=30_000),
    Flood(_WHO, "data-down", "sends events down, to its own relay", "guest", _mine(_down),
          introduces=("guest",), frame_bytes=30_000),
    Flood(_WHO, "data-urgent", "sends DATA with nothing in it as if it were urgent, on sixteen connections", "guest",
          _plain(lambda: frames.again([frames.data([], lane=Lane.URGENT)])), connections=16, frame_bytes=100),
    Flood(_WHO, "data-moved", "sends what looks as if it were sent after somebody (moved)", "guest", _mine(_moved),
          introduces=("guest",), frame_bytes=30_000),
    Flood(_WHO, "data-large", "sends events of the largest size, honestly signed and not granted", "guest",
          _mine(frames.large_events), introduces=("guest",), frame_bytes=200_000),
    Flood(_WHO, "data-rate", "publishes what it may, thousands of times as often as it may", "loud",
          _mine(lambda me: frames.pool_of(lambda: frames.envelope(me)), "loud"), introduces=("loud",),
          frame_bytes=30_000),
    Flood(_WHO, "crowd", "acknowledges what nobody sent on sixty-four connections of one key", "guest",
          _plain(frames.acks), connections=64, frame_bytes=100_000),
    Ghosts(_WHO, "sessions", "opens session after session that subscribes, and leaves each", "lurker", _lurk),
)
