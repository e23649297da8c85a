"""What a sensor and its reader notice of a parent that is killed, hangs, is drained, and of going back to it.

Two sensors publish fifty messages a second each: one below a relay that has a backup, one that has a backup itself. The
figure is the longest time that any message was on its way; everything must arrive once. Beside it, in virtual time, how
evenly a thousand children of a dead parent come to the next one.

Exit codes: 0 nothing lost or doubled, 1 something was.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fabric.protocol.base.limits import BACKED_PING_MS
from scripts.help_texts import parser_of
from tests.integration.family import TOPOLOGY, Stream, bring_back, kill_for_good, parent_of
from tests.integration.harness import House, house_in, wait_for
from tests.simulation.herd import herd

_MOVED_S = 30.0
_CALM_S = 1.0


def main() -> int:
    parser = parser_of("scripts/failover", __doc__, "", "--rounds 1 --children 100")
    parser.add_argument("--rounds", type=int, default=3, help="of each trouble (default 3)")
    parser.add_argument("--children", type=int, default=1_000, help="of the simulated parent that dies (default 1000)")
    parser.add_argument("--json", action="store_true", help="the figures as one object on standard output")
    parsed = parser.parse_args()
    waits: dict[str, list[int]] = {"killed": [], "hangs": [], "drained": [], "back again": []}
    sent, seen, sound = 0, 0, True
    for trouble in list(_TROUBLES) * parsed.rounds:
        print(f"... {trouble}", file=sys.stderr)
        # A tree of its own for each: a parent that was lost a moment ago is waited for longer.
        with tempfile.TemporaryDirectory() as folder, house_in(Path(folder), TOPOLOGY) as house:
            house.up()
            house.wait_whole()
            with Stream(house, "sensor-c", "sensor-e") as stream:
                time.sleep(_CALM_S)
                stream.worst_age_ms()
                undo = _TROUBLES[trouble](house)
                _moved(house, "west")
                waits[trouble].append(stream.worst_age_ms())
                undo()
                _moved(house, "east")
                waits["back again"].append(stream.worst_age_ms())
                sound = stream.finish_soundly() and sound
            sent, seen = sent + sum(stream.sent.values()), seen + sum(stream.seen.values())
    crowd = herd(parsed.children)
    peak = round(crowd.peak_over_mean, 2)
    figures = {
        "sent": sent, "seen": seen, "once_each": sound,
        "longest_ms": {name: {"median": int(statistics.median(ms)), "worst": max(ms)} for name, ms in waits.items()},
        "herd": {"children": parsed.children, "peak_over_mean": peak, "last_ms": crowd.last_ms},
    }
    if parsed.json:
        print(json.dumps(figures))
    else:
        print(f"{sent} messages, {'each once' if sound else f'{seen} arrived'}; the longest that one was on its way:")
        for name, ms in waits.items():
            heartbeats = statistics.median(ms) / BACKED_PING_MS
            print(f"  parent {name:11} median {statistics.median(ms) / 1000:5.2f} s ({heartbeats:.1f} heartbeats), "
                  f"worst {max(ms) / 1000:5.2f} s, of {len(ms)}")
        print(f"{parsed.children} simulated children of a dead parent: peak of handshakes {peak} times the mean, "
              f"the last after {crowd.last_ms / 1000:.1f} s")
    return 0 if sound else 1


def _moved(house: House, parent: str) -> None:
    for child in ("cell", "mine"):
        wait_for(partial(_is_at, house, child, parent), f"{child} at {parent}", _MOVED_S * 2)
    wait_for(lambda: "sensor-e" in house.state(parent).get("points", []), f"sensor-e at {parent}", _MOVED_S * 2)
    time.sleep(_CALM_S)


def _is_at(house: House, child: str, parent: str) -> bool:
    return parent_of(house, child) == parent


def _killed(house: House) -> Callable[[], None]:
    kill_for_good(house, "east")
    return lambda: bring_back(house, "east")


def _hangs(house: House) -> Callable[[], None]:
    frozen = house.frozen(house.pid("east"))
    frozen.__enter__()

    def thaw() -> None:
        frozen.__exit__(None, None, None)

    return thaw


def _drained(house: House) -> Callable[[], None]:
    house.cli("drain", "east", "--fabric", house.fabric, timeout_s=40).expect(0)
    return lambda: bring_back(house, "east")


_TROUBLES: dict[str, Callable[[House], Callable[[], None]]] = {"killed": _killed, "hangs": _hangs, "drained": _drained}

if __name__ == "__main__":
    sys.exit(main())
