"""A core and the peers that it talks to, by hand: what comes in, and what must go out."""

from __future__ import annotations

from collections import defaultdict
from typing import TypeVar

from fabric.protocol.core.faults import FAULT
from fabric.protocol.core.ready import Delivered, Event, LinkDown, LinkUp, Op, Ready, Tick
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.node import Node
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Data, Direction, Frame, Hello, Intro, Item, Role, Routes, Welcome
from tests.support import FABRIC, T0, Member

_T = TypeVar("_T")


class Conversation:
    """`now_ms` is the tests' to move. Everything that was ever persisted is in `disk`, in order."""

    def __init__(self, core: Node) -> None:
        self.core = core
        self.now_ms = T0
        self.disk: list[Op] = []
        self.delivered: list[Delivered] = []
        self.closed: list[int] = []
        self.last = Ready()
        self.faults_planted = False  # a fault that the core contains is one nevertheless
        self._links = 0
        self._heard: dict[int, list[Frame]] = defaultdict(list)
        self._routes: dict[int, int] = defaultdict(int)

    # -- in ---------------------------------------------------------------------------------------------

    def step(self, event: Event) -> Ready:
        """One driver's turn; frames that it sent are kept for `heard`."""
        ready = self.core.step(event, self.now_ms)
        ready.merge(self.core.step(Tick(), self.now_ms))
        self.disk += ready.persist
        self.delivered += ready.deliver
        self.closed += [link for link, _ in ready.close]
        for link, payload in [*ready.early, *ready.send]:
            frame = decode_frame(payload)
            assert not hasattr(frame, "detail") or hasattr(frame, "_fields"), frame
            self._heard[link].append(frame)  # type: ignore[arg-type]
        self.last = ready
        faults = [note.fields for note in ready.notes if note.event == FAULT]
        assert self.faults_planted or not faults, faults
        for each in self.core.links.values():
            assert not each.is_open or each.destination in self.core.outboxes, each.destination
        return ready

    def say(self, link: int, frame: Frame | bytes) -> Ready:
        payload = frame if isinstance(frame, bytes) else encode_frame(frame)
        return self.step(self.core.read(link, payload))

    def wait(self, ms: int, every_ms: int = 250) -> None:
        """Let time pass, with a turn now and then."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(until_ms, self.now_ms + every_ms)
            self.step(Tick())

    def connect(self, member: Member, role: Role, *, session: bytes = b"s" * 16, key: bytes = b"",
                clock_ms: int | None = None) -> int:
        """A peer dials and says HELLO, by its own clock if it has another one; its link's number."""
        clock_ms = self.now_ms if clock_ms is None else clock_ms
        self._links += 1
        self.step(LinkUp(self._links, key or member.curve_key, b""))
        self.say(self._links, Hello(1, 1, FABRIC, role, member.credential.raw, session, b"n" * 16, clock_ms, 0, 0))
        return self._links

    def dial(self, member: Member, role: Role, *, session: bytes = b"p" * 16, clock_ms: int | None = None) -> int:
        """The core dials a peer as `role`, and is welcome, by the peer's own clock if it has another one."""
        clock_ms = self.now_ms if clock_ms is None else clock_ms
        self._links += 1
        self.step(LinkUp(self._links, member.curve_key, b"n" * 16, role, member.id))
        self.say(self._links, Welcome(
            1, member.credential.raw, session, b"n" * 16, clock_ms, clock_ms, 0, 0, 524_288
        ))
        return self._links

    def lose(self, link: int) -> None:
        self.step(LinkDown(link))

    def attach(self, link: int, member: Member, relay: str, *patterns: str, executes: bool = False,
               session: bytes = b"s" * 16, epoch: int = 1) -> None:
        raw = sign_attachment(member.credential, member.signer, session, relay, epoch, executes, patterns)
        self._routes[link] += 1
        self.say(link, Intro([member.credential.raw]))
        self.say(link, Routes(self._routes[link], self._routes[link] == 1, [raw], []))

    def withdraw(self, link: int, member: Member, *, session: bytes = b"s" * 16, epoch: int = 1) -> None:
        """A peer says that somebody is no more below it."""
        self._routes[link] += 1
        self.say(link, Routes(self._routes[link], False, [], [(member.id, session, epoch)]))

    def place(self, link: int, member: Member, parent: str, *, session: bytes = b"s" * 16, epoch: int = 1) -> None:
        """A relay says below which parent it is."""
        self.attach(link, member, parent, session=session, epoch=epoch)

    def send(self, link: int, message: Verified, direction: Direction = Direction.UP, *, age_ms: int = 0,
             hops: tuple[str, ...] = (), targets: tuple[str, ...] = (), introduce: bool = True) -> Ready:
        if introduce:
            self.say(link, Intro([message.credential.raw]))
        item = Item(direction, age_ms, list(hops), list(targets), message.raw)
        return self.say(link, Data(message.header.lane, self.now_ms, [item]))

    # -- out --------------------------------------------------------------------------------------------

    def heard(self, link: int, kind: type[_T]) -> list[_T]:
        """Frames of one kind that went to this link since the last look."""
        found: list[_T] = [frame for frame in self._heard[link] if isinstance(frame, kind)]
        self._heard[link] = [frame for frame in self._heard[link] if not isinstance(frame, kind)]
        return found

    def items(self, link: int) -> list[Item]:
        return [item for frame in self.heard(link, Data) for item in frame.items]

    def told(self, kind: type[_T]) -> list[_T]:
        """What the application was told, of one kind, since the last look."""
        found: list[_T] = [d for d in self.delivered if isinstance(d, kind)]
        self.delivered = [d for d in self.delivered if not isinstance(d, kind)]
        return found

    def persisted(self, kind: type[_T]) -> list[_T]:
        return [op for op in self.disk if isinstance(op, kind)]

    def count(self, key: str) -> int:
        return self.core.counters[key]


