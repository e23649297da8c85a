"""What `fabric topology lint` and `flows` cost of a generated topology, in seconds of this process's CPU.

A thousand relays in four levels below hq: regions, sites, cells; each has five control points, every site a backup, and
every region claims what never leaves it and what always gets to hq. Figures are CPU time, so others on the machine do
not count.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fabric.protocol.vocabulary.tlp import Label
from relays.terminal import Screen, Table
from relays.topology.flow import Flows
from relays.topology.lint import lint
from relays.topology.loader import load

REGIONS, SITES = 10, 9
ROLES = """
[roles]
sensor = { publish = ["detections.>"] }
feed = { publish = ["intel.>"] }
analyst = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net", "allow ipv4_net"], subscribe = ["intel.>"] }
edr = { publish = ["detections.edr.>"], execute = ["contain device", "scan *", "query *"] }
soar = { subscribe = ["detections.>"], request = [
  { action = "deny *", to = "role=firewall" }, { action = "scan *", to = "role=edr" },
  { action = "contain device", to = "role=edr" } ] }
[[approval]]
when = { class = "contain" }
require = 0
[points]
soar-1 = { relay = "hq", role = "soar", clearance = "red" }
feed-1 = { relay = "hq", role = "feed", clearance = "amber" }
"""


def generated(relays: int) -> str:
    """A topology with so many relays."""
    return "\n".join(_lines(relays)) + "\n"


def _lines(relays: int) -> Iterator[str]:
    cells = (relays - 1 - REGIONS - REGIONS * SITES) // (REGIONS * SITES)
    yield 'fabric = "large"'
    yield "[relays]"
    yield 'hq = { clearance = "red", listen = "10.0.0.1:7700" }'
    names = ["hq"]
    for region in range(REGIONS):
        yield _relay(f"r{region}", "hq", "amber", len(names), [])
        names.append(f"r{region}")
        for site in range(SITES):
            name = f"r{region}-s{site}"
            backups = [f"r{(region + 1) % REGIONS}"]
            yield _relay(name, f"r{region}", "green" if site == 0 else "amber", len(names), backups)
            names.append(name)
            for cell in range(cells):
                yield _relay(f"{name}-c{cell}", name, "amber", len(names), [])
                names.append(f"{name}-c{cell}")
    for number in range(len(names), relays):
        yield _relay(f"x{number}", "r0", "amber", number, [])
        names.append(f"x{number}")
    yield ROLES
    for name in names:
        for role in ("sensor", "firewall", "edr", "analyst"):
            yield f'{role}-{name} = {{ relay = "{name}", role = "{role}", clearance = "amber" }}'
    for name in names[1:]:
        yield f'soar-{name} = {{ relay = "{name}", role = "soar", clearance = "amber" }}'
    for region in range(REGIONS):
        yield f'[[assert]]\nnever = "amber+strict from r{region} reaches hq"'
        yield f'[[assert]]\nnever = "amber from r{region}-s0 reaches hq"'
        yield f'[[assert]]\nmust = "green from r{region} reaches hq"'


def _relay(name: str, parent: str, clearance: str, number: int, backups: list[str]) -> str:
    address = f"10.{number // 60_000}.{number // 250 % 240}.{number % 250 + 2}:7700"
    more = f", backups = {backups}".replace("'", '"') if backups else ""
    return f'{name} = {{ clearance = "{clearance}", listen = "{address}", parent = "{parent}"{more} }}'


def cpu_s(work: Callable[[], Any]) -> tuple[float, Any]:
    """Of this process, and what the work gave."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relays", type=int, default=1_000, help="how many relays (default: %(default)s)")
    relays = parser.parse_args().relays
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.toml"
        path.write_text(generated(relays))
        linting_s, problems = cpu_s(lambda: lint(path))
        topology = load(path)
        made_s, flows = cpu_s(lambda: Flows(topology))
        one_s, _ = cpu_s(lambda: [flows.between("soar-1", name, Label.AMBER) for name in topology.relays])
    table = Table("what", "CPU s", title=f"{len(topology.relays):,} relays, {len(topology.points):,} control points")
    errors = sum(problem.severity == "error" for problem in problems)
    table.row(f"lint, {len(topology.asserts)} asserts: {errors} errors", f"{linting_s:.2f}")
    table.row("flows: what is for whom", f"{made_s:.2f}")
    table.row("flows: from one to every relay", f"{one_s:.2f}")
    Screen().table(table)


if __name__ == "__main__":
    main()
