"""A core, what happens to it one act after another, and a tape of the acts from which all of it happens again.

An act is a list that msgpack can carry: what a driver would have given to the core, as the bytes that came in. So a
tape says what happened without the code that thought of it. Time is an act, too; a restart gives a new core what the
old one's disk has. After each act the rules of `invariants` are looked at.
"""

from __future__ import annotations

from collections import Counter, deque
from functools import lru_cache
from typing import Any

from fabric.protocol.base import signing
from fabric.protocol.base.codec import unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import (
    Answer,
    Ask,
    Asked,
    Attach,
    Delivery,
    Deny,
    Drain,
    Event,
    Handled,
    Leave,
    LinkDown,
    LinkUp,
    Parents,
    Ready,
    Renewed,
    Submit,
    Tick,
)
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Data, Frame, Role
from tests.fuzz.bounds import check_bounds
from tests.fuzz.cast import ANALYST, AUTHORITY, HQ, ISSUER, ME, WALL, Player
from tests.fuzz.dice import packed
from tests.fuzz.engine import Meter
from tests.fuzz.invariants import BrokenError, check
from tests.simulation.disk import Disk
from tests.support import FABRIC, T0, derive, entropy

Act = list[Any]
# What a conversation may be answered with: some rest for every link, and so much for each byte that came in. An item of
# 200 bytes may be handed to a dozen readers, and a list of revocations to every link.
_SENT_BYTES_MIN = 8 << 20
_SENT_PER_BYTE_MAX = 64
_HEARD_MAX = 64
_TICKS_MAX = 24
# A look at every container costs more than an act does.
_BOUNDS_EVERY = 20

SCENES: dict[str, tuple[Player, tuple[str, ...]]] = {
    "relay": (ME, ("hq", "alt")),
    "root": (HQ, ()),
    "point": (ANALYST, ("mid", "alt")),
    "wall": (WALL, ("mid", "alt")),
    "issuer": (ISSUER, ("mid",)),
}


