"""Whoever an action was meant for and is away is named, and the exit code says that not everybody did it."""

import json
import sys
from types import SimpleNamespace

import pytest

from fabric.edge.identity.home import revocations_path
from fabric.edge.identity.identity import Defaults
from fabric.edge.messages import Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from relays.authority import init_authority, keep_list, make_identities, revoke
from relays.cli.actions import asking, course
from relays.cli.app import app
from relays.cli.shared import exits
from relays.topology.loader import load

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq  = { clearance = "amber", listen = "127.0.0.1:7700" }
low = { clearance = "green", listen = "127.0.0.1:7701", parent = "hq" }
[roles]
wall = { execute = ["deny ipv4_net"] }
soar = { request = [{ action = "deny *", to = "role=wall" }] }
[points]
fw-1   = { relay = "hq",  role = "wall", clearance = "amber" }
fw-2   = { relay = "low", role = "wall", clearance = "green" }
fw-3   = { relay = "low", role = "wall", clearance = "green" }
soar-1 = { relay = "hq",  role = "soar", clearance = "amber" }
"""


class Point:
    """A control point whose fabric selects `connected` only."""

    connected = ("fw-1",)
    ends = End.COMPLETED
    identity = SimpleNamespace(defaults=Defaults(Label.AMBER, {}))

    def __init__(self, *_args, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def request(self, _action, _target, *, to, watch, **_options):
        request = Request("00")
        request.targets, request.nobody = (self.connected or None), not self.connected
        watch(request)
        if request.nobody:
            raise FabricError(Code.NOBODY, to)
        for target in self.connected:
            yield Outcome(target, self.ends, target, 200, label=Label.GREEN, took_ms=1)




@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(asking, "ControlPoint", Point)
    path = tmp_path / "small.toml"
    path.write_text(TOPOLOGY)
    return path


@pytest.fixture
def home(file):
    authority = init_authority("small")
    make_identities(load(file), authority)
    keep_list(authority)
    return authority


def act(capsys, *options, to="role=wall", code):
    argv = ["fabric", "act", "deny", "ipv4_net=192.0.2.1", "--to", to, "--as", "soar-1", *options]
    before, sys.argv = sys.argv, argv
    try:
        with pytest.raises(SystemExit) as ended:
            exits.run(app)
    finally:
        sys.argv = before
    assert ended.value.code == code
    return capsys.readouterr()


def ends(seen):
    return {line["target"]: line["end"] for line in map(json.loads, seen.out.splitlines())}


def test_who_is_known_here_and_not_connected_is_named_and_it_is_partly_done(home, capsys):
    seen = act(capsys, "--label", "green", code=3).out.splitlines()
    assert seen[0].startswith("fw-1: completed") and seen[1:] == [
        "away, connected nowhere (E927): fw-2, fw-3"
    ]


def test_the_same_as_json_has_the_form_of_an_outcome(home, capsys):
    seen = act(capsys, "--label", "green", "--json", code=3)
    assert ends(seen) == {"fw-1": "completed", "fw-2": "away", "fw-3": "away"}
    first, *_, last = map(json.loads, seen.out.splitlines())
    assert first.keys() == last.keys() and last["code"] == "E927"


def test_nobody_is_away_when_all_that_are_selected_were_there(home, capsys):
    assert ends(act(capsys, "--json", to="id=fw-1", code=0)) == {"fw-1": "completed"}


def test_everybody_is_away_when_nobody_was_selected(home, capsys):
    Point.connected = ()
    try:
        seen = act(capsys, "--label", "green", "--json", code=4)
    finally:
        Point.connected = ("fw-1",)
    assert set(ends(seen).values()) == {"away"} and json.loads(seen.err)["error"]["code"] == "E703"


def test_the_command_that_says_why_is_about_the_same_label(home, capsys, monkeypatch):
    monkeypatch.setattr(Point, "connected", ())
    seen = act(capsys, "--label", "green", "--json", to="role=nobody", code=4)
    assert "--to role=nobody --label green --as soar-1" in json.loads(seen.err)["error"]["next"]


def test_a_failure_is_worse_than_somebody_who_is_away(home, capsys, monkeypatch):
    monkeypatch.setattr(Point, "ends", End.FAILED)
    assert ends(act(capsys, "--json", code=1))["fw-2"] == "away"


def test_who_is_revoked_is_nobody_to_wait_for(home, capsys):
    revoke(home, ["fw-2"], "")
    assert revocations_path("small").is_file()
    assert ends(act(capsys, "--json", code=3)) == {"fw-1": "completed", "fw-3": "away"}


def test_a_file_says_who_should_be_there_where_there_are_no_identities_of_others(home, file, capsys, tmp_path):
    for id_ in ("fw-1", "fw-2", "fw-3"):
        (tmp_path / "home" / "small" / "ids" / id_).rename(tmp_path / id_)
    assert ends(act(capsys, "--json", code=0)) == {"fw-1": "completed"}, "what is not known cannot be said"
    assert ends(act(capsys, "--json", "--topology", str(file), code=3))["fw-3"] == "away"


def test_where_the_default_label_ends_is_said_before_the_action_leaves(home, capsys):
    said = act(capsys, to="all", code=3).err
    assert "label amber (the topology's default): ends at low on its way to fw-2, fw-3 (E601)" in said
    assert act(capsys, "--label", "amber", to="all", code=3).err == ""


def test_a_name_in_the_selector_that_nobody_has_is_named_with_the_command_that_says_more(home, capsys, monkeypatch):
    monkeypatch.setattr(Point, "connected", ())
    said = act(capsys, to="rolle=wall", code=4).err
    assert "nobody who is known here has rolle" in said and "(there is " in said
    assert "fabric explain act deny ipv4_net=192.0.2.1 --to rolle=wall --as soar-1" in said


def test_who_stops_waiting_is_told_who_has_not_answered_and_until_when_it_may_be_executed(home, capsys, monkeypatch):
    def stopped(self, _action, _target, *, to, watch, **_options):
        request = Request("00")
        request.targets = ("fw-1", "fw-2", "fw-3")
        request.outcomes = {"fw-1": Outcome("fw-1", End.COMPLETED, "fw-1")}
        watch(request)
        yield request.outcomes["fw-1"]
        raise KeyboardInterrupt

    monkeypatch.setattr(Point, "request", stopped)
    lines = act(capsys, "--label", "green", "--ttl", "30s", code=130).out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["fw-1", "fw-2", "fw-3"]
    assert all("not answered; may still be executed until" in line for line in lines[1:])
    seen = act(capsys, "--label", "green", "--json", code=130)
    assert ends(seen) == {"fw-1": "completed", "fw-2": "unanswered", "fw-3": "unanswered"}


def held_for(monkeypatch):
    """One completes; the relay holds it for another, who does not come back."""
    def request(self, _action, _target, *, to, watch, **_options):
        request = Request("00")
        request.targets, request.held = ("fw-1", "fw-2"), ("fw-2",)
        watch(request)
        watch(request)
        yield Outcome("fw-1", End.COMPLETED, "fw-1")
        yield Outcome("fw-2", End.EXPIRED, "hq", 0, Code.EXPIRED.label, Code.EXPIRED.reason)

    monkeypatch.setattr(Point, "request", request)


def test_for_whom_it_is_held_is_said_once_and_each_ends_in_a_state_of_its_own(home, capsys, monkeypatch):
    held_for(monkeypatch)
    seen = act(capsys, "--label", "green", to="id in (fw-1, fw-2)", code=3)
    first, *others = (seen.out + seen.err).splitlines()
    assert [line for line in (first, *others) if "away, and get it if they are back before" in line] == [first]
    assert first.endswith(": fw-2") and any(line.startswith("fw-2: expired") for line in others)


def test_the_same_as_json_is_an_object_of_each(home, capsys, monkeypatch):
    held_for(monkeypatch)
    lines = [*map(json.loads, act(capsys, "--json", "--ttl", "9s", to="id in (fw-1, fw-2)", code=3).out.splitlines())]
    assert [(line["target"], line["end"]) for line in lines] == [
        ("fw-2", "held"), ("fw-1", "completed"), ("fw-2", "expired")
    ]
    assert lines[0].keys() - lines[1].keys() == {"until_ms"}


def test_a_dry_run_names_who_is_away_and_waits_for_nobody(home, capsys, monkeypatch):
    def request(self, _action, _target, *, to, watch, **options):
        assert options["dry_run"] and not options["require_all"]
        request = Request("00")
        request.targets, request.held = ("fw-1", "fw-2"), ("fw-2",)
        watch(request)
        yield Outcome("fw-1", End.READY, "fw-1")

    monkeypatch.setattr(Point, "request", request)
    seen = act(capsys, "--label", "green", "--dry-run", to="id in (fw-1, fw-2)", code=3)
    assert seen.out.startswith("fw-1: ready") and "away, connected nowhere (E927): fw-2" in seen.out
    seen = act(capsys, "--dry-run", "--json", to="id in (fw-1, fw-2)", code=3)
    assert ends(seen) == {"fw-1": "ready", "fw-2": "away"}


@pytest.mark.parametrize(("expected", "code"), [("1", 0), ("2", 3)])
def test_fewer_targets_than_were_expected_are_not_all_of_them(home, capsys, expected, code):
    seen = act(capsys, "--expect", expected, to="id=fw-1", code=code)
    assert ("2 targets were expected and 1 was selected" in seen.err) is (code == 3)
    seen = act(capsys, "--expect", expected, "--json", to="id=fw-1", code=code)
    assert ends(seen) == {"fw-1": "completed"}
    assert [json.loads(line) for line in seen.err.splitlines()] == [{"expected": 2, "selected": 1}] * (code == 3)


def test_the_relay_that_ended_it_is_named():
    ended = Outcome("fw-1", End.REFUSED, "hq", 0, "E601", "withheld")
    assert course.why_of(ended) == "E601 withheld at hq" and "E601 withheld at hq" in course.line_of(ended)
    assert course.why_of(ended.__class__("fw-1", End.FAILED, "fw-1", 0, "E709", "handler_failed")).endswith("failed")
