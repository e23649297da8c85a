"""Sources and sinks from a topology to the machine at the edge: every fault at once, and what is read there."""

import json

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.declared import SINKS_MAX, declared_for
from relays.topology.lint import lint
from relays.topology.loader import check, load
from relays.topology.problems import TopologyErrors
from tests.identities import identity, made

HEAD = """
fabric = "small"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
[roles]
sensor = { publish = ["detections.>"] }
siem   = { subscribe = ["detections.*"], publish = [{ topic = "intel.>" }] }
[points.zeek-1]
relay = "hq"
role = "sensor"
clearance = "amber"
[points.siem-1]
relay = "hq"
role = "siem"
clearance = "amber"
"""
GOOD = HEAD + """
[points.zeek-1.sources.conn]
kind = "file"
path = "/var/log/conn.log"
topic = "detections.zeek.conn"
severity = { field = "sev", table = { "1" = "critical", "*" = "low" } }
labels = { "id.orig_h" = "amber", "*" = "green" }
[points.siem-1.sinks.archive]
kind = "jsonlines"
path = "/var/log/archive.jsonl"
topics = ["detections.x"]
max_label = "green"
"""


def problems(tmp_path, text):
    file = tmp_path / "small.toml"
    file.write_text(text)
    return {problem.key: problem for problem in check(file).problems}


@pytest.fixture
def home(tmp_path):
    made(tmp_path, GOOD)
    return tmp_path


def test_what_a_topology_declares_is_in_the_identity_and_read_there_without_it(home):
    (home / "small.toml").unlink()
    (conn,) = declared_for(identity(home, "zeek-1")).sources
    assert (conn.name, conn.kind.name, conn.settings.path) == ("conn", "file", "/var/log/conn.log")
    assert conn.mapping.patterns == ("detections.zeek.conn",) and conn.missing() == []
    (archive,) = declared_for(identity(home, "siem-1")).sinks
    assert (archive.kind.name, archive.topics, archive.label_max) == ("jsonlines", ("detections.x",), Label.GREEN)
    assert declared_for(identity(home, "siem-1")).names == ["archive"]


def test_another_declaration_reaches_the_identity_and_signs_nothing_anew(home):
    before = identity(home, "zeek-1").credential.raw
    assert made(home, GOOD) == []
    assert made(home, GOOD.replace("/var/log/conn.log", "/var/log/other.log")) == ["zeek-1"]
    after = identity(home, "zeek-1")
    assert after.credential.raw == before and declared_for(after).sources[0].settings.path == "/var/log/other.log"
    assert made(home, GOOD.partition("[points.zeek-1.sources")[0]) == ["zeek-1", "siem-1"]
    assert declared_for(identity(home, "zeek-1")).names == []


