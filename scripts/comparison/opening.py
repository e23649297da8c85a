"""How long a relay takes to open what waits on its disk, and how much memory: load, and restore into the core.

A spool is made of real, signed envelopes, then a new process opens it as a relay does:

    python -m scripts.comparison.opening FILE
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Done, KeepCredential, Put
from fabric.protocol.envelope.layout import decode_envelope, leaf_of, seal
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from relays.process.loop import AWAKE_MAX
from scripts.comparison.figures import Figure, Window
from scripts.comparison.processes import Failed
from scripts.comparison.resident import resident_kb
from tests.support import DAY_MS, EVERYTHING, T0, Authority, Member, draft, entropy

TOOK, MEMORY, WOKEN = Figure("took", "s", "less"), Figure("memory", "MB", "less"), Figure("woken", "us/row", "less")
FIGURES = (TOOK, MEMORY, WOKEN)
_AUTHORITY = Authority("bench")
_SENSORS = [_AUTHORITY.issue(f"sensor-{n}", grants=EVERYTHING) for n in range(4)]
_RELAY = _AUTHORITY.issue("plant", NodeKind.RELAY)
_BURST = 1_024
_WOKEN_MAX = 5_000
# Rows of every lane that an event may take; a lane holds so many bytes, and no single one could hold a million.
_SEVERITIES = (Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)


def build(path: Path, rows: int) -> None:
    """A spool that holds so many events for the uplink, in bursts, of four sensors and in four lanes."""
    spool = Spool(path)
    spool.commit([KeepCredential(s.credential.digest, s.credential.raw) for s in _SENSORS])
    for begin in range(0, rows, _BURST):
        sensor = _SENSORS[begin // _BURST % len(_SENSORS)]
        spool.commit(_burst(sensor, begin, min(_BURST, rows - begin)))
    spool.close()


def _burst(sensor: Member, begin: int, count: int) -> list[Put]:
    drafts = [
        draft(sensor, sequence=n, ttl_ms=DAY_MS, entropy=os.urandom, records=({"rule": "scan"},),
              severity=_SEVERITIES[n % len(_SEVERITIES)])
        for n in range(begin, begin + count)
    ]
    raws = seal(drafts, sensor.credential.digest, sensor.signer)
    puts = []
    for (header, _), raw in zip(drafts, raws, strict=True):
        envelope = decode_envelope(raw)
        assert not isinstance(envelope, Reject)
        id_ = leaf_of(envelope.header)[:ID_BYTES]
        puts.append(Put(id_, Direction.UP, header.lane, raw, 0, T0, T0 + DAY_MS, ("cell",), (("^", ()),)))
    return puts


def open_as_a_relay_does(path: Path) -> dict[str, float]:
    """The figures, in this process; and how many rows it holds then, of which some are awake."""
    before_kb = resident_kb("self")
    now_ms = T0 + 1_000
    began_s = time.perf_counter()
    spool = Spool(path, awake_max=AWAKE_MAX)
    core = Relay(_RELAY.credential, _RELAY.signer, _AUTHORITY.key, b"s" * 16, entropy("bench"), ("dmz",))
    ops = spool.load(now_ms)
    damaged = core.restore(ops, now_ms)
    took_s = time.perf_counter() - began_s
    memory_mb = (resident_kb("self") - before_kb) / 1024
    held, awake = len(core.custody) + sum(spool.asleep.rows), len(core.custody)
    # Their turn comes when those before them have been handed on.
    spool.commit([Done(op.id, op.direction, "^", last=True) for op in ops if isinstance(op, Put)])
    began_s, woken = time.perf_counter(), 0
    while woken < _WOKEN_MAX and (puts := spool.wake()):
        core.restore(puts, now_ms)
        woken += len(puts)
    woken_us = (time.perf_counter() - began_s) / max(1, woken) * 1e6
    spool.close()
    figures = {TOOK.name: took_s, MEMORY.name: memory_mb, WOKEN.name: woken_us}
    return {**figures, "held": held, "awake": awake, "damaged": len(damaged)}


class Opening:
    """What a new process says that opens it."""

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder, self._whole, self._rows = folder, folder / "whole.db", rows
        self._opened = 0
        build(self._whole, rows)
        self.does = (
            f"a new process opens a file of {self._whole.stat().st_size / 1e6:,.0f} MB; of what waits for the "
            "parent a relay reads as much as goes next, and the rest when it is its turn (woken)"
        )

    def window(self, seconds: float) -> Window:
        """Of one time that it is opened; that takes as long as it takes."""
        self._opened += 1
        path = self._folder / f"{self._opened}.db"  # what is opened is not what it was afterwards
        path.write_bytes(self._whole.read_bytes())
        words = [sys.executable, "-m", "scripts.comparison.opening", str(path)]
        said = dict(json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout))
        path.unlink()
        if said["held"] != self._rows or said["damaged"]:
            raise Failed(f"{said['held']} of {self._rows} rows are there, and {said['damaged']} are damaged")
        return Window({figure.name: said[figure.name] for figure in FIGURES})


@contextmanager
def opening(folder: Path, *, rows: int) -> Iterator[Opening]:
    folder.mkdir()
    yield Opening(folder, rows)


if __name__ == "__main__":
    print(json.dumps(open_as_a_relay_does(Path(sys.argv[1]))))
