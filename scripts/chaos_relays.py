"""Publish records all over a tree while its relays are killed (-9) and stopped (SIGSTOP), and count what arrives.

Every relay is a process; a supervisor brings back what was killed. Sensors in different segments publish numbered
records, every other one with an outbox, to two durable readers at the root. Who is hit, and when, follows from the
seed; a stop lasts from half a second to nine. A record is acked when its sensor was told that it is held. The run is
paced so that the faults spread over it.

Exit codes: 0 nothing acked was lost and nothing was delivered twice; 1 something was; 2 usage; 3 the run is not
complete: the tree did not come up, time ran out, or not all faults could be done; nothing was lost or doubled as far as
it went.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from fabric.protocol.base.errors import FabricError
from relays.topology.loader import load
from scripts.help_texts import parser_of
from tests.integration.chaos import Account, Result, cast_of, house_text, run
from tests.integration.faults import Faults, plan
from tests.integration.harness import ROOT, house_in

KILLS_MAX = 1_000
RECORDS_MAX = 2_000_000
# Nothing is asked of a sensor that its grant or this machine could not give: two plants are on one machine here.
_RECORDS_PER_S = 700
# One after the other, a killed relay has time to come back, and others to go to their backups and return.
_FAULT_EVERY_S = 3.5
_SETTLE_S = 180.0
_TELL_EVERY_S = 10.0


def main() -> int:
    parser = parser_of("scripts/chaos", __doc__, "--kills 3 --records 5000", "--kills 100 --records 200000 --seed 7")
    parser.add_argument("--kills", type=int, default=10, help="how many relays are killed with -9 (default 10)")
    parser.add_argument("--stops", type=int, default=None, help="how many are stopped for a while (default: a fourth)")
    parser.add_argument("--records", type=int, default=20_000, help="how many are published (default 20000)")
    parser.add_argument("--seed", type=int, default=1, help="who is hit, when, and for how long (default 1)")
    parser.add_argument("--topology", type=Path, default=ROOT / "topologies" / "enterprise.toml",
                        help="one that listens on 127.0.0.1; ports are chosen anew (default: enterprise.toml)")
    parser.add_argument("--json", action="store_true", help="the figures as one object on standard output")
    parsed = parser.parse_args()
    stops = parsed.kills // 4 if parsed.stops is None else parsed.stops
    if not (0 <= parsed.kills <= KILLS_MAX and 0 <= stops <= KILLS_MAX and 1 <= parsed.records <= RECORDS_MAX):
        parser.error(f"at most {KILLS_MAX} kills and stops, and 1 to {RECORDS_MAX} records")
    duration_s = max((parsed.kills + stops) * _FAULT_EVERY_S, parsed.records / _RECORDS_PER_S)
    try:
        cast = cast_of(load(parsed.topology))
        with tempfile.TemporaryDirectory() as folder, house_in(Path(folder), house_text(parsed.topology)) as house:
            house.up()
            house.wait_whole()
            print(f"{len(house.relays)} relays, {len(cast.sensors)} sensors, {len(cast.readers)} readers; "
                  f"{duration_s:.0f} s, then at most {_SETTLE_S:.0f} s for the rest", file=sys.stderr)
            planned = plan(house.relays, parsed.kills, stops, duration_s, parsed.seed)
            result = run(house, cast, parsed.records, planned, duration_s, _SETTLE_S, _Progress())
            faulty = [name for name, text in house.logs().items() if "Traceback" in text or "fault of its own" in text]
    except FabricError as error:
        print(f"{error.code.label} {error.detail}; {error.next_step}", file=sys.stderr)
        return 2
    except AssertionError as error:  # a wait of the harness that ended in words
        print(error, file=sys.stderr)
        return 3
    _show(result, parsed.seed, faulty, as_json=parsed.json)
    if not result.is_sound or faulty:
        return 1
    return 0 if result.complete and not result.left_out else 3


class _Progress:
    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._told_s = self._began_s

    def __call__(self, account: Account, faults: Faults) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = now_s
        print(f"{now_s - self._began_s:5.0f} s: {sum(account.acked)} acked, "
              f"{min(account.different[r] for r in account.seen)} delivered, {faults.kills} killed, "
              f"{faults.stops} stopped", file=sys.stderr)


def _show(result: Result, seed: int, faulty: list[str], *, as_json: bool) -> None:
    figures = {**result.figures(), "seed": seed, "faulty_logs": faulty}
    if as_json:
        print(json.dumps(figures))
        return
    print(f"records      {figures['records']} in {figures['took_s']} s, {figures['acked']} acked, "
          f"{figures['not_acked']} not {dict(result.account.refused) or ''}".rstrip())
    print(f"delivered    {figures['delivered']} to every reader")
    print(f"lost         {figures['lost']} (acked, and missing at a reader)")
    print(f"twice        {figures['twice']}")
    print(f"faults       {figures['kills']} kills, {figures['stops']} stops, {figures['left_out']} left out; "
          f"seed {seed}")
    print(f"slowest      {figures['slowest_s']} s from publish to delivery; "
          f"{figures['longest_silence_s']} s without a word of a sensor")
    if result.account.lost():
        print(f"numbers lost {result.account.lost()[:20]}")
    if faulty:
        print(f"relays that failed by themselves: {', '.join(faulty)}")
    if not result.complete:
        print("not complete: the time ran out")


if __name__ == "__main__":
    sys.exit(main())
