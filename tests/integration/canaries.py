"""Marked random texts, who may have each of them by Traffic Light Protocol, and where they are: in files, in what
commands print, and in the memory of processes.

A canary is a mark, the same for all of one house and found nowhere else, between copies of its number. So one look for
the mark finds all of them, also one whose beginning or end was written over in memory that is free again.

What is looked into: bytes as they are, and what is compressed in them, since parts of messages are (SPEC 3.3). msgpack
and JSON leave these letters as they are. In UTF-16 and UTF-32, which Python's text may be in, in base64 and in hex
nothing of it may be anywhere.
"""

from __future__ import annotations

import base64
import os
import secrets
import tomllib
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

LABELS = ("clear", "green", "amber", "amber+strict", "red")
_MARK_CHARS = 12
_NUMBER_CHARS = 3
_NUMBERS_AFTER = 3
_AFTER_CHARS = _NUMBERS_AFTER * _NUMBER_CHARS
_PAGE = os.sysconf("SC_PAGE_SIZE")
_READ_BYTES_MAX = 16 << 20
# Of an entry in /proc/PID/pagemap (Linux, admin-guide/mm/pagemap.rst).
_PRESENT, _SWAPPED, _EXCLUSIVE = 1 << 63, 1 << 62, 1 << 56
# How compressed bytes begin: zlib at the level that parts have, and gzip.
_COMPRESSED = ((b"x\x01", zlib.MAX_WBITS), (b"\x1f\x8b\x08", 16 + zlib.MAX_WBITS))
_COMPRESSED_BYTES_MAX = 1 << 16
# What is there is one in another encoding; or no more than a mark, in memory that was written over.
ENCODED, REMNANT = "an encoded one", "a remnant"


@dataclass(frozen=True)
class Node:
    """What a topology says of a relay or a control point."""

    id: str
    relay: str  # its own, or where it is connected
    clearance: str
    organisation: str
    client_of: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Canary:
    """One text, and whom it is for. `organisations` has its origin's own; nobody has what is for nobody."""

    text: str
    what: str
    label: str = "clear"
    organisations: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    nobody: bool = False


def may_have(node: Node, canary: Canary) -> bool:
    """Traffic Light Protocol 2.0 and clearances, as SPEC 4.2 has it in a table: written here a second time."""
    if canary.nobody or LABELS.index(canary.label) > LABELS.index(node.clearance):
        return False
    own = node.organisation in canary.organisations
    client = bool(set(node.client_of) & set(canary.organisations))
    community = bool(set(node.communities) & set(canary.communities))
    return {
        "clear": True,
        "green": own or client or community,
        "amber": own or client,
        "amber+strict": own,
        "red": own and (not canary.recipients or node.id in canary.recipients),
    }[canary.label]


class Nodes:
    """Who is in a topology file, read as TOML and nothing else."""

    def __init__(self, file: Path) -> None:
        topology = tomllib.loads(file.read_text())
        whose: dict[str, dict[str, Any]] = topology.get("organisations", {})
        self.parents = {id_: str(said.get("parent", "")) for id_, said in topology["relays"].items()}
        self.by_id: dict[str, Node] = {}
        for id_, said in [*topology["relays"].items(), *topology["points"].items()]:
            organisation = said.get("organisation", topology["organisation"])
            of = whose.get(organisation, {})
            self.by_id[id_] = Node(
                id_, said.get("relay", id_), said["clearance"], organisation, tuple(of.get("client_of", ())),
                tuple(of.get("communities", ())),
            )

    def __getitem__(self, id_: str) -> Node:
        return self.by_id[id_]

    def upwards(self, relay: str) -> list[str]:
        """This relay, and those above it, up to the root."""
        return [relay, *self.upwards(self.parents[relay])] if relay else []

    def way(self, start: str, end: str) -> list[str]:
        """The relays from one to another, both included."""
        up, down = self.upwards(start), self.upwards(end)
        turn = next(relay for relay in up if relay in down)
        return [*up[: up.index(turn) + 1], *reversed(down[: down.index(turn)])]


