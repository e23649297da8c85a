"""Topology files: what is read, and what is said of a file that is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import Keep
from fabric.protocol.trust.policies import Escalation, Rule, When
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.topology.lint import lint
from relays.topology.loader import load
from relays.topology.model import Topology
from relays.topology.problems import Problem, TopologyErrors

SHIPPED = Path(__file__).parents[2] / "topologies"
DAY_MS = 86_400_000

GOOD = """
fabric = "acme"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
ot-1 = { clearance = "amber", listen = "127.0.0.1:7710", parent = "hq" }
[roles]
sensor = { publish = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
[points]
zeek-1 = { relay = "ot-1", role = "sensor", clearance = "amber" }
"""


def read(tmp_path: Path, text: str) -> Topology:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return load(path)


def problems(tmp_path: Path, text: str) -> list[Problem]:
    with pytest.raises(TopologyErrors) as raised:
        read(tmp_path, text)
    return list(raised.value.problems)


def errors(tmp_path: Path, text: str) -> list[Problem]:
    return [p for p in problems(tmp_path, text) if p.severity == "error"]


def only(tmp_path: Path, text: str) -> Problem:
    found = errors(tmp_path, text)
    assert len(found) == 1, "\n".join(map(str, found))
    return found[0]


# what a good file becomes


def test_a_good_file_with_its_defaults(tmp_path: Path) -> None:
    topology = read(tmp_path, GOOD)
    assert topology.fabric == topology.organisation == "acme"
    assert topology.root.id == "hq"
    ot = topology.relays["ot-1"]
    assert (ot.segment, ot.advertise, ot.dial, ot.organisation) == (
        "ot-1",
        "127.0.0.1:7710",
        "parent",
        "acme",
    )
    assert topology.defaults.label == Label.AMBER
    assert topology.defaults.ttl_ms["event"] == 86_400_000
    assert set(topology.defaults.ttl_ms) == {"event", "intel", "action", "approval", "result", "control"}
    assert [r.id for r in topology.children("hq")] == ["ot-1"]
    assert [r.id for r in topology.path_to_root("ot-1")] == ["ot-1", "hq"]
    assert [p.id for p in topology.points_of("ot-1")] == ["zeek-1"]
    assert topology.attributes("zeek-1") == {
        "role": "sensor", "id": "zeek-1", "organisation": "acme", "segment": "ot-1",
    }  # fmt: skip


def test_grants_are_texts_or_tables(tmp_path: Path) -> None:
    topology = read(
        tmp_path,
        GOOD
        + """
[roles.soar]
publish = ["a.>", { topic = "b.>", severity_max = "high", rate = 100 }]
request = [{ action = "deny *", to = "role=firewall", severity_max = "critical", scope = "ot-1" }]
approve = [{ class = "contain", to = "segment=ot-1" }]
""",
    )
    soar = topology.roles["soar"]
    first, second = soar.publish
    assert (first.pattern, first.severity_max, first.rate_per_s) == ("a.>", Severity.FATAL, 0)
    assert (second.pattern, second.severity_max, second.rate_per_s) == ("b.>", Severity.HIGH, 100)
    (request,) = soar.request
    assert (request.action, request.to, request.scope) == ("deny *", "role=firewall", "ot-1")
    assert request.severity_max == Severity.CRITICAL
    assert (soar.approve[0].class_, soar.approve[0].to) == ("contain", "segment=ot-1")
    assert soar.grants.request == soar.request


def test_the_example_of_the_design(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("""
fabric = "acme"
organisation = "acme"
defaults = { label = "amber", ttl = { event = "24h", intel = "7d", action = "60s", result = "24h" } }

[relays]                              # no parent = root
hq     = { segment = "hq",     clearance = "red",   listen = "127.0.0.1:7700" }
dmz    = { segment = "dmz", clearance = "green", listen = "127.0.0.1:7710", parent = "hq", dial = "parent" }
office = { segment = "office", clearance = "amber", listen = "127.0.0.1:7720", parent = "hq" }

[relays.ot-1]
segment = "ot-1"
clearance = "amber"
listen = "0.0.0.0:7730"
advertise = "127.0.0.1:7730"          # what children dial
parent = "dmz"
backups = ["office"]
serves = ["10.1.0.0/16"]              # nearest for these addresses

[roles]
sensor   = { publish = ["detections.>"] }
firewall = { subscribe = ["intel.ipv4.>"], execute = ["deny ipv4_net"] }
soar     = { subscribe = ["detections.>"], request = [{ action = "deny *", to = "role=firewall" }] }
ot-lead  = { approve = [{ class = "contain", to = "segment=ot-1" }] }

[points]                              # no relay = nearest
soar-1 = { relay = "hq",   role = "soar",     clearance = "red" }
lead-1 = { relay = "hq",   role = "ot-lead",  clearance = "amber", kind = "operator" }
fw-7   = { relay = "ot-1", role = "firewall", clearance = "amber", tags = { vendor = "nft" } }

[points.zeek-1]
relay = "ot-1"
role = "sensor"
clearance = "amber"
[points.zeek-1.sources.conn]
kind = "file"
path = "/var/log/zeek/conn.log"
topic = "detections.zeek.conn"
labels = { "id.orig_h" = "amber", "*" = "green" }   # literal key first, then path

[[approval]]
when = { class = "contain", to = "segment=ot-1" }
require = 2
from = ["ot-lead"]
within = "10m"

[[assert]]
never = "amber from ot-1 reaches dmz"
""")
    topology = load(path)
    assert [p for p in lint(path) if p.severity == "error"] == []
    conn = topology.points["zeek-1"].sources["conn"]
    assert dict(conn.labels) == {"id.orig_h": Label.AMBER, "*": Label.GREEN}
    (approval,) = topology.approvals
    assert (approval.class_, approval.require, approval.from_, approval.within_ms) == (
        "contain",
        2,
        ("ot-lead",),
        600_000,
    )
    assert (topology.asserts[0].source, topology.asserts[0].target) == ("ot-1", "dmz")
    # Two must approve, and there is one: lint says so.
    assert any("2 must approve and there are 1: nobody can satisfy it" in p.cause for p in lint(path))


@pytest.mark.parametrize("name", ["minimal", "enterprise"])
def test_the_shipped_files_load(name: str) -> None:
    topology = load(SHIPPED / f"{name}.toml")
    assert topology.fabric == name
    assert [rule.action for rule in topology.approvals] == (["deny domain_name"] if name == "enterprise" else [])


def test_enterprise_has_a_low_relay_between_higher_ones() -> None:
    topology = load(SHIPPED / "enterprise.toml")
    path = topology.path_to_root("plant-1")
    assert [r.clearance for r in path] == [Label.AMBER, Label.GREEN, Label.AMBER, Label.RED]
    assert len(topology.relays) >= 8
    assert sum(p.kind == "control point" for p in topology.points.values()) >= 14
    assert any(r.dial == "child" for r in topology.relays.values())
    assert all(r.listen.startswith("127.0.0.1:77") for r in topology.relays.values())


def test_the_model_loads_no_validator() -> None:
    code = "import sys, relays.topology.model; sys.exit('pydantic' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# files that are no TOML, or none at all


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TopologyErrors) as raised:
        load(tmp_path / "nowhere.toml")
    assert raised.value.code == Code.TOPOLOGY_UNREADABLE
    assert "no such file" in str(raised.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(b'fabric = "a"\n# \xff\n')
    with pytest.raises(TopologyErrors) as raised:
        load(path)
    (problem,) = raised.value.problems
    assert (problem.code, problem.line) == (Code.TOPOLOGY_UNREADABLE, 2)
    assert "UTF-8" in problem.cause


@pytest.mark.parametrize(
    ("text", "line", "cause", "write"),
    [
        (
            'relays = { hq = { clearance = "red" } }\n[relays.ot-1]\nclearance = "red"\n',
            2,
            "relays is an inline table (`relays = { ... }` on line 1), and `[relays.ot-1]` on line 2",
            "replace line 1 by the header [relays] with a line for each key, or put relays.ot-1 inside",
        ),
        (
            '[relays]\nhq = { clearance = "red" }\n\n[relays.hq]\nlisten = "127.0.0.1:1"\n',
            4,
            "relays.hq is an inline table (`hq = { ... }` on line 2), and `[relays.hq]` on line 4 adds to it",
            "keep one: all keys inside the { } on line 2, or all under [relays.hq]",
        ),
        (
            '[relays]\nhq = { clearance = "red" }\nhq.listen = "127.0.0.1:1"\n',
            3,
            "relays.hq is an inline table",
            "or put relays.hq.listen inside its { }",
        ),
        (
            "[relays.hq]\na = 1\n[relays.hq]\nb = 1\n",
            3,
            "[relays.hq] stands on line 1 and again on line 3",
            "line 1",
        ),
        ("fabric = 'a'\nfabric = 'b'\n", 2, "fabric is already given on line 1", "remove one"),
        ("fabric = acme\n", 1, "invalid value", "double quotes"),
        ("[relays]\nhq = {\n clearance = 'red' }\n", None, "does not end on its line", "[section]"),
        ("a = [1,\n", 1, "the file ends inside a value", "close the bracket"),
    ],
)
def test_toml_mistakes_in_plain_words(
    tmp_path: Path, text: str, line: int | None, cause: str, write: str
) -> None:
    problem = only(tmp_path, text)
    assert problem.code == Code.TOPOLOGY_UNREADABLE
    assert cause in problem.cause
    assert write in problem.write
    if line is not None:
        assert problem.line == line


# shapes


@pytest.mark.parametrize(
    ("old", "new", "key", "code", "cause", "write"),
    [
        (
            'parent = "hq"',
            'perent = "hq", parent = "hq"',
            "relays.ot-1.perent",
            802,
            "no key 'perent'",
            "did you mean 'parent'?",
        ),
        (
            'clearance = "amber", listen',
            'clearance = "yellow", listen',
            "relays.ot-1.clearance",
            602,
            "'yellow' is not a TLP label",
            "write one of clear, green, amber, amber+strict, red",
        ),
        (
            'clearance = "amber", listen',
            'clearance = "ambre", listen',
            "relays.ot-1.clearance",
            602,
            "'ambre'",
            "did you mean 'amber'?",
        ),
        (
            'clearance = "amber", listen',
            "clearance = 3, listen",
            "relays.ot-1.clearance",
            602,
            "'3'",
            "amber+strict",
        ),
        (
            'clearance = "amber", listen',
            "listen",
            "relays.ot-1.clearance",
            802,
            "'clearance' is missing",
            'clearance = "amber"',
        ),
        (
            '"127.0.0.1:7710"',
            '"127.0.0.1"',
            "relays.ot-1.listen",
            802,
            "'127.0.0.1' is not host:port",
            "127.0.0.1:7700",
        ),
        (
            '"127.0.0.1:7710"',
            '"127.0.0.1:0"',
            "relays.ot-1.listen",
            802,
            "port 0 is not 1 to 65535",
            "127.0.0.1:7700",
        ),
        ('"127.0.0.1:7710"', '"127.0.0.1:99999"', "relays.ot-1.listen", 802, "port 99999", "127.0.0.1:7700"),
        (
            '"127.0.0.1:7710"',
            '"300.0.0.1:7710"',
            "relays.ot-1.listen",
            802,
            "not an IP address",
            "127.0.0.1:7710",
        ),
        ('"127.0.0.1:7710"', '"localhost:7710"', "relays.ot-1.listen", 802, "is a name", "127.0.0.1:7710"),
        (
            '"127.0.0.1:7710"',
            '"tcp://127.0.0.1:7710"',
            "relays.ot-1.listen",
            802,
            "scheme",
            '"127.0.0.1:7710"',
        ),
        ('"127.0.0.1:7710"', '"*:7710"', "relays.ot-1.listen", 802, "'*' is not an address", "0.0.0.0:7710"),
        ('"127.0.0.1:7710"', '"::1:7710"', "relays.ot-1.listen", 802, "in brackets", '"[::1]:7710"'),
        ('"127.0.0.1:7710"', "7710", "relays.ot-1.listen", 802, "text is expected", "in quotes"),
        (
            '"127.0.0.1:7710"',
            '"0.0.0.0:7710", advertise = "0.0.0.0:7710"',
            "relays.ot-1.advertise",
            802,
            "nobody can dial 0.0.0.0",
            "192.0.2.1:7710",
        ),
        (
            'parent = "hq"',
            'parent = "hq", serves = ["10.1.0.0/40"]',
            "relays.ot-1.serves.0",
            802,
            "is not a network",
            "10.1.0.0/16",
        ),
        (
            'parent = "hq"',
            'parent = "hq", serves = ["10.1.2.3/16"]',
            "relays.ot-1.serves.0",
            802,
            "bits set",
            '"10.1.0.0/16"',
        ),
        (
            'parent = "hq"',
            'parent = "hq", dial = "up"',
            "relays.ot-1.dial",
            802,
            "'up' is not known here",
            "'parent' or 'child'",
        ),
        (
            'parent = "hq"',
            'parent = "hq", tags = { role = "x" }',
            "relays.ot-1.tags",
            802,
            "tag 'role'",
            "another name",
        ),
        (
            'parent = "hq"',
            'parent = "hq", segment = "OT 1"',
            "relays.ot-1.segment",
            802,
            "is not a name",
            "lower case",
        ),
        (
            '["detections.>"]',
            '"detections.>"',
            "roles.sensor.publish",
            802,
            "a list is expected",
            'publish = ["detections.>"]',
        ),
        (
            '["detections.>"]',
            '["detections..x"]',
            "roles.sensor.publish.0",
            107,
            "empty token",
            "detections.>",
        ),
        ('["detections.>"]', '["a.>.b"]', "roles.sensor.publish.0", 107, "not allowed", "detections.>"),
        (
            '["detections.>"]',
            '[{ topic = "a", severity_max = "hgih" }]',
            "roles.sensor.publish.0.severity_max",
            802,
            "'hgih' is not a severity",
            "did you mean 'high'?",
        ),
        (
            '["detections.>"]',
            '[{ topic = "a", rate = "fast" }]',
            "roles.sensor.publish.0.rate",
            802,
            "whole number",
            "rate = 1",
        ),
        (
            '["detections.>"]',
            '[{ topik = "a", topic = "a" }]',
            "roles.sensor.publish.0.topik",
            802,
            "topik",
            "'topic'?",
        ),
        (
            '["deny ipv4_net"]',
            '["smash ipv4_net"]',
            "roles.firewall.execute.0",
            706,
            "not a pattern",
            "deny ipv4_net",
        ),
        ('["deny ipv4_net"]', '["deny"]', "roles.firewall.execute.0", 706, "not a pattern", "deny ipv4_net"),
        (
            "execute =",
            'request = ["deny *"], execute =',
            "roles.firewall.request.0",
            802,
            "'to' is missing",
            "role=firewall",
        ),
        (
            "execute =",
            'request = [{ action = "deny *", to = "role=" }], execute =',
            "roles.firewall.request.0.to",
            705,
            "expected a value",
            "role=firewall",
        ),
        (
            "execute =",
            'request = [{ action = "deny *", to = "" }], execute =',
            "roles.firewall.request.0.to",
            705,
            "selects nobody",
            "'all'",
        ),
        (
            "execute =",
            'approve = [{ class = "contian", to = "all" }], execute =',
            "roles.firewall.approve.0.class",
            802,
            "'contian'",
            "did you mean 'contain'?",
        ),
        (
            'role = "sensor",',
            'role = "sensor", kind = "person",',
            "points.zeek-1.kind",
            802,
            "'person'",
            "'operator'",
        ),
        ('fabric = "acme"', 'fabric = "Acme Inc"', "fabric", 802, "is not a name", "lower case"),
        ('fabric = "acme"', "", "fabric", 802, "'fabric' is missing", 'fabric = "acme"'),
        (
            'fabric = "acme"',
            'fabric = "acme"\ndefaults = { ttl = { event = "forever" } }',
            "defaults.ttl.event",
            802,
            "'forever' is not a duration",
            "24h",
        ),
        (
            'fabric = "acme"',
            'fabric = "acme"\ndefaults = { ttl = { event = "0s" } }',
            "defaults.ttl.event",
            802,
            "not a duration",
            "24h",
        ),
        (
            'fabric = "acme"',
            'fabric = "acme"\ndefaults = { ttl = { action = "2h" } }',
            "defaults.ttl.action",
            503,
            "2h is above the maximum of 1h for kind action",
            'at most "1h"',
        ),
        (
            'fabric = "acme"',
            'fabric = "acme"\ndefaults = { ttl = { events = "2h" } }',
            "defaults.ttl.events",
            802,
            "no key 'events'",
            "did you mean 'event'?",
        ),
        (
            'fabric = "acme"',
            'fabric = "acme"\ndefaults = { label = "pink" }',
            "defaults.label",
            602,
            "'pink'",
            "clear, green",
        ),
        (
            'fabric = "acme"',
            'fabric = "acme"\nrealys = 1',
            "realys",
            802,
            "no key 'realys'",
            "did you mean 'relays'?",
        ),
    ],
)
def test_one_wrong_value_and_what_is_said_of_it(
    tmp_path: Path, old: str, new: str, key: str, code: int, cause: str, write: str
) -> None:
    assert GOOD.count(old) == 1
    problem = only(tmp_path, GOOD.replace(old, new))
    assert (problem.key, problem.code.number) == (key, code)
    assert cause in problem.cause
    assert write in problem.write
    assert problem.line is not None or "missing" in problem.cause


def test_a_label_key_that_toml_split_at_its_dot(tmp_path: Path) -> None:
    text = (
        GOOD
        + '[points.z-2]\nrelay = "ot-1"\nrole = "sensor"\nclearance = "amber"\n[points.z-2.sources.conn]\n'
    )
    text += 'kind = "file"\npath = "/x"\ntopic = "detections.x"\nlabels = { id.orig_h = "amber" }\n'
    problem = only(tmp_path, text)
    assert problem.key == "points.z-2.sources.conn.labels.id"
    assert "splits keys at dots" in problem.cause
    assert '"id.orig_h" = "amber"' in problem.write


# rules


def relays(*lines: str) -> str:
    return 'fabric = "acme"\n[relays]\n' + "\n".join(lines) + "\n"


def relay(name: str, port: int, more: str = "") -> str:
    return f'{name} = {{ clearance = "red", listen = "127.0.0.1:{port}"{", " + more if more else ""} }}'


def test_no_root_and_a_cycle_printed(tmp_path: Path) -> None:
    text = relays(relay("a", 1, 'parent = "b"'), relay("b", 2, 'parent = "c"'), relay("c", 3, 'parent = "a"'))
    no_root, cycle = errors(tmp_path, text)
    assert (no_root.key, no_root.line) == ("relays", 2)
    assert "there is no root" in no_root.cause
    assert cycle.key == "relays.a.parent"
    assert "a -> b -> c -> a" in cycle.cause


def test_a_cycle_beside_a_root_and_a_relay_above_itself(tmp_path: Path) -> None:
    text = relays(
        relay("hq", 1), relay("a", 2, 'parent = "b"'), relay("b", 3, 'parent = "a"'),
        relay("c", 4, 'parent = "a"'), relay("d", 5, 'parent = "d"'),
    )  # fmt: skip
    assert [p.cause for p in errors(tmp_path, text)] == [
        "the parents go in a circle: a -> b -> a",
        "the parents go in a circle: d -> d",
    ]


def test_two_roots(tmp_path: Path) -> None:
    problem = only(tmp_path, relays(relay("hq", 1), relay("dmz", 2)))
    assert problem.key == "relays.dmz"
    assert "a fabric has one root" in problem.cause
    assert 'parent = "hq"' in problem.write


def test_no_relays_at_all(tmp_path: Path) -> None:
    assert only(tmp_path, 'fabric = "a"\n[relays]\n').cause == "there is no relay"
    assert only(tmp_path, 'fabric = "a"\n').cause == "'relays' is missing"


def test_a_parent_that_does_not_exist(tmp_path: Path) -> None:
    problem = only(tmp_path, relays(relay("hq", 1), relay("ot", 2, 'parent = "hqq"')))
    assert (problem.key, problem.line) == ("relays.ot.parent", 4)
    assert problem.cause == "there is no relay 'hqq'"
    assert "did you mean 'hq'?" in problem.write


def test_a_tree_that_is_too_deep_is_named_once(tmp_path: Path) -> None:
    chain = [relay("r0", 1000)] + [relay(f"r{n}", 1000 + n, f'parent = "r{n - 1}"') for n in range(1, 12)]
    problem = only(tmp_path, relays(*chain))
    assert problem.key == "relays.r8.parent"
    assert "at most 8 levels" in problem.write


@pytest.mark.parametrize(
    ("first", "second", "clashes"),
    [
        ('listen = "127.0.0.1:7700"', 'listen = "127.0.0.1:7700"', True),
        ('listen = "0.0.0.0:7700", advertise = "10.0.0.1:7700"', 'listen = "127.0.0.1:7700"', True),
        ('listen = "127.0.0.1:7700"', 'listen = "0.0.0.0:7700", advertise = "10.0.0.1:7700"', True),
        ('listen = "[::]:7700", advertise = "[::1]:7700"', 'listen = "127.0.0.1:7700"', True),
        (
            'listen = "10.0.0.1:1", advertise = "a.example:7"',
            'listen = "10.0.0.2:2", advertise = "A.example:7"',
            True,
        ),
        ('listen = "127.0.0.1:7700"', 'listen = "127.0.0.2:7700"', False),
        ('listen = "127.0.0.1:7700"', 'listen = "127.0.0.1:7701"', False),
        # two machines, each with a wildcard of its own
        (
            'listen = "0.0.0.0:7700", advertise = "10.0.0.1:7700"',
            'listen = "0.0.0.0:7700", advertise = "10.0.0.2:7700"',
            False,
        ),
    ],
)
def test_addresses_that_two_relays_want(tmp_path: Path, first: str, second: str, clashes: bool) -> None:
    text = relays(
        f'hq = {{ clearance = "red", {first} }}', f'ot = {{ clearance = "red", parent = "hq", {second} }}'
    )
    if not clashes:
        read(tmp_path, text)
        return
    problem = only(tmp_path, text)
    assert problem.key in ("relays.ot.listen", "relays.ot.advertise")
    assert "is taken by 'hq'" in problem.cause


def test_a_free_port_is_offered(tmp_path: Path) -> None:
    text = relays(relay("hq", 7700), relay("b", 7710, 'parent = "hq"'), relay("c", 7700, 'parent = "hq"'))
    assert '"127.0.0.1:7720"' in only(tmp_path, text).write


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_a_wildcard_needs_an_address_to_dial(tmp_path: Path, host: str) -> None:
    problem = only(tmp_path, relays(f'hq = {{ clearance = "red", listen = "{host}:7700" }}'))
    assert problem.key == "relays.hq.listen"
    assert "none that others could dial" in problem.cause
    assert "add advertise =" in problem.write


def test_a_root_that_is_dialled_or_backed_up(tmp_path: Path) -> None:
    text = relays(relay("hq", 1, 'dial = "child", backups = ["b"]'), relay("b", 2, 'parent = "hq"'))
    found = errors(tmp_path, text)
    assert [p.key for p in found] == ["relays.hq.dial", "relays.hq.backups", "relays.hq.backups.0"]
    assert "no parent could dial it" in found[0].cause


def test_backups_that_help_nobody(tmp_path: Path) -> None:
    text = relays(
        relay("hq", 1),
        relay("b", 2, 'parent = "hq", backups = ["nope", "hq", "c", "b"]'),
        relay("c", 3, 'parent = "b"'),
    )
    assert [p.cause for p in errors(tmp_path, text)] == [
        "there is no relay 'nope'",
        "'hq' is the parent already",
        "'c' is below 'b', or 'b' itself",
        "'b' is below 'b', or 'b' itself",
    ]


def test_backups_are_named_once(tmp_path: Path) -> None:
    text = relays(
        relay("hq", 1), relay("b", 2, 'parent = "hq"'), relay("c", 3, 'parent = "b", backups = ["hq", "b", "hq"]'),
        relay("d", 4, 'parent = "c", dial = "child", backups = ["hq", "b"]'),
    )  # fmt: skip
    parent, twice = errors(tmp_path, text)
    assert (parent.key, parent.cause) == ("relays.c.backups.1", "'b' is the parent already")
    assert (twice.key, twice.cause) == ("relays.c.backups.2", "'hq' is named twice")
    assert read(tmp_path, text.replace('["hq", "b", "hq"]', '["hq"]')).relays["d"].backups == ("hq", "b")


def test_a_backup_that_makes_the_tree_too_deep(tmp_path: Path) -> None:
    chain = [relay("r0", 1000)] + [relay(f"r{n}", 1000 + n, f'parent = "r{n - 1}"') for n in range(1, 7)]
    backed = relay("a", 1, 'parent = "r0", backups = ["r5", "r6"]')
    text = relays(*chain, backed, relay("b", 2, 'parent = "a"'))
    problem = only(tmp_path, text)
    assert problem.key == "relays.a.backups.1"
    assert problem.cause.startswith("while 'a' is at its backup 'r6', the tree has 9 levels")
    read(tmp_path, relays(*chain, backed))


def test_backups_of_points(tmp_path: Path) -> None:
    topology = read(tmp_path, GOOD.replace('relay = "ot-1"', 'relay = "ot-1", backups = ["hq"]'))
    assert topology.points["zeek-1"].backups == ("hq",)
    assert read(tmp_path, GOOD).points["zeek-1"].backups == ()


@pytest.mark.parametrize(
    ("new", "key", "cause", "write"),
    [
        ('relay = "ot-1", backups = ["hqq"]', ".0", "there is no relay 'hqq'", "write one of hq (did you mean 'hq'?)"),
        ('relay = "hq", backups = ["ot-2"]', ".0", "there is no relay 'ot-2'", "(did you mean 'ot-1'?)"),
        ('relay = "ot-1", backups = ["zeek-1"]', ".0", "there is no relay 'zeek-1'", "write one of hq"),
        ('relay = "ot-1", backups = ["ot-1"]', ".0", "'ot-1' is the relay already", "name another"),
        ('relay = "ot-1", backups = ["hq", "hq"]', ".1", "'hq' is named twice", "keep the first"),
        ('backups = ["hq"]', "", "names no relay that they could back up", "name the relay it prefers first"),
        ('relay = "ot-1", backups = "hq"', "", "a list is expected", 'backups = ["hq"]'),
        ('relay = "ot-1", backups = [1]', ".0", "text is expected", "in quotes"),
        ('relay = "ot-1", backup = ["hq"]', None, "there is no key 'backup' here", "did you mean 'backups'?"),
    ],
)
def test_backups_of_points_that_help_nobody(
    tmp_path: Path, new: str, key: str | None, cause: str, write: str
) -> None:
    problem = only(tmp_path, GOOD.replace('relay = "ot-1"', new))
    assert problem.key == ("points.zeek-1.backup" if key is None else f"points.zeek-1.backups{key}")
    assert cause in problem.cause
    assert write in problem.write


def test_nobody_has_more_than_eight_backups(tmp_path: Path) -> None:
    many = [relay(f"r{n}", 1000 + n, 'parent = "hq"') for n in range(9)]
    backups = f"backups = {[f'r{n}' for n in range(9)]}"
    text = relays(relay("hq", 1), *many, relay("z", 2, f'parent = "hq", {backups}'))
    text += f"[roles]\nsensor = {{}}\n[points]\np = {{ relay = 'hq', role = 'sensor', clearance = 'red', {backups} }}\n"
    found = errors(tmp_path, text)
    assert [(p.key, p.cause) for p in found] == [
        ("relays.z.backups", "there are too many entries"),
        ("points.p.backups", "there are too many entries"),
    ]


def test_networks_that_overlap_are_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(
        relays(
            relay("hq", 1, 'serves = ["10.0.0.0/8", "fd00::/8"]'),
            relay("b", 2, 'parent = "hq", serves = ["10.1.0.0/16", "192.168.0.0/16"]'),
        )
    )
    load(path)
    (problem,) = lint(path)
    assert (problem.severity, problem.key) == ("warning", "relays.b.serves.0")
    assert "10.1.0.0/16 overlaps 10.0.0.0/8 of 'hq'" in problem.cause


@pytest.mark.parametrize("name", ["OT-1", "-ot", "ot_1", '"ot 1"', '"../x"', "a" * 64])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    problem = only(tmp_path, relays(relay("hq", 1), relay(name, 2, 'parent = "hq"')))
    assert "is not a name" in problem.cause
    assert "lower case letters" in problem.write
    assert problem.line == 4


def test_names_of_roles_points_and_sources(tmp_path: Path) -> None:
    text = GOOD.replace("zeek-1 =", "Zeek =") + "\n[roles.Bad]\n[points.p.sources.C_1]\n"
    text += (
        'kind = "file"\npath = "/x"\ntopic = "detections.x"\n'
        '[points.p]\nrelay = "hq"\nrole = "sensor"\nclearance = "red"\n'
    )
    assert [p.key for p in errors(tmp_path, text)] == ["points.Zeek", "roles.Bad", "points.p.sources.C_1"]


def test_relays_and_points_share_a_name_space(tmp_path: Path) -> None:
    problem = only(tmp_path, GOOD.replace("zeek-1", "ot-1"))
    assert problem.key == "points.ot-1"
    assert "a relay is named 'ot-1' too" in problem.cause


def test_roles_and_relays_of_points_and_scopes(tmp_path: Path) -> None:
    text = GOOD.replace('role = "sensor"', 'role = "sensro"').replace('relay = "ot-1"', 'relay = "ot-2"')
    text = text.replace(
        "execute =", 'request = [{ action = "deny *", to = "all", scope = "ot-9" }], execute ='
    )
    found = errors(tmp_path, text)
    assert [p.key for p in found] == [
        "roles.firewall.request.0.scope",
        "points.zeek-1.role",
        "points.zeek-1.relay",
    ]
    assert "did you mean 'sensor'?" in found[1].write
    assert "did you mean 'ot-1'?" in found[2].write


def test_a_source_beyond_its_role(tmp_path: Path) -> None:
    text = GOOD + '[points.z-2]\nrelay = "ot-1"\nrole = "sensor"\nclearance = "amber"\n'
    text += '[points.z-2.sources.conn]\nkind = "file"\ntopic = "intel.x"\n'
    grant, path = sorted(errors(tmp_path, text), key=lambda p: len(p.cause), reverse=True)
    assert grant.cause == "the role 'sensor' has no publish grant for 'intel.x'"
    assert path.cause == "'path' is missing"


READS = """\
[points.z-2]
relay = "ot-1"
role = "%s"
clearance = "amber"
[points.z-2.sources.api]
kind = "http"
listen = "127.0.0.1:8080"
[[points.z-2.sources.api.tokens]]
name = "desk"
secret = { env = "DESK" }
may = ["stream"]
topics = ["detections.app.>", "intel.x"]
"""


def test_a_token_that_reads_beyond_its_gateway_s_role_or_clearance(tmp_path: Path) -> None:
    found = {p.key: p for p in errors(tmp_path, GOOD + READS % "sensor" + 'clearance = "red"\n')}
    place = "points.z-2.sources.api.tokens.1"
    assert set(found) == {place, f"{place}.topics"}, "two topics, and one key for both"
    assert "the role 'sensor' has no subscribe grant for" in found[f"{place}.topics"].cause
    assert found[place].cause == "red is above z-2's clearance, amber"


def test_a_source_that_is_only_read_needs_no_topic_and_no_grant_to_publish(tmp_path: Path) -> None:
    text = GOOD.replace("[roles]\n", '[roles]\ndesk = { subscribe = ["detections.>", "intel.>"] }\n')
    assert read(tmp_path, text + READS % "desk").points["z-2"]
    both = READS.replace('["stream"]', '["stream", "publish"]') % "desk"
    assert "'topic' is missing" in only(tmp_path, text + both).cause


def test_grants_that_no_credential_could_hold(tmp_path: Path) -> None:
    long = " or ".join(f"id=point-{n}" for n in range(60))
    grants = ", ".join(f'{{ action = "deny *", to = "{long}" }}' for _ in range(10))
    text = GOOD.replace("sensor = { publish", f"sensor = {{ request = [{grants}], publish")
    assert "do not fit into one credential" in only(tmp_path, text).cause


def test_an_approval_names_what_it_is_about_and_roles_that_there_are(tmp_path: Path) -> None:
    found = problems(tmp_path, GOOD + '[[approval]]\nwhen = { to = "all" }\nrequire = 2\nfrom = ["lead"]\n')
    causes = {p.key: (p.severity, p.cause) for p in found}
    assert causes["approval.0.when"] == ("error", "it names no class and no action")
    assert causes["approval.0.from.0"] == ("error", "there is no role 'lead'")


def test_an_approval_without_approvers_or_with_a_wrong_shape(tmp_path: Path) -> None:
    text = GOOD + '[[approval]]\nwhen = { class = "contain" }\nrequire = 1\n'
    assert only(tmp_path, text).cause == "nobody is named who could approve"
    found = errors(
        tmp_path,
        GOOD + '[[approval]]\nwhen = { klass = "contain", class = "x" }\nrequire = "2"\nwithin = 5\n',
    )
    assert [p.key for p in found] == [
        "approval.0.when.class", "approval.0.when.klass", "approval.0.require", "approval.0.within",
    ]  # fmt: skip


def test_no_approval_due_is_a_waiver_and_no_warning(tmp_path: Path) -> None:
    topology = read(tmp_path, GOOD + '[[approval]]\nwhen = { class = "contain" }\nrequire = 0\n')
    assert topology.approvals == ()
    assert topology.waivers[0].class_ == "contain"


ASKS = '[[approval]]\nwhen = { class = "contain" }\n'


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (ASKS + 'require = 0\nfrom = ["sensor"]\n', "require", "0 asks nobody, and the table names who"),
        (ASKS + 'require = 9\nfrom = ["sensor"]\n', "require", "'9' is too large"),
        (ASKS + 'require = -1\nfrom = ["sensor"]\n', "require", "'-1' is too small"),
        (ASKS + 'require = 1\nfrom = ["sensor", "sensor"]\n', "from.1", "'sensor' is named twice"),
        (ASKS + 'require = 1\nfrom = ["sensor"]\nwithin = "25h"\n', "within", "1d1h is longer than an action is held"),
        (ASKS + 'name = "Two"\nrequire = 1\nfrom = ["sensor"]\n', "name", "'Two' is not a name"),
        (ASKS + 'require = 1\nfrom = ["sensor"]\nescalate = { after = "5m", from = ["ciso"] }\n',
         "escalate.from.0", "there is no role 'ciso'"),
        (ASKS + 'require = 1\nfrom = ["sensor"]\nescalate = { after = "10m", from = ["sensor"] }\n',
         "escalate.after", "the action is held for 10m only"),
        (ASKS + 'require = 1\nfrom = ["sensor"]\nescalate = { from = ["sensor"] }\n',
         "escalate.after", "'after' is missing"),
        (ASKS.replace('"contain"', '"contain", severity = "grave"') + 'require = 1\nfrom = ["sensor"]\n',
         "when.severity", "'grave' is not a severity"),
    ],
)
def test_an_approval_that_would_not_mean_what_it_says(tmp_path: Path, text: str, key: str, said: str) -> None:
    found = errors(tmp_path, GOOD + text)
    places = [p for p in found if p.key in (f"approval.0.{key}", f"approval.0.{key.rpartition('.')[0]}")]
    assert any(said in p.cause for p in places) and all(p.write for p in found), found


def test_an_approval_goes_into_the_policies_as_it_is_written(tmp_path: Path) -> None:
    topology = read(tmp_path, GOOD + """
[classes]
x-isolate = "contain"
[[approval]]
when = { class = "contain", action = "x-isolate *", to = "role=sensor", label = "amber", severity = "high" }
require = 1
from = ["sensor"]
within = "1h"
escalate = { after = "5m", from = ["sensor"], require = 2 }
[[approval]]
name = "stops"
when = { action = "stop *" }
require = 2
from = ["sensor"]
""")
    assert [spec.rule for spec in topology.approvals] == [
        Rule("approval-1", When("contain", "x-isolate *", "role=sensor", Label.AMBER, Severity.HIGH), 1, ("sensor",),
             3_600_000, Escalation(300_000, ("sensor",), 2)),
        Rule("stops", When(None, "stop *"), 2, ("sensor",), 600_000),
    ]
    assert topology.classes == {"x-isolate": "contain"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[classes]\ndeny = "other"\n', "'deny' has a class of its own"),
        ('[classes]\nisolate = "other"\n', "'isolate' is no x- verb"),
        ('[classes]\nx-isolate = "harm"\n', "'harm' is not known here"),
    ],
)
def test_only_verbs_of_one_s_own_are_given_a_class(tmp_path: Path, text: str, said: str) -> None:
    assert said in only(tmp_path, GOOD + text).cause


def test_two_approvals_have_two_names(tmp_path: Path) -> None:
    two = ASKS + 'require = 1\nfrom = ["sensor"]\n'
    named = two.replace("[[approval]]", '[[approval]]\nname = "approval-2"')
    assert only(tmp_path, GOOD + named + two.replace("contain", "remediate")).key == "approval.1.name"


def test_a_point_may_name_the_person_behind_it(tmp_path: Path) -> None:
    point = next(line for line in GOOD.splitlines() if "role = " in line and line.strip().endswith("}"))
    topology = read(tmp_path, GOOD.replace(point, point[:-1] + ', principal = "kim" }'))
    name = point.split("=")[0].strip()
    assert topology.principal_of(name) == "kim"
    others = [other for other in topology.points if other != name]
    assert [topology.principal_of(other) for other in others] == others


# everything at once


def test_six_mistakes_are_six_errors_in_the_order_of_their_lines(tmp_path: Path) -> None:
    found = errors(
        tmp_path,
        """fabric = "acme"
defaults = { label = "pink" }
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
a = { clearance = "red", listen = "127.0.0.1:7700", parent = "hq" }
b = { clearance = "ultraviolet", listen = "127.0.0.1:7720", parent = "nowhere" }
[roles]
sensor = { publish = ["a..b"] }
[points]
p = { relay = "hq", role = "senzor", clearance = "red" }
""",
    )
    assert [(p.line, p.key) for p in found] == [
        (2, "defaults.label"),
        (5, "relays.a.listen"),
        (6, "relays.b.parent"),
        (6, "relays.b.clearance"),
        (8, "roles.sensor.publish.0"),
        (10, "points.p.role"),
    ]


def test_the_exception_shows_every_error_to_a_person(tmp_path: Path) -> None:
    with pytest.raises(TopologyErrors) as raised:
        read(tmp_path, relays(relay("hq", 1), relay("ot", 1, 'parent = "hqq", clearence = "red"')))
    text = str(raised.value)
    assert raised.value.code == Code.TOPOLOGY_INVALID
    assert "3 errors" in text
    assert (
        "error E802 line 4: relays.ot.parent: there is no relay 'hqq'. Write one of hq (did you mean 'hq'?)"
        in text
    )


def test_a_table_where_none_belongs_and_none_where_one_does(tmp_path: Path) -> None:
    found = errors(tmp_path, 'fabric = "a"\nrelays = 3\nroles = { s = 1 }\npoints = []\nassert = 4\n')
    assert [p.key for p in found] == ["relays", "roles.s", "points", "assert"]


def test_what_stands_in_a_message_cannot_forge_a_line(tmp_path: Path) -> None:
    problem = only(tmp_path, GOOD.replace('role = "sensor"', 'role = "x\\nerror E802"'))
    assert "\n" not in str(problem)


def test_a_damaged_file_is_refused_and_never_a_traceback(tmp_path: Path) -> None:
    random = Random(7)
    text = (SHIPPED / "enterprise.toml").read_text()
    path = tmp_path / "t.toml"
    for _ in range(60):
        damaged = list(text)
        for _ in range(random.randint(1, 6)):
            damaged[random.randrange(len(damaged))] = random.choice("{}[]\"'=,.\n #a1")
        path.write_text("".join(damaged))
        assert all("\n" not in str(problem) for problem in lint(path))


# what is kept for readers

READERS = """
fabric = "acme"
[relays]
hq = {{ clearance = "red", listen = "127.0.0.1:7700"{relay} }}
[roles]
analyst = {{ subscribe = ["detections.>"]{role} }}
[points]
a-1 = {{ relay = "hq", role = "analyst", clearance = "amber"{point} }}
"""


def readers(role: str = "", point: str = "", relay: str = "") -> str:
    return READERS.format(**{
        name: f", {text}" if text else "" for name, text in (("role", role), ("point", point), ("relay", relay))
    })


@pytest.mark.parametrize(
    ("role", "point", "kept"),
    [
        ("", "", None),
        ('keep = { bytes = "2GB", for = "3d" }', "", Keep(2**31, 3 * DAY_MS)),
        ('keep = { bytes = "2GB" }', "", Keep(2**31, 7 * DAY_MS)),
        ('keep = { for = "12h" }', "", Keep(2**24, DAY_MS // 2)),
        ('keep = { bytes = "2GB", for = "3d" }', 'keep = { bytes = "64MB" }', Keep(2**26, 3 * DAY_MS)),
        ("", 'keep = { for = "1d" }', Keep(2**24, DAY_MS)),
        ('keep = { full = "wait" }', "", Keep(2**24, 7 * DAY_MS, waits=True)),
        ('keep = { full = "shed" }', "", Keep(2**24, 7 * DAY_MS)),
        ('keep = { full = "wait" }', 'keep = { bytes = "64MB" }', Keep(2**26, 7 * DAY_MS, waits=True)),
        ('keep = { full = "wait" }', 'keep = { full = "shed" }', Keep(2**24, 7 * DAY_MS)),
    ],
)
def test_a_role_says_what_is_kept_and_a_point_instead_of_it(
    tmp_path: Path, role: str, point: str, kept: Keep | None
) -> None:
    topology = read(tmp_path, readers(role, point))
    assert topology.grants_of("a-1").keep == kept
    assert topology.grants_of("a-1").subscribe == ("detections.>",)
    assert topology.relays["hq"].readers_bytes == 2**30


def test_a_relay_says_what_it_has_for_them(tmp_path: Path) -> None:
    assert read(tmp_path, readers(relay='readers = "8GB"')).relays["hq"].readers_bytes == 2**33


@pytest.mark.parametrize(
    ("where", "text", "key", "said"),
    [
        ("role", 'keep = { bytes = "2 gigs" }', "roles.analyst.keep.bytes", 'write it like "512MB", "2GB"'),
        ("role", "keep = { bytes = 2000000000 }", "roles.analyst.keep.bytes", 'write it like "512MB", "2GB"'),
        ("role", 'keep = { bytes = "0GB" }', "roles.analyst.keep.bytes", "is not a size"),
        ("role", 'keep = { bytes = "100KB" }', "roles.analyst.keep.bytes", 'write at least "1MB"'),
        ("role", 'keep = { bytes = "99TB" }', "roles.analyst.keep.bytes", 'write at most "16TB"'),
        ("point", 'keep = { for = "a week" }', "points.a-1.keep.for", "is not a duration"),
        ("point", 'keep = { for = "0s" }', "points.a-1.keep.for", "is not a duration"),
        ("point", 'keep = { for = "30d" }', "points.a-1.keep.for", 'write at most "7d"'),
        ("point", 'keep = { full = "wiat" }', "points.a-1.keep.full", "did you mean 'wait'"),
        ("point", 'keep = { byte = "2GB" }', "points.a-1.keep.byte", "did you mean 'bytes'"),
        ("point", 'keep = "2GB"', "points.a-1.keep", "a table is expected"),
        ("relay", 'keep = { bytes = "2GB" }', "relays.hq.keep", 'readers = "8GB"'),
        ("relay", 'readers = "lots"', "relays.hq.readers", "is not a size"),
    ],
)
def test_what_is_wrong_with_what_is_kept(tmp_path: Path, where: str, text: str, key: str, said: str) -> None:
    problem = only(tmp_path, readers(**{where: text}))
    assert problem.key == key and said in f"{problem.cause}: {problem.write}", problem