@pytest.mark.parametrize(
    ("more", "key", "words", "write"),
    [
        ('[points.zeek-1.sources.x]\nkind = "fil"\npath = "/x"\ntopic = "detections.x"', "zeek-1.sources.x.kind",
         "no kind of source 'fil'", "write file"),
        ('[points.zeek-1.sources.x]\npath = "/x"\ntopic = "detections.x"', "zeek-1.sources.x.kind", "missing",
         "kind ="),
        ('[points.zeek-1.sources.x]\nkind = "file"\npth = "/x"\ntopic = "detections.x"', "zeek-1.sources.x.pth",
         "no key 'pth'", "did you mean 'path'"),
        ('[points.zeek-1.sources.x]\nkind = "file"\npath = "/x"\ntopic = "intel.x"', "zeek-1.sources.x.topic",
         "no publish grant for 'intel.x'", 'publish = ["intel.x"]'),
        ('[points.zeek-1.sources.x]\nkind = "file"\npath = "/x"\ntopic = "{a}.x"', "zeek-1.sources.x.topic", "", ""),
        ('[points.siem-1.sinks.x]\nkind = "jsonlines"\npath = "/x"\ntopics = ["detections.>"]', "siem-1.sinks.x.topics",
         "no subscribe grant for 'detections.>'", "use a granted topic"),
        ('[points.siem-1.sinks.x]\nkind = "jsonlines"\npath = "/x"\ntopics = ["detections.*", "detections.x"]',
         "siem-1.sinks.x.topics", "'detections.x' is in 'detections.*' already", "leave it out"),
        ('[points.siem-1.sinks.x]\nkind = "jsonlines"\npath = "/x"\ntopics = []', "siem-1.sinks.x.topics", "list",
         "topics ="),
        ('[points.siem-1.sinks.x]\nkind = "jsonlines"\npath = "/var/log/archive.jsonl"\ntopics = ["detections.y"]',
         "siem-1.sinks.x", "'archive' has path /var/log/archive.jsonl already", "leave one"),
        ("".join(
            f'[points.zeek-1.sources.{name}]\nkind = "poll"\nurl = "https://feed.example/v1"\n'
            f'topic = "detections.x"\n{more}\n'
            for name, more in (
                ("other", 'params = { kind = "ip" }'), ("x", ""), ("key", 'token = { file = "/etc/t" }'), ("y", ""),
            )
        ), "zeek-1.sources.y", "'x' has url https://feed.example/v1 already", "leave one"),
        ('[points.zeek-1.sinks.conn]\nkind = "jsonlines"\npath = "/x"\ntopics = ["detections.y"]', "zeek-1.sinks.conn",
         "is named 'conn' too", "rename"),
        ('[points.zeek-1.sources.x]\nkind = "file"\npath = "/x"\ntopic = "detections.x"\nformat = 2026-11-29',
         "zeek-1.sources.x.format", "", ""),
        ('[points.siem-1.sinks.X_1]\nkind = "jsonlines"\npath = "/x"\ntopics = ["detections.y"]', "siem-1.sinks.X_1",
         "not a name", "lower case"),
    ],
)
def test_what_cannot_be_is_said_with_its_key_and_what_to_write(tmp_path, more, key, words, write):
    problem = problems(tmp_path, f"{GOOD}{more}\n")[f"points.{key}"]
    assert words in problem.cause and write in problem.write and problem.line and problem.severity == "error"


def test_every_fault_comes_at_once_and_none_hides_another(tmp_path):
    found = problems(tmp_path, HEAD + """
[points.zeek-1.sources.a]
kind = "file"
path = "relative"
format = "xml"
topic = "detections..x"
severity = "dreadful"
labels = { id.orig_h = "amber", src = "ambre" }
[points.siem-1.sinks.b]
kind = "jsonlines"
max_size = 7
topics = ["detections.>>"]
""")
    assert {key.removeprefix("points.") for key in found} == {
        *(f"zeek-1.sources.a.{key}" for key in ("path", "format", "topic", "severity", "labels.id", "labels.src")),
        *(f"siem-1.sinks.b.{key}" for key in ("path", "max_size", "topics")),
    }


def test_a_secret_that_stands_in_a_topology_is_an_error_that_does_not_say_it(tmp_path, monkeypatch):
    from relays.gateways.files import SOURCE
    from relays.gateways.registry import SOURCES

    kind = SOURCE.__class__("file", "x.", SOURCE.options, lambda options: options.secret("format"), SOURCE.open)
    monkeypatch.setattr(type(SOURCES), "kind", lambda self, name: kind)
    text = HEAD + '[points.zeek-1.sources.x]\nkind = "file"\ntopic = "detections.x"\nformat = "hunter2"\n'
    problem = problems(tmp_path, text)["points.zeek-1.sources.x.format"]
    assert problem.code is Code.SECRET_INLINE and "hunter2" not in str(problem)


def test_there_are_no_more_sinks_than_sessions_of_readers(tmp_path):
    sinks = "".join(
        f'[points.siem-1.sinks.s{n}]\nkind = "jsonlines"\npath = "/x{n}"\ntopics = ["detections.x"]\n'
        for n in range(SINKS_MAX + 1)
    )
    assert f"more than {SINKS_MAX}" in problems(tmp_path, HEAD + sinks)["points.siem-1.sinks"].cause


def test_a_label_above_the_clearance_is_warned_of(tmp_path):
    (tmp_path / "x.toml").write_text(GOOD.replace('"id.orig_h" = "amber"', '"id.orig_h" = "red"'))
    (problem,) = [each for each in lint(tmp_path / "x.toml") if each.code is Code.CLEARANCE_DENIED]
    assert problem.key == "points.zeek-1.sources.conn" and "clearance" in problem.cause


