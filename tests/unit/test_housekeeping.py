"""A relay whose machine refuses it files: it serves on, and neither its state nor anybody else's changes.

And who pays for the end of a turn of its loop.
"""

import errno
import os
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from fabric.protocol.core.ready import Ready
from fabric.transport.turns import Turn
from relays.authority import init_authority, make_identities
from relays.process.config import relay_config
from relays.process.drain import Draining, drain_path, write_draining
from relays.process.loop import RelayLoop
from relays.process.pins import Pins, write_pins
from relays.topology.loader import load
from tests.ports import free_port
from tests.support import T0, derive

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT" }
"""
REFUSED = [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS]


@pytest.fixture
def home(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(TOPOLOGY.replace("PORT", str(free_port())))
    make_identities(load(file), init_authority("small", tmp_path), tmp_path)
    return tmp_path


def running(home, monkeypatch, body):
    """`body(loop)` in place of the loop of a relay that has just been opened; it is closed afterwards."""
    identity = load_identity(ids_folder("small", home) / "hq")
    loop = RelayLoop(identity, relay_config(identity), home)
    monkeypatch.setattr(loop, "_serve", lambda: body(loop))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        loop.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def refusing(number, *, spool=False):
    """Every file operation fails, but for the spool's own; with `spool`, those that ask how full the disk is too."""

    def refuse(real):
        def refused(path, *arguments, **named):
            if "spool" in str(path):
                return real(path, *arguments, **named)
            raise OSError(number, os.strerror(number), str(path))

        return refused

    with pytest.MonkeyPatch.context() as patch:
        for name in ("open", "stat", "write_text", "read_text", "replace", "unlink", "mkdir", "chmod"):
            patch.setattr(Path, name, refuse(getattr(Path, name)))
        patch.setattr(os, "open", refuse(os.open))
        if spool:
            patch.setattr("fabric.spool.reserve.free_bytes", refuse(lambda path: 1 << 40))
        yield


@pytest.mark.parametrize("number", REFUSED, ids=[errno.errorcode[number] for number in REFUSED])
def test_no_file_of_housekeeping_changes_what_a_relay_does(home, monkeypatch, number):
    write_pins(ids_folder("small", home) / "hq", {"one": derive("one")})

    def body(loop):
        now_ms = loop._clock.now_ms()
        loop._housekeeping(now_ms)
        before = (loop.core.custody.intake_open, loop.core.draining, loop._stopping)
        with refusing(number):
            for second in range(1, 4):
                loop._upkeep.do("revocation list", loop._watching.look, now_ms + 1_000 * second)
                loop._housekeeping(now_ms + 1_000 * second)
                loop._drain_on(now_ms + 1_000 * second)
        assert (loop.core.custody.intake_open, loop.core.draining, loop._stopping) == before
        assert loop._pins.pinned and loop._pins.admits(derive("one")) and not loop._pins.admits(derive("two"))
        for job in ("drain file", "pins file", "state file"):
            assert loop.core.counters[f"io_failed:{job}"] == 3
        loop._housekeeping(now_ms + 9_000)
        assert loop._upkeep._failing == {}
        loop._stopping = True

    running(home, monkeypatch, body)


def test_a_drained_relay_serves_on_until_it_can_say_that_it_has_gone(home, monkeypatch):
    """Else whoever looks after it would bring it back, and it would drain again, for ever."""
    path = drain_path("small", "hq", home)

    def body(loop):
        now_ms = loop._clock.now_ms()
        write_draining(path, Draining(0))
        loop._housekeeping(now_ms)
        assert loop.core.draining
        with refusing(errno.ENOSPC):
            for again_ms in range(0, 3_000, 100):
                loop._drain_on(now_ms + 1_000 + again_ms)
            assert not loop._stopping and loop.core.counters["io_failed:drain file"] == 3
        assert not loop.drained
        loop._drain_on(now_ms + 9_000)
        assert loop._stopping and loop.drained

    running(home, monkeypatch, body)


def test_a_clock_file_that_cannot_be_written_costs_nothing(home, monkeypatch):
    def body(loop):
        with refusing(errno.EMFILE):
            loop._clock._looked_ms, loop._clock._kept_ahead_ms = None, -(10**9)
            assert abs(loop._clock.wall_ahead_ms()) < 10_000
        loop._stopping = True

    running(home, monkeypatch, body)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_pins_that_cannot_be_read_at_the_start_let_nobody_knock_until_they_can(tmp_path, number):
    write_pins(tmp_path, {"one": derive("one")})
    with refusing(number):
        pins = Pins(tmp_path)
        assert pins.pinned and not pins.admits(derive("one")) and pins.problem
    assert pins.look() and pins.admits(derive("one")) and not pins.problem


def test_whoever_ends_a_turn_pays_for_its_commit(home, monkeypatch):
    """Who has each of its urgent messages committed alone: in between it is the others' turn for as long."""

    def body(loop):
        urgent, honest = b"u" * 32, b"h" * 32
        for n in range(40):
            loop._inbox.put(1, urgent, urgent, bytes([n]))
            loop._inbox.put(2, honest, honest, bytes([n]))
        taken, elapsed = [], [0]

        def take(entry, now_ms, ended):
            taken.append(entry.link)
            elapsed[0] += 500_000
            return entry, Ready()

        monkeypatch.setattr(loop, "_take", take)
        monkeypatch.setattr(loop._arrivals, "meanwhile", lambda: None)
        monkeypatch.setattr(loop, "_apply", lambda ready, now_ms: elapsed.insert(0, elapsed[0] + 10_000_000))
        monkeypatch.setattr(Turn, "over_after", lambda turn, arrived, made: arrived.link == 1)
        monkeypatch.setattr("relays.process.loop.Turn", lambda: Turn(lambda: elapsed[0]))
        while len(taken) < 30:
            loop._finish(loop._turn([], (), T0), T0)
        assert taken.index(1, 1) == 22, "21 of the other's take as long as one of these and its commit"

    running(home, monkeypatch, body)
