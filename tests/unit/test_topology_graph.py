"""Pictures of a topology: golden for the small one, structure for the large one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from relays.cli.tree.topology import graph
from relays.topology.graph import draw, mermaid
from relays.topology.loader import load

SHIPPED = Path(__file__).parents[2] / "topologies"

MINIMAL = """\
minimal
└─ ■ hq  segment hq, red, 127.0.0.1:7600
   ├─ analyst-1  analyst, amber
   ├─ soar-1  soar, amber
   └─ ■ plant  segment plant, amber, 127.0.0.1:7610
      ├─ sensor-1  sensor, amber
      └─ fw-1  firewall, amber
"""

MINIMAL_MERMAID = """\
flowchart TD
    r_hq["hq<br/>segment hq<br/>red<br/>127.0.0.1:7600"]:::tlp_red
    r_plant["plant<br/>segment plant<br/>amber<br/>127.0.0.1:7610"]:::tlp_amber
    p_sensor_1(["sensor-1<br/>sensor"]):::tlp_amber
    p_fw_1(["fw-1<br/>firewall"]):::tlp_amber
    p_analyst_1(["analyst-1<br/>analyst"]):::tlp_amber
    p_soar_1(["soar-1<br/>soar"]):::tlp_amber
    r_hq ---|"plant dials"| r_plant
    r_plant --- p_sensor_1
    r_plant --- p_fw_1
    r_hq --- p_analyst_1
    r_hq --- p_soar_1
"""


def test_the_small_one_as_a_tree() -> None:
    assert draw(load(SHIPPED / "minimal.toml")) == MINIMAL


def test_the_small_one_as_mermaid() -> None:
    text = mermaid(load(SHIPPED / "minimal.toml"))
    assert text.startswith(MINIMAL_MERMAID)
    assert all(line.startswith("    classDef tlp_") for line in text[len(MINIMAL_MERMAID) :].splitlines())


def test_the_large_one_shows_dialling_backups_and_everyone() -> None:
    topology = load(SHIPPED / "enterprise.toml")
    text = draw(topology)
    assert "■ plant-2  segment plant-2, amber, 127.0.0.1:7770, dialled by region-west" in text
    assert "■ cell-2a  segment cell-2a, amber, 127.0.0.1:7780, backup region-west" in text
    assert "■ office  segment office, amber, 127.0.0.1:7740, backup region-west, hq" in text
    assert "sensor-cell  sensor, amber, backup plant-2" in text
    assert "analyst-1  analyst, red, operator" in text
    for name in (*topology.relays, *topology.points):
        assert re.search(rf"(?<![\w-]){name}(?![\w-])", text), name
    chart = mermaid(topology)
    assert 'r_region_west ---|"region-west dials"| r_plant_2' in chart
    assert 'r_region_west -.-|"backup"| r_cell_2a' in chart
    assert 'r_plant_2 -.-|"backup"| p_sensor_cell' in chart


def test_mermaid_uses_only_what_it_declares() -> None:
    chart = mermaid(load(SHIPPED / "enterprise.toml"))
    declared = re.findall(r"^    ([rp]_\w+)[\[(]", chart, re.M)
    assert len(declared) == len(set(declared)) == 30
    links = re.findall(r"^    (\w+) -[.-]-(?:\|\"[^\"]+\"\|)? (\w+)$", chart, re.M)
    assert len(links) == 8 + 3 + 21 + 2  # the tree, its backups, the points, theirs
    assert {name for pair in links for name in pair} <= set(declared)
    used = set(re.findall(r":::(\w+)", chart))
    assert used <= set(re.findall(r"classDef (\w+)", chart))


def test_points_without_a_relay_and_many_alike(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        """fabric = "acme"
[relays.hq]
clearance = "red"
listen = "0.0.0.0:7700"
advertise = "hq.example:7700"
segment = "core"
organisation = "partner"
[roles]
sensor = { publish = ["detections.>"] }
[points]
roaming = { role = "sensor", clearance = "amber" }
"""
        + "".join(f's-{n} = {{ relay = "hq", role = "sensor", clearance = "amber" }}\n' for n in range(1, 8))
    )
    assert (
        draw(load(path))
        == """\
acme
├─ ■ hq  segment core, red, hq.example:7700 (listens on 0.0.0.0:7700), of partner
│  └─ s-1 .. s-7 (7)  sensor, amber
└─ (nearest relay)
   └─ roaming  sensor, amber
"""
    )


def test_points_with_other_backups_are_not_alike(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    points = "".join(
        f's-{n} = {{ relay = "a", backups = {backups}, role = "sensor", clearance = "amber" }}\n'
        for n, backups in enumerate(['["hq", "b"]'] * 5 + ['["b", "hq"]'] + ["[]"] * 2)
    )
    path.write_text(
        """fabric = "acme"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
a = { clearance = "red", listen = "127.0.0.1:7710", parent = "hq" }
b = { clearance = "red", listen = "127.0.0.1:7720", parent = "hq" }
[roles]
sensor = { publish = ["detections.>"] }
[points]
"""
        + points
    )
    shown = draw(load(path))
    assert "s-0 .. s-4 (5)  sensor, amber, backup hq, b\n" in shown
    assert "s-5  sensor, amber, backup b, hq\n" in shown
    assert "s-6  sensor, amber\n" in shown


def test_the_json_has_the_backups_of_everyone(capsys: pytest.CaptureFixture[str]) -> None:
    graph(SHIPPED / "enterprise.toml", mermaid=False, as_json=True)
    said = json.loads(capsys.readouterr().out)
    backups = {node["id"]: node["backups"] for node in (*said["relays"], *said["points"])}
    assert {id_: names for id_, names in backups.items() if names} == {
        "office": ["region-west", "hq"], "cell-2a": ["region-west"],
        "edr-office": ["region-east"], "sensor-cell": ["plant-2"],
    }  # fmt: skip


def test_a_narrow_terminal_breaks_no_line_of_mermaid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relays.terminal.columns_of", lambda stream: 40)
    path = SHIPPED / "enterprise.toml"
    graph(path, mermaid=True, as_json=False)
    assert capsys.readouterr().out == mermaid(load(path))
