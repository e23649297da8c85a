"""One node of a conversation that was recorded: its core, driven by what is written down.

What it did and heard is data (`Turn`), so that the same can be given to the core of any later version. Its keys,
session and random bytes are those of the recording; only the core is today's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fabric.protocol.base.errors import Code, code_of
from fabric.protocol.base.signing import Signer
from fabric.protocol.core.faults import FAULT
from fabric.protocol.core.ready import (
    Attach,
    Delivered,
    Delivery,
    Deny,
    Disconnected,
    Drain,
    Handled,
    Leave,
    LinkDown,
    LinkUp,
    LogGrown,
    Published,
    Ready,
    Submit,
    SubscriptionRefused,
    Tick,
)
from fabric.protocol.envelope.verify import Verified, open_envelope
from fabric.protocol.links.node import Node
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, NodeKind
from fabric.protocol.wire.frames import Role

# How often a driver ticks a node to which nothing happens.
TICK_MS = 250


@dataclass(frozen=True)
class Person:
    """Who somebody is in a recording: its credential as it was signed, the seed of its key, and its session."""

    id: str
    credential: bytes
    seed: bytes
    session: bytes
    parents: tuple[str, ...]

    @classmethod
    def of(cls, said: dict[str, Any]) -> Person:
        return cls(
            said["id"], bytes.fromhex(said["credential"]), bytes.fromhex(said["seed"]), bytes.fromhex(said["session"]),
            tuple(said["parents"]),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "credential": self.credential.hex(), "seed": self.seed.hex(), "session": self.session.hex(),
            "parents": list(self.parents),
        }


class Turn(NamedTuple):
    """What came to a node at a time, in order; and what it said by which link, told its program, and ended.

    `at_ms` counts from the beginning of the recording. Bytes are bytes here, and in hexadecimal on disk.
    """

    at_ms: int
    did: list[list[Any]]
    said: list[tuple[int, bytes]]
    told: list[list[Any]]
    ended: list[tuple[int, int]]  # link, number of the code


@dataclass
class Played:
    """`begins_ms`: what time it is at the beginning."""

    person: Person
    authority_key: bytes
    fabric: str
    begins_ms: int
    core: Node = field(init=False)
    wake_at_ms: int | None = field(init=False, default=None)
    delivered: list[Verified] = field(init=False, default_factory=list)  # in the last turn

    def __post_init__(self) -> None:
        me = verify_credential(self.person.credential, self.authority_key, self.fabric)
        assert isinstance(me, Credential), me
        self.me = me
        make = Relay if me.kind is NodeKind.RELAY else Point
        self.core = make(
            me, Signer(self.person.seed), self.authority_key, self.person.session, _draws(me.id), self.person.parents
        )
        assert self.core.signer.public == me.sign_key

    def turn(self, at_ms: int, did: Sequence[list[Any]]) -> Turn:
        """All of it, then a tick, as a driver does."""
        now_ms, ready = self.begins_ms + at_ms, Ready()
        for what, *about in did:
            _DO[what](self, ready, now_ms, *about)
        ready.merge(self.core.step(Tick(), now_ms))
        faults = [note.fields for note in ready.notes if note.event == FAULT]
        assert not faults, faults
        self.wake_at_ms = None if ready.wake_at_ms is None else ready.wake_at_ms - self.begins_ms
        self.delivered = [each.message for each in ready.deliver if isinstance(each, Delivery)]
        return Turn(
            at_ms, list(did), [*ready.early, *ready.send], [_told(each) for each in ready.deliver],
            [(link, code.number) for link, code in ready.close],
        )

    def opened(self, envelope: bytes) -> Verified:
        """A message of its own."""
        message = open_envelope(envelope, {self.me.digest: self.me}, self.core.roots)
        assert isinstance(message, Verified), message
        return message


def _draws(name: str) -> Callable[[int], bytes]:
    """What stands for random bytes: the same in each run."""
    calls = 0

    def draw(count: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(f"recorded/{name}/{calls}".encode()).digest(count)

    return draw


def _told(said: Delivered) -> list[Any]:
    """What its program hears, as far as it is the same in every version."""
    name = type(said).__name__.lower()
    match said:
        case Delivery(message, age_ms, hops):
            return [name, message.id, message.withheld, age_ms, list(hops)]
        case Published(id_, refused):
            return [name, id_, 0 if refused is None else refused.code.number]
        case Disconnected(reason, final):
            return [name, reason.code.number, final]
        case SubscriptionRefused(reason):
            return [name, reason.code.number]
        case _:
            return [name]


_Do = Callable[..., None]


def _stepped(event: Callable[..., Any]) -> _Do:
    return lambda node, ready, now_ms, *about: ready.merge(node.core.step(event(node, *about), now_ms))


def _link_up(
    _: Played, link: int, peer: bytes, nonce: bytes, role: int, expects: str
) -> LinkUp:
    return LinkUp(link, peer, nonce, Role(role) if role else None, expects)


def _frame(node: Played, ready: Ready, now_ms: int, link: int, payload: bytes) -> None:
    ready.merge(node.core.step(node.core.read(link, payload), now_ms))


def _accepted(refused: object) -> None:
    assert refused is None, refused


# What can happen to a node, by the word for it in a recording.
_DO: dict[str, _Do] = {
    "up": _stepped(_link_up),
    "down": _stepped(lambda _, link: LinkDown(link)),
    "frame": _frame,
    "submit": _stepped(lambda node, raw: Submit(node.opened(raw))),
    "attach": _stepped(lambda _, epoch, executes, patterns, keep_ms: Attach(epoch, executes, tuple(patterns), keep_ms)),
    "handled": _stepped(lambda _, id_: Handled(id_)),
    "deny": _stepped(lambda _, number: Deny(_code(number))),
    "leave": _stepped(lambda _: Leave()),
    "drain": _stepped(lambda _: Drain()),
    "log": _stepped(lambda _, log, number, hash_, since, digests: LogGrown(log, number, hash_, since, tuple(digests))),
    "lists": lambda node, ready, now_ms, raw: _accepted(node.core.apply_lists(raw, now_ms, ready)),
    "policies": lambda node, ready, _, raw: _accepted(node.core.policies.apply(raw, ready)),
    "directory": lambda node, ready, _, raw: _accepted(node.core.directory.apply(raw, ready)),
}


def _code(number: int) -> Code:
    code = code_of(number)
    assert code.number == number
    return code
