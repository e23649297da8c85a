"""What is sent, whoever sends it: endless frames, encoded, for one link.

Most are made once and sent again and again, because an attacker's time is dear: what costs the relay most for the least
work. Where a relay would know a repeat, each is new.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import msgpack

from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import (
    ENVELOPE_BYTES_MAX,
    FORGED_MAX,
    FRAME_BYTES_MAX,
    ITEMS_MAX,
    POLICY_RULES_MAX,
    ROUTES_ENTRIES_MAX,
)
from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.envelope.layout import seal
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.directory import Descriptor, issue_directory
from fabric.protocol.trust.policies import Rule, When, issue_policies
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Directory,
    Intro,
    Item,
    Join,
    Joined,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Routed,
    Routes,
    Rules,
    Welcome,
)
from scripts.attacks.flood import Spoils
from scripts.attacks.peer import Peer, now_ms
from tests.integration import intruder

# Withdrawals and ids in a frame: near what its elements, or its bytes, allow.
WITHDRAWALS = 2_000
IDS = 8_000
_YEARS_MS = 10 * 365 * 86_400_000
# So many different frames, then from the start.
_POOL = 32
_ITEMS = 64
# A part of about the most that one may be.
_LARGE_BYTES = 190_000


def again(frames: Sequence[bytes]) -> Iterator[bytes]:
    return itertools.cycle(frames)


# -- envelopes ------------------------------------------------------------------------------------------------


def header_of(identity: Identity, content: dict[str, Any], **fields: Any) -> tuple[Header, list[bytes]]:
    """An event of this identity, unless `fields` say otherwise."""
    said: dict[str, Any] = {"topic": "detections.flood", "ttl_ms": 600_000}
    return intruder.header_of(identity, content, **{**said, **fields})


def envelope(identity: Identity, content: dict[str, Any] | None = None, **fields: Any) -> bytes:
    """Signed by this identity, whatever it says."""
    drafted = header_of(identity, content or {"a": 1}, **fields)
    return seal([drafted], identity.credential.digest, identity.signer)[0]


def action(identity: Identity, **fields: Any) -> bytes:
    content = {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}
    said: dict[str, Any] = {"kind": Kind.ACTION, "topic": "deny.ipv4_net", "to": "role=firewall", "ttl_ms": 60_000}
    return envelope(identity, content, **{**said, **fields})


def of_every_kind(identity: Identity) -> Callable[[], bytes]:
    """Envelopes of every kind in turn: whoever this is may publish few of them, or none."""
    kinds = itertools.cycle([
        (Kind.EVENT, "detections.flood"), (Kind.INTEL, "intel.flood"), (Kind.ACTION, "deny.ipv4_net"),
        (Kind.RESULT, "deny.ipv4_net"), (Kind.APPROVAL, "deny.ipv4_net"), (Kind.CONTROL, "control.x"),
    ])

    def one() -> bytes:
        kind, topic = next(kinds)
        more: dict[str, Any] = {} if kind in (Kind.EVENT, Kind.INTEL) else {"to": "soar"}
        return envelope(identity, kind=kind, topic=topic, **more)

    return one


def forged(identity: Identity) -> bytes:
    """In the name of this identity, with a signature of nobody."""
    header, parts = header_of(identity, {"a": 1})
    (raw,) = seal([(header, parts)], identity.credential.digest, Signer(os.urandom(32)))
    return raw


def data(
    envelopes: Sequence[bytes], direction: Direction = Direction.UP, lane: Lane = Lane.LOW,
    targets: Sequence[str] = (), moved: int = 0,
) -> bytes:
    items = [Item(direction, 0, [], list(targets), raw, moved) for raw in envelopes]
    return encode_frame(Data(lane, now_ms(), items))


def pool_of(make: Callable[[], bytes], items: int = _ITEMS, **how: Any) -> Iterator[bytes]:
    """DATA frames of so many envelopes each, made once."""
    return again([data([make() for _ in range(items)], **how) for _ in range(_POOL)])


# -- frames that any link may be filled with ------------------------------------------------------------------


def hellos(peer: Peer) -> Iterator[bytes]:
    """The HELLO that opened this link, and then with a range of versions that nobody speaks."""
    said = msgpack.unpackb(peer.said_hello)
    other = msgpack.packb([said[0], 9, 9, *said[3:]])
    return again([*[peer.said_hello] * 7, other])


def forged_credential(raw: bytes) -> bytes:
    body, _, *rest = msgpack.unpackb(raw)
    return msgpack.packb([body, os.urandom(64), *rest])


def forged_intros(me: Identity) -> Iterator[bytes]:
    """Credentials that nobody signed, a signature to check for each: as many in a frame as do not end the link."""
    raw, fit = me.credential.raw, FORGED_MAX - 1
    return again([encode_frame(Intro([forged_credential(raw) for _ in range(fit)])) for _ in range(_POOL)])


@cache
def _withdrawn(names: tuple[str, ...]) -> list[list[tuple[str, bytes, int]]]:
    chosen = random.Random(os.urandom(8))
    return [
        [
            (names[n % len(names)] if n % 4 == 0 else f"{chosen.randbytes(20).hex()}", chosen.randbytes(16), 1 << 52)
            for n in range(ROUTES_ENTRIES_MAX)
        ]
        for _ in range(_POOL)
    ]


def withdrawals(names: tuple[str, ...]) -> Iterator[bytes]:
    """That somebody went, who never came, and some who are here."""
    lists = _withdrawn(names)
    yield encode_frame(Routes(1, True, [], []))
    for sequence in itertools.count(2):
        yield encode_frame(Routes(sequence, False, [], lists[sequence % len(lists)]))


def attachments(
    of: Identity, relay: str, session: bytes, *, new_sessions: bool = False, subscriptions: tuple[str, ...] = (),
    executes: bool = False, at_once: int = 64,
) -> Iterator[bytes]:
    """A node says where it is, again and again: of one session with rising epochs, or each time of another one."""
    epoch = now_ms()
    for sequence in itertools.count(1):
        said = []
        for _ in range(at_once):
            epoch += 1
            name = os.urandom(16) if new_sessions else session
            said.append(sign_attachment(of.credential, of.signer, name, relay, epoch, executes, subscriptions))
        yield encode_frame(Routes(sequence, sequence == 1, said, []))


def acks() -> Iterator[bytes]:
    """Of ids that nobody sent, few and many at a time."""
    many = [encode_frame(Ack([os.urandom(16) for _ in range(IDS)])) for _ in range(_POOL)]
    return again([frame for large in many for frame in (large, encode_frame(Ack([os.urandom(16)])))])


def nacks() -> Iterator[bytes]:
    return again([
        encode_frame(Nack([(os.urandom(16), Code.BUSY, "no room") for _ in range(WITHDRAWALS)])) for _ in range(_POOL)
    ])


def credits_given() -> Iterator[bytes]:
    return again([encode_frame(Credit([(1 << 40) + n] * len(Lane))) for n in range(_POOL)])


def pings() -> Iterator[bytes]:
    return again([encode_frame(Ping(now_ms()))])


def byes() -> Iterator[bytes]:
    return again([encode_frame(Bye(Code.CLOSED, ""))])


def reports() -> Iterator[bytes]:
    """APPLIED and DENIED: what is in force below, and what was not allowed, as if anybody had asked."""
    applied = encode_frame(Applied([(f"relay-{n}", 1 << 40, 1) for n in range(ITEMS_MAX)]))
    return again([applied, encode_frame(Denied([(code, 1 << 40) for code in list(Code)[:30]]))])


def joins() -> Iterator[bytes]:
    """Questions to an issuer, each as large as one may be."""
    return again([
        encode_frame(Join(os.urandom(16), "nobody", os.urandom(32), os.urandom(10_000))) for _ in range(256)
    ])


def joined() -> Iterator[bytes]:
    return again([encode_frame(Joined(os.urandom(16), None, "", os.urandom(20_000))) for _ in range(256)])


def unasked(me: Identity) -> Iterator[bytes]:
    """Answers to what nobody asked."""
    raw = me.credential.raw
    welcome = Welcome(1, raw, os.urandom(16), os.urandom(16), now_ms(), now_ms(), 0, 0, 1 << 40)
    return again([encode_frame(said) for said in (
        Routed(7, [(n, Code.BUSY, "") for n in range(ROUTES_ENTRIES_MAX)]), Pong(now_ms(), now_ms()), welcome,
        Joined(os.urandom(16), Code.BUSY, "", b""), Refused(Code.BUSY, "", os.urandom(16)),
    )])


def documents(spoils: Spoils, me: Identity) -> Iterator[bytes]:
    """LISTS and DIRECTORY: the authority's old ones, and larger ones, and RULES, that it never signed."""
    far_ms = now_ms() + _YEARS_MS
    relays = [
        Descriptor(f"relay-{n}", (f"192.0.2.{n % 250}:7700",), os.urandom(32), "x", (), Label.GREEN, 0, far_ms)
        for n in range(1_500)
    ]
    ids = [f"somebody-{n}" for n in range(4_000)]
    rules = [Rule(f"rule-{n}", When("contain", to="all"), 1, ("lead",), 60_000) for n in range(POLICY_RULES_MAX)]
    made: list[bytes] = []
    for signer in (spoils.authority, me.signer):
        newest = 1 << 40 if signer is me.signer else 0
        made.append(encode_frame(Lists(issue_revocations(me.fabric, newest, 0, far_ms, ids, signer))))
        made.append(encode_frame(Directory(issue_directory(me.fabric, newest, 0, far_ms, relays, signer))))
    made.append(encode_frame(Rules(issue_policies(me.fabric, 1 << 40, 0, rules, {}, me.signer))))
    return again(made)


def noise() -> Iterator[bytes]:
    """As large as a frame may be, and nothing in it; or deep, or said to be huge."""
    return again([
        os.urandom(FRAME_BYTES_MAX), b"\x91" * 60_000, b"\xdd\xff\xff\xff\xff", msgpack.packb([99, bytes(200_000)]),
        msgpack.packb([5, 4, 1, [[0, 0, [], [], bytes(ENVELOPE_BYTES_MAX)]]]),
    ])


def of_all_kinds(*floods: Iterator[bytes]) -> Iterator[bytes]:
    """Some of each, in turn."""
    return (next(flood) for flood in itertools.cycle(floods))


def large_events(me: Identity) -> Iterator[bytes]:
    """One honestly signed event a frame, with a part of about the most that one may have."""
    return again([
        data([envelope(me, {"blob": os.urandom(_LARGE_BYTES // 2).hex()})]) for _ in range(_POOL)
    ])

