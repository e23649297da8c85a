"""The kind `blocklist` of sinks: a text file with one value a line, sorted, each once, for a firewall to read.

Guarantees: whoever opens the file sees a whole list, the one before or the one after; what it is made of is on disk
before its messages are acknowledged, so it is the same after kill -9. A value is on it from `valid_from` until
`valid_until`, and not after it was revoked; nothing is on it above `max_label`, or beyond `max`. Where its state cannot
be read the list stays as it is.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from fabric.files import make_private, open_regular, write_private
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.blocklist.entries import Entries, Listed, indicator_of
from relays.gateways.blocklist.never import Never, read_never
from relays.gateways.kinds import Option, Outtake, Place, SinkKind
from relays.gateways.options import Options, whole_path
from relays.gateways.room import when_there_is_room
from relays.gateways.stix.values import VALUE_KINDS
from relays.gateways.tally import Tally
from relays.wall import wall_ms

MESSAGES_AT_ONCE: Final = 512
# How often the file is written at most, and how soon it follows the clock.
_WRITE_S: Final = 1.0
# So many times as long as that took it rests.
_REST: Final = 9
_MODES: Final = {"owner": 0o600, "group": 0o640, "all": 0o644}
_EVER_S: Final = 1e9


class BlockSettings(NamedTuple):
    """`kind`: whose values. `values_max`: lines. `age_max_s`: since a value came last. `mode`: of the file."""

    path: Path
    kind: str
    values_max: int
    age_max_s: float
    mode: int
    header: bool
    label_max: Label
    never: Never


def _read(options: Options) -> BlockSettings:
    path = options.file("path", needed='"/var/lib/intel/block-ipv4.txt"')
    kind = options.choice("values", VALUE_KINDS, VALUE_KINDS[0])
    if not options.has("values"):
        options.missing("values", '"ipv4"')
    return BlockSettings(
        path or Path(), kind, options.number("max", 100_000, 1, 1_000_000),
        options.seconds("max_age", "90d", 60.0) if options.has("max_age") else _EVER_S,
        _MODES[options.choice("readers", tuple(_MODES), "owner")], options.flag("header", True),
        options.label("max_label", Label.RED), read_never(options, kind),
    )


class BlockListSink:
    """`now_ms`: since 1970."""

    def __init__(self, settings: BlockSettings, place: Place, now_ms: Callable[[], int] = wall_ms) -> None:
        self._settings = settings
        self._folder = place.folder
        self._now_ms = now_ms
        self._lock = threading.Lock()  # of the entries and the file
        self._next_ms = 0  # when the file is to be looked at again
        self._other = Tally("no indicator", "messages are about no indicator, and on no list")
        self._forgotten = Tally("forgotten", "indicators were forgotten: there were more than the list holds")
        self._left = 0

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        settings = self._settings
        if not settings.path.parent.exists():
            make_private(settings.path.parent)
        entries = Entries(self._folder, settings.kind, settings.values_max, settings.label_max, settings.never)
        over = threading.Event()
        clock = threading.Thread(target=self._follow_the_clock, args=(entries, outtake, over), daemon=True,
                                 name=f"block list {settings.path.name}")
        try:
            when_there_is_room(partial(self._refresh, entries, outtake), settings.path, outtake, stop)
            clock.start()
            for group in outtake.groups(MESSAGES_AT_ONCE):
                found = [each for message in group if (each := indicator_of(message)) is not None]
                self._other.add(len(group) - len(found), outtake)
                with self._lock:
                    take = partial(entries.take, found, self._now_ms())
                    self._forgotten.add(when_there_is_room(take, settings.path, outtake, stop), outtake)
                    self._next_ms = 0
            when_there_is_room(partial(self._refresh, entries, outtake), settings.path, outtake, stop)
        finally:
            over.set()
            if clock.ident is not None:
                clock.join()
            entries.close()

    def _follow_the_clock(self, entries: Entries, outtake: Outtake, over: threading.Event) -> None:
        """What came since it was written last, and what begins or ends meanwhile, also while nothing comes."""
        is_away, pause_s = False, _WRITE_S
        while not over.wait(pause_s):
            began_s = time.monotonic()
            try:
                self._refresh(entries, outtake)
            except (FabricError, OSError) as error:
                is_away = True
                outtake.waits(error if isinstance(error, FabricError) else FabricError(
                    Code.SINK_AWAY, f"{self._settings.path}: {(error.strerror or '').lower()}",
                    "make room there, or let it be written",
                ))
            else:
                if is_away:
                    is_away = False
                    outtake.waits(None)
            pause_s = max(_WRITE_S, _REST * (time.monotonic() - began_s))  # a long list takes a second to make

    def _refresh(self, entries: Entries, outtake: Outtake) -> None:
        """Write the file where it is to be another one by now. Raises OSError and SINK_AWAY."""
        settings = self._settings
        with self._lock:
            now_ms = self._now_ms()
            if now_ms < self._next_ms:
                return
            listed = entries.listed(now_ms, int(settings.age_max_s * 1000))
            text = self._text(listed)
            if text != _content(settings.path, settings.mode):
                write_private(settings.path, text, mode=settings.mode)
            self._next_ms = listed.next_ms
        if listed.left != self._left:
            self._left = listed.left
            outtake.note(f"{listed.left:,} values are not on the list: it has room for {settings.values_max:,}")

    def _text(self, listed: Listed) -> bytes:
        lines = list(listed.values)
        if self._settings.header:
            more = f", {listed.left} more have no room" if listed.left else ""
            lines.insert(0, f"# {listed.label.spelling} {self._settings.kind}: {len(listed.values)}{more}")
        return "".join(f"{line}\n" for line in lines).encode()


def _content(path: Path, mode: int) -> bytes | None:
    """Of the file that is there, if it is as it ought to be but for its content."""
    with suppress(OSError), open_regular(path) as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode:
            return file.read()
    return None


SINK: Final = SinkKind(
    name="blocklist",
    summary="A text file that a firewall reads: values of indicators, one a line, while they are valid.",
    options=(
        Option("path", '"/var/lib/intel/block.txt"', "The file. A folder that is not there is made, private.", True),
        Option("values", '"ipv4" | "domain" | "sha256" | ...', f"Which are listed: {', '.join(VALUE_KINDS)}.", True),
        Option("max", "100_000", "So many lines at most: those of the newest indicators."),
        Option("max_age", '"90d"', "A value that did not come for so long is taken off (never)."),
        Option("never", '["10.0.0.0/8"]', "Networks, domains with all below them, or values that are never listed."),
        Option("readers", '"owner" | "group" | "all"', "Who may read the file besides (owner)."),
        Option("header", "true | false", "Whether its first line is a comment with its highest TLP label (true)."),
    ),
    read=_read,
    open=BlockListSink,
    claims=lambda settings: (f"path {whole_path(settings.path)}",),
)
