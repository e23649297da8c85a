"""A small topology, and what lint says of it with something added."""

from __future__ import annotations

from pathlib import Path

from relays.topology.lint import lint
from relays.topology.problems import Problem

RELAYS = """
fabric = "acme"
[relays]
hq     = { clearance = "red",   listen = "127.0.0.1:7700" }
dmz    = { clearance = "green", listen = "127.0.0.1:7710", parent = "hq" }
office = { clearance = "amber", listen = "127.0.0.1:7720", parent = "hq" }
ot-1   = { clearance = "amber", listen = "127.0.0.1:7730", parent = "dmz" }
"""
ROLES = """
[roles]
sensor = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }
feed = { publish = ["intel.>"] }
firewall = { execute = ["deny ipv4_net"], subscribe = ["intel.ipv4.>"] }
soar = { request = [{ action = "deny *", to = "role=firewall" }] }
[[approval]]
when = { class = "contain" }
require = 0
"""


def linted(tmp_path: Path, text: str) -> list[Problem]:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return lint(path)


def points(*lines: str) -> str:
    return "[points]\n" + "\n".join(lines) + "\n"
