"""How long a relay takes to open what waits on its disk, and how much memory: load, and restore into the core.

A spool is made of real, signed envelopes, then a new process opens it as a relay does. Beside it stands the same with
everything read and verified at once, of a tenth of the rows, and what merely reading the file takes: machines differ,
and a ratio says more than a time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fabric.protocol.base.errors import Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Done, KeepCredential, Put
from fabric.protocol.envelope.layout import decode_envelope, leaf_of, seal
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.wire.frames import Direction
from fabric.spool import Spool
from relays.loop import AWAKE_MAX
from scripts.bench_relays import resident_mb
from tests.support import DAY_MS, EVERYTHING, T0, Authority, Member, draft, entropy

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


def opened(path: Path, awake_max: int | None) -> dict[str, float]:
    """What a process of its own that opens the file says."""
    words = [sys.executable, "-m", "scripts.bench_spool", "--open", str(path)]
    words += [] if awake_max is None else ["--awake-max", str(awake_max)]
    return dict(json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout))


def _open(path: Path, awake_max: int | None) -> dict[str, float]:
    before_mb = resident_mb("self")
    now_ms = T0 + 1_000
    began = time.perf_counter()
    spool = Spool(path, awake_max=awake_max)
    core = Relay(_RELAY.credential, _RELAY.signer, _AUTHORITY.key, b"s" * 16, entropy("bench"), ("dmz",))
    ops = spool.load(now_ms)
    damaged = core.restore(ops, now_ms)
    took_s = time.perf_counter() - began
    figures = {
        "took_s": took_s, "memory_mb": resident_mb("self") - before_mb, "damaged": len(damaged),
        "held": len(core.custody) + sum(spool.asleep.rows), "awake": len(core.custody),
    }
    # Their turn comes when those before them have been handed on.
    spool.commit([Done(op.id, op.direction, "^", last=True) for op in ops if isinstance(op, Put)])
    began, woken = time.perf_counter(), 0
    while woken < _WOKEN_MAX and (puts := spool.wake()):
        core.restore(puts, now_ms)
        woken += len(puts)
    figures["wake_us"] = (time.perf_counter() - began) / max(1, woken) * 1e6
    spool.close()
    return figures


def _read(path: Path) -> float:
    """Seconds to read the file once: what no way of opening it could do without."""
    began = time.perf_counter()
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
    return time.perf_counter() - began


def measure(rows: int, tell: Callable[[str], None]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        whole, tenth = Path(folder) / "whole.db", Path(folder) / "tenth.db"
        tell(f"making {rows} rows")
        build(whole, rows)
        build(tenth, max(1, rows // 10))
        tell("opening them")
        figures = {"as a relay does": opened(whole, AWAKE_MAX), "all at once, a tenth of them": opened(tenth, None)}
        figures["reading the file"] = {"took_s": _read(whole), "file_mb": whole.stat().st_size / 2**20}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench spool", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="messages that wait for the parent")
    parser.add_argument("--json", action="store_true", help="figures as one object")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--awake-max", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open is not None:
        print(json.dumps(_open(chosen.open, chosen.awake_max)))
        return
    figures = measure(max(1_000, min(chosen.rows, 5_000_000)), lambda text: print(text, file=sys.stderr))
    if chosen.json:
        print(json.dumps({name: {k: round(v, 2) for k, v in values.items()} for name, values in figures.items()}))
        return
    table = Table("opening a spool", "rows", "seconds", "us a row", "memory, MB")
    for name, values in figures.items():
        held = values.get("held", 0)
        table.add_row(
            name, f"{held:,.0f}" if held else f"{values['file_mb']:,.0f} MB", f"{values['took_s']:.2f}",
            f"{values['took_s'] / held * 1e6:.1f}" if held else "", f"{values['memory_mb']:,.0f}" if held else "",
        )
    table.add_row("a row whose turn comes", "", "", f"{figures['as a relay does']['wake_us']:.1f}", "")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
