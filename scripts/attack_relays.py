"""Flood a relay by every kind of frame, and see what the honest beside the attacker notice.

For each attack a fresh tree comes up on loopback, every relay a process. An honest sensor publishes 500 events a
second to an honest reader, a requester asks an honest firewall for an action every second, and for --seconds an
attacker does one thing as fast as it can: a stranger, a control point without grants, a bad child, or a bad parent of
the relay under attack. A row passes when every honest relay is the same process afterwards and has its parent, no
relay ever took 300 MB, the reader got at least 0.8 of the events that it gets in a quiet run of this invocation, 99 of
100 events came within 250 ms of when they were due, and every action was completed.

The attacker is on the same machine as those that it attacks. Its processes have the lowest priority, in a session of
their own, so they get the processor time that the honest leave and no more: a relay that is slow here is slow because
of what it does itself. With --equal they fight for it, and the honest lose what a neighbour on the same machine takes
from them too. Either way the flood is only as strong as this machine and what else it does: a row shows that a relay
holds against so many frames and bytes, which stand in it, and nothing about more. Bounded: each attack ends with its
time, and a row ends early when a relay takes 1,500 MB. Where others keep this machine so busy that an attacker gets
next to nothing done, its row does not pass.

Exit codes: 0 every row passes; 1 some do not; 2 usage; 3 a row could not be measured; 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console

from fabric.protocol.base.errors import FabricError
from scripts.attacks import interruption
from scripts.attacks.flood import Attack
from scripts.attacks.known import chosen, name_of
from scripts.attacks.rows import PLANS, quiet_row, row_of
from scripts.attacks.verdicts import Bounds, Row, table_of
from scripts.help_texts import parser_of

SECONDS_MAX = 600.0
# Long enough for a p99 that means something, whatever an attack's time is.
_QUIET_S = (2.0, 20.0)


def main(argv: Sequence[str] | None = None) -> int:
    parser = parser_of(
        "scripts/attack", __doc__,
        ("", "all attacks, a minute each: more than an hour"),
        ("--seconds 5", "all of them, for a look"),
        ("--only point", "what a control point can do"),
        ("--only 'point/data-*' --only parent/pong --seconds 10", "some of them, for a short time"),
        ("--json > rows.jsonl", "one object a row, as it is measured"),
        ("--list", "the attacks, each in a sentence"),
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each attack lasts (default 60)")
    parser.add_argument("--only", action="append", default=[], metavar="WHO/KIND",
                        help="only these; WHO alone is all of its kinds, * stands for anything; may be repeated")
    parser.add_argument("--equal", action="store_true",
                        help="attackers do not give way to the honest: they fight for the processors")
    parser.add_argument("--list", action="store_true", help="say which attacks there are, and end")
    parser.add_argument("--json", action="store_true", help="one object a row on standard output, as it is measured")
    parsed = parser.parse_args(argv)
    attacks = chosen(parsed.only)
    if not 1 <= parsed.seconds <= SECONDS_MAX:
        parser.error(f"--seconds is from 1 to {SECONDS_MAX:.0f}")
    if not attacks:
        parser.error(f"no attack is called {' or '.join(parsed.only)}; --list says which there are")
    if parsed.list:
        for attack in attacks:
            print(f"{name_of(attack):24}  {attack.story}")
        return 0
    interruption.expect()
    rows: list[Row] = []
    bounds = Bounds()
    try:
        incomplete = _run(attacks, parsed.seconds, bounds, rows, equal=parsed.equal, as_json=parsed.json)
    except KeyboardInterrupt:
        # Whatever was started has been stopped on the way here.
        print("interrupted; nothing is left running", file=sys.stderr)
        if not parsed.json:
            _show(rows, bounds)
        return 130
    if not parsed.json:
        _show(rows, bounds)
    if incomplete:
        return 3
    return 1 if any(row.faults(bounds) for row in rows) else 0


def _run(attacks: Sequence[Attack], seconds: float, bounds: Bounds, rows: list[Row], *, equal: bool,
         as_json: bool) -> bool:
    """Whether some row could not be measured. Rows are added as they are."""
    quiet: dict[str, float] = {}
    incomplete = False
    planned = len(attacks) + len({PLANS[attack.who].name for attack in attacks})
    number = 0

    def done(row: Row) -> None:
        rows.append(row)
        faults = row.faults(bounds)
        print(f"  {', '.join(faults) or 'pass'}{f' ({row.remark})' if row.remark else ''}", file=sys.stderr)
        if as_json:
            print(json.dumps(row.as_json(bounds)), flush=True)

    def tell(text: str) -> None:
        nonlocal number
        number += 1
        print(f"{number}/{planned} {text}", file=sys.stderr, flush=True)

    for attack in attacks:
        plan = PLANS[attack.who]
        try:
            if plan.name not in quiet:
                tell(f"nobody attacks: {plan.name}")
                row = quiet_row(plan, attack.who, min(max(seconds, _QUIET_S[0]), _QUIET_S[1]))
                done(row)
                quiet[plan.name] = row.honest.rate_per_s
                if row.faults(bounds):
                    print("  the quiet run itself misses a bound: this machine has too much else to do, and the rows "
                          "below say little", file=sys.stderr)
            tell(f"{name_of(attack)}: {attack.story}")
            done(row_of(attack, seconds, quiet[plan.name], equal=equal))
        except (AssertionError, FabricError) as error:  # a wait that ended in words
            print(f"  not measured: {error}", file=sys.stderr)
            incomplete = True
    return incomplete


def _show(rows: Sequence[Row], bounds: Bounds) -> None:
    if rows:
        passed = sum(not row.faults(bounds) for row in rows)
        Console(width=168).print(table_of(rows, bounds))
        print(f"{passed} of {len(rows)} rows pass")


if __name__ == "__main__":
    sys.exit(main())