class Canaries:
    """Those of one house."""

    def __init__(self) -> None:
        # It begins with what is no digit, as all numbers end before it.
        self.mark = "q" + secrets.token_hex(_MARK_CHARS // 2)[1:]
        self.all: list[Canary] = []
        mark = self.mark.encode()
        # Of base64, what is the same whatever is around it, at each of the three places where it may begin.
        self._encoded = [self.mark.encode("utf-16-le"), self.mark.encode("utf-32-le"), mark.hex().encode()] + [
            base64.b64encode(b"\0" * skip + mark)[-(-8 * skip // 6) : (skip + len(mark)) * 8 // 6] for skip in range(3)
        ]

    def new(self, what: str, label: str = "clear", organisations: Sequence[str] = (), communities: Sequence[str] = (),
            recipients: Sequence[str] = (), *, nobody: bool = False) -> str:
        number = f"{len(self.all):0{_NUMBER_CHARS}d}"
        text = f"n{number}{self.mark}{number * _NUMBERS_AFTER}"
        self.all.append(
            Canary(text, what, label, tuple(organisations), tuple(communities), tuple(recipients), nobody)
        )
        return text

    def called(self, text: str) -> Canary:
        return next(each for each in self.all if each.text == text)

    def what(self, text: str) -> str:
        return text if text in (ENCODED, REMNANT) else self.called(text).what

    def within(self, data: bytes, *, compressed: bool = True) -> set[str]:
        """The texts in it, `ENCODED`, `REMNANT`."""
        found: set[str] = set()
        if data == bytes(len(data)):  # room that is kept free
            return found
        at = data.find(self.mark.encode())
        while at >= 0:
            found |= self._told(data[max(0, at - _NUMBER_CHARS) : at], data[at + _MARK_CHARS :][:_AFTER_CHARS])
            at = data.find(self.mark.encode(), at + 1)
        if any(encoded in data for encoded in self._encoded):
            found.add(ENCODED)
        for begin, wbits in _COMPRESSED if compressed else ():
            at = data.find(begin)
            while at >= 0:
                with suppress(zlib.error):
                    unpacked = zlib.decompressobj(wbits).decompress(
                        data[at : at + _COMPRESSED_BYTES_MAX], _COMPRESSED_BYTES_MAX
                    )
                    found |= self.within(unpacked, compressed=False)
                at = data.find(begin, at + 1)
        return found

    def _told(self, before: bytes, after: bytes) -> set[str]:
        """Which canary's mark it is, by the numbers around it."""
        sides = [before, *(after[n : n + _NUMBER_CHARS] for n in range(0, _AFTER_CHARS, _NUMBER_CHARS))]
        numbers = {int(side) for side in sides if len(side) == _NUMBER_CHARS and side.isdigit()}
        texts = {self.all[number].text for number in numbers if number < len(self.all)}
        return texts or {REMNANT}


def memory(pid: int) -> Iterator[bytes]:
    """What a process has in its memory that it can read, and can have written.

    Without pages that it has in common with another process: those are as they were when one began as a fork of the
    other. So whoever forks is looked into whole: relays are forks, also those that begin after something was sent.
    """
    whole = b"fork_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    wanted = _PRESENT | _SWAPPED if whole else _EXCLUSIVE | _SWAPPED
    with ExitStack() as open_:
        bytes_of, pages = (
            open_.enter_context(open(f"/proc/{pid}/{name}", "rb", buffering=0)).fileno() for name in ("mem", "pagemap")
        )
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, rights, _, _, _, *name = line.split(maxsplit=5)
            if not rights.startswith("r") or name and rights[1] != "w":  # programs and libraries
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            flags = array("Q", os.pread(pages, (end - start) // _PAGE * 8, start // _PAGE * 8))
            for here, run in groupby(range(len(flags)), lambda n, flags=flags: bool(flags[n] & wanted)):  # type: ignore[misc]
                if here:
                    run_ = list(run)
                    yield from _read(bytes_of, start + run_[0] * _PAGE, start + (run_[-1] + 1) * _PAGE)


def _read(file: int, start: int, end: int) -> Iterator[bytes]:
    """In pieces that overlap, so that nothing is missed between two of them."""
    while start < end:
        piece = os.pread(file, min(end - start, _READ_BYTES_MAX), start)
        if not piece:
            return
        yield piece
        start += len(piece)
        if start < end:
            start -= _PAGE