class Stage:
    def __init__(self, scene: str) -> None:
        self.scene = scene
        self.player, self.parents = SCENES[scene]
        self.now_ms = T0
        self.disk = Disk()
        self.acts: list[Act] = []
        self.keys: dict[int, bytes] = {}  # connections that there are, and the key of each
        self.heard: dict[int, deque[Frame]] = {}
        self.delivered: deque[bytes] = deque(maxlen=_HEARD_MAX)
        self.asked: deque[bytes] = deque(maxlen=_HEARD_MAX)
        self.outcomes: Counter[str] = Counter()  # what the conversation reached: kinds of frames, codes of closing
        self.fault_at = ""  # where a fault that was contained happened, as the core notes it
        self._submitted: set[bytes] = set()
        self._received_bytes = self._sent_bytes = 0
        self._starts = 0
        self.core = self._start()

    def _start(self) -> Relay | Point:
        self._starts += 1
        me = self.player.member
        make = Relay if self.scene in ("relay", "root") else Point
        session = derive("session", self.scene, self._starts if make is Relay else 1)[:16]
        return make(me.credential, me.signer, AUTHORITY.key, session, entropy((self.scene, self._starts)), self.parents)

    @property
    def tape(self) -> bytes:
        return packed([self.scene, self.acts])

    # -- acts -------------------------------------------------------------------------------------------------

    def apply(self, act: Act, meter: Meter) -> None:
        """Raises BrokenError, or what the core raised."""
        self.acts.append(act)
        with meter.input():
            self._do(act)
        check(self)
        if len(self.acts) % _BOUNDS_EVERY == 0:
            check_bounds(self.core)

    def end(self) -> None:
        check_bounds(self.core)

    def _do(self, act: Act) -> None:
        match act:
            case ["frame", int(link), bytes(payload)]:
                self._received_bytes += len(payload)
                self._turn(self.core.read(link, payload))
                if self._sent_bytes > _SENT_BYTES_MIN + _SENT_PER_BYTE_MAX * self._received_bytes:
                    raise BrokenError(f"answers are many: {self._sent_bytes} bytes for {self._received_bytes}")
            case ["up", int(link), bytes(key), bytes(nonce), int(role), str(expects)]:
                self.keys[link] = key
                self._turn(LinkUp(link, key, nonce, Role(role) if role else None, expects))
            case ["down", int(link)]:
                self.keys.pop(link, None)
                self._turn(LinkDown(link))
            case ["wait", int(ms)]:
                for _ in range(min(_TICKS_MAX, 1 + ms // 250)):
                    self.now_ms += ms // min(_TICKS_MAX, 1 + ms // 250)
                    self._turn(None)
                self._received_bytes += ms  # what is repeated with time has its share
            case ["restart"]:
                self.disk.settle()
                self.keys.clear()
                self.core = self._start()
                self.core.restore(self.disk.load(self.now_ms), self.now_ms)
                self._turn(None)
            case ["lists", bytes(raw)]:
                ready = Ready()
                self.core.apply_lists(raw, self.now_ms, ready)
                self._take(ready)
                self._turn(None)
            case ["submit", bytes(raw)]:
                message = open_envelope(raw, _own(self.player), RootCache())
                if isinstance(message, Verified) and self._would_submit(message):
                    self._submitted.add(message.id)
                    self._turn(Submit(message))
            case ["renewed", bytes(raw)]:
                credential = verify_credential(raw, AUTHORITY.key, FABRIC)
                if isinstance(credential, Credential) and credential.curve_key == self.player.key:
                    self._turn(Renewed(credential))
            case ["ask", bytes(id_), str(issuer), bytes(request)]:
                self._turn(Ask(id_, issuer, request))
            case ["drain"] if isinstance(self.core, Relay):
                self._turn(Drain())
            case _ if isinstance(self.core, Point):
                event = _event_of_point(act)
                if event is not None:
                    self._turn(event)

    def _would_submit(self, message: Verified) -> bool:
        """Nothing twice; a relay asks nobody for anything."""
        kinds = (Kind.EVENT, Kind.INTEL) if isinstance(self.core, Relay) else tuple(Kind)
        return message.id not in self._submitted and message.header.kind in kinds and not message.withheld

    def _turn(self, event: Event | None) -> None:
        """One driver's turn."""
        if event is not None:
            self._take(self.core.step(event, self.now_ms))
        self._take(self.core.step(Tick(), self.now_ms))

    def _take(self, ready: Ready) -> None:
        """What a driver does with it: commit, send, deliver, close."""
        self.disk.commit(ready.persist)
        for link, payload in [*ready.early, *ready.send]:
            self._sent_bytes += len(payload)
            frame = decode_frame(payload)
            if isinstance(frame, Reject):
                raise BrokenError(f"sends what nobody can read: {frame}")
            if isinstance(frame, Data) and not frame.items:
                raise BrokenError("sends a DATA without items")
            self.outcomes[type(frame).__name__] += 1
            self.heard.setdefault(link, deque(maxlen=_HEARD_MAX)).append(frame)
        for note in ready.notes:
            self.fault_at = str(note.fields.get("where", self.fault_at))
        for said in ready.deliver:
            if isinstance(said, Delivery):
                self.delivered.append(said.message.id)
            elif isinstance(said, Asked):
                self.asked.append(said.id)
        for link, code in ready.close:
            self.outcomes[f"closed {code.reason}"] += 1
            self.keys.pop(link, None)
            self.heard.pop(link, None)


def _event_of_point(act: Act) -> Event | None:
    match act:
        case ["attach", int(epoch), bool(executes), list(patterns), int(keep_ms)]:
            return Attach(epoch, executes, tuple(patterns), 0 if executes else keep_ms)
        case ["handled", bytes(id_), bool(refused)]:
            return Handled(id_, Reject(Code.BAD_BODY) if refused else None)
        case ["answer", bytes(id_), bytes(answer)]:
            return Answer(id_, None if answer else Reject(Code.BAD_TOKEN), answer)
        case ["parents", list(ids), bool(at_once)]:
            return Parents(tuple(ids), at_once)
        case ["deny"]:
            return Deny(Code.PUBLISH_DENIED)
        case ["leave"]:
            return Leave()
    return None


def _own(player: Player) -> dict[bytes, Credential]:
    return {credential.digest: credential for credential in player.credentials}


def read_tape(raw: bytes) -> tuple[str, list[Act]]:
    """The scene and the acts. Raises ValueError for what is no tape."""
    match unpack(raw, bytes_max=1 << 26, elements_max=1 << 20, depth_max=8):
        case [str(scene), list(acts)] if scene in SCENES:
            return scene, acts
    raise ValueError("no tape")


def remember_signatures() -> None:
    """Whether a signature is good does not change: in conversations the same ones come again and again."""
    if not hasattr(signing.verify, "cache_info"):
        signing.verify = lru_cache(maxsize=1 << 16)(signing.verify)  # type: ignore[assignment]
