"""What `up`, `status` and `down` say of a fabric on this machine, as far as it is no table."""

import json

import pytest

from fabric.edge.identity.home import fabric_folder
from fabric.files import make_private
from fabric.protocol.base.errors import Code, FabricError
from relays.cli.tree import running


def up(relay, parent="", children=()):
    return {"relay": relay, "state": "up", "parent_now": parent, "children": list(children)}


def test_states_agree_when_every_parent_shows_the_child_that_is_at_it():
    assert running.agree([up("hq", children=["east"]), up("east", "hq")])
    assert not running.agree([up("hq"), up("east", "hq")])
    assert running.agree([up("east", "hq")]), "a parent on another machine"
    assert running.agree([{"relay": "hq", "state": "down"}, up("east", "hq")])


def test_a_relay_s_last_words_have_number_cause_and_what_helps(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    run = make_private(fabric_folder("small") / "run")
    words = {"level": "error", "code": "E903", "detail": "127.0.0.1:7740", "cause": "x", "event": "relay cannot run"}
    (run / "office.log").write_text(json.dumps(words) + "\n")
    (state,) = running.states_of("small", ["office"])
    assert state["state"] == "down"
    assert state["why"] == f"E903 {Code.PORT_IN_USE.cause}: 127.0.0.1:7740; {Code.PORT_IN_USE.next_step}"


def test_a_name_that_no_fabric_has_is_answered_with_those_that_there_are(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    assert running.one_of_here(None) is None and running.one_of_here("any") == "any"
    for name in ("enterprise", "small"):
        make_private(fabric_folder(name) / "ids")
    with pytest.raises(FabricError) as raised:
        running.one_of_here("enterprize")
    assert raised.value.code is Code.NOT_RUNNING and "enterprise, small" in raised.value.next_step
