"""What `fabric topology lint` and `flows` cost of a generated topology.

Relays in four levels, hq, regions, sites and cells; each has five control points, every site a backup, and every region
claims what never leaves it and what always gets to hq.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fabric.protocol.vocabulary.tlp import Label
from relays.topology.flow import Flows
from relays.topology.lint import lint
from relays.topology.loader import load
from scripts.comparison.figures import Figure, Window
from scripts.comparison.processes import Failed

LINT, FLOWS = Figure("lint", "CPU s", "less"), Figure("flows", "CPU s", "less")
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


class Proving:
    """Seconds of this process's processor time, so others on the machine do not count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        topology = load(path)
        self.does = (
            f"{len(topology.relays):,} relays in four levels, {len(topology.points):,} control points and "
            f"{len(topology.asserts)} asserts; flows: what is for whom, and then from one control point to every relay"
        )

    def window(self, seconds: float) -> Window:
        """Of one time; that takes as long as it takes."""
        lint_s, problems = _cpu_s(lambda: lint(self._path))
        errors = [str(problem) for problem in problems if problem.severity == "error"]
        if errors:
            raise Failed(f"the topology has {len(errors)} errors: {errors[0]}")
        topology = load(self._path)

        def all_flows() -> None:
            flows = Flows(topology)
            for name in topology.relays:
                flows.between("soar-1", name, Label.AMBER)

        flows_s, _ = _cpu_s(all_flows)
        return Window({LINT.name: lint_s, FLOWS.name: flows_s})


def _cpu_s(work: Callable[[], Any]) -> tuple[float, Any]:
    """Of this process, and what the work gave."""
    began_s = time.process_time()
    found = work()
    return time.process_time() - began_s, found


@contextmanager
def proving(folder: Path, *, relays: int) -> Iterator[Proving]:
    folder.mkdir()
    path = folder / "large.toml"
    path.write_text(generated(relays))
    yield Proving(path)