def changed(home, id_, section, name, **what):
    """As another version, or a hand, left it."""
    path = ids_folder("small", home) / id_ / "identity.json"
    document = json.loads(path.read_text())
    document.setdefault(section, {})[name] = what
    path.write_text(json.dumps(document))
    return identity(home, id_)


def test_one_that_cannot_be_used_here_is_named_and_the_others_are_read(home):
    found = declared_for(changed(home, "zeek-1", "sources", "queue", kind="kafka", topic="detections.x"))
    assert [each.name for each in found.sources] == ["conn"]
    assert [(each.section, each.name) for each in found.unfit] == [("sources", "queue")]
    assert "kafka" in found.unfit[0].error.detail and found.names == ["conn", "queue"]
    assert found.only(["queue"]).names == ["queue"]


@pytest.mark.parametrize("what", [7, [], "x", {"conn": 7}])
def test_what_is_no_declaration_at_all_is_a_damaged_identity(home, what):
    path = ids_folder("small", home) / "zeek-1" / "identity.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sources": what}))
    with pytest.raises(FabricError) as raised:
        declared_for(identity(home, "zeek-1"))
    assert raised.value.code is Code.BAD_IDENTITY


def test_a_table_is_expected(tmp_path):
    with pytest.raises(TopologyErrors):
        text = HEAD.replace("[points.siem-1]", "[points.zeek-1.sources]\nx = 1\n[points.siem-1]")
        (tmp_path / "x.toml").write_text(text)
        load(tmp_path / "x.toml")


def declared_at(point, section, name, path, topic="detections.x"):
    kind, topics = ("file", f'topic = "{topic}"') if section == "sources" else ("jsonlines", f'topics = ["{topic}"]')
    return f'[points.{point}.{section}.{name}]\nkind = "{kind}"\npath = "{path}"\n{topics}\n'


BOTH = HEAD.replace('sensor = { publish = ["detections.>"] }',
                    'sensor = { publish = ["detections.>"], subscribe = ["detections.>"] }')


@pytest.mark.parametrize(
    ("source", "sink", "loops"),
    [("/var/log/", "/var/log/out.jsonl", True), ("/var/log/*.jsonl", "/var/log/out.jsonl", True),
     ("/var/**/*.jsonl", "/var/log/a/out.jsonl", True), ("/var/log/../out.jsonl", "/var/out.jsonl", True),
     ("/var/log/x/../", "/var/log/out.jsonl", True), ("/var/log/*.log", "/var/log/out.jsonl", False),
     ("/var/log/", "/var/log/a/out.jsonl", False), ("/var/log/*/x", "/var/log/x", False)],
)
def test_a_source_does_not_read_what_a_sink_of_its_control_point_writes(tmp_path, source, sink, loops):
    found = problems(tmp_path, BOTH + declared_at("zeek-1", "sources", "in", source)
                     + declared_at("zeek-1", "sinks", "out", sink))
    assert ("points.zeek-1.sources.in.path" in found) is loops
    if loops:
        problem = found["points.zeek-1.sources.in.path"]
        assert "published again" in problem.cause and problem.line and problem.severity == "error"


def test_a_loop_over_two_control_points_is_a_warning_where_it_goes_round(tmp_path):
    source = declared_at("zeek-1", "sources", "in", "/var/log/")
    found = problems(tmp_path, HEAD + source + declared_at("siem-1", "sinks", "out", "/var/log/out.jsonl"))
    assert found["points.zeek-1.sources.in.path"].severity == "warning"
    other = declared_at("siem-1", "sinks", "out", "/var/log/out.jsonl", "detections.y")
    assert problems(tmp_path, HEAD + source + other) == {}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [("/l/a.log", "/l/", True), ("/l/*.log", "/l/a.log", True), ("/l/", "/l/*.log", True), ("/l/m/../", "/l/a", True),
     ("/l/a*", "/l/*.log", False), ("/l/*.log", "/l/*.json", False), ("/l/", "/l/m/a.log", False)],
)
def test_no_file_is_read_by_two_sources_of_a_control_point(tmp_path, one, other, is_same):
    found = problems(tmp_path, HEAD + declared_at("zeek-1", "sources", "a", one)
                     + declared_at("zeek-1", "sources", "b", other))
    assert ("points.zeek-1.sources.b.path" in found) is is_same
    if is_same:
        assert "twice" in found["points.zeek-1.sources.b.path"].cause and found["points.zeek-1.sources.b.path"].line
