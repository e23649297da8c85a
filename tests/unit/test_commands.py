"""Commands that somebody wrote down: each example of the specification, whom they are for, what is wrong in them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.vocabulary.arguments import Times
from fabric.protocol.vocabulary.commands import Command, both, read_command
from fabric.protocol.vocabulary.selectors import Selector, parse_selector
from fabric.protocol.vocabulary.targets import Target

EXAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "openc2.json").read_text())
DENY = {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}}
NODE = {"id": "fw-1", "segment": "ot-1", "role": "firewall", "profile": "slpf", "asset_id": "30"}


def details(document):
    read = read_command(document)
    assert isinstance(read, Reject) and read.code is Code.BAD_ACTION, read
    return read.detail.split("; ")


@pytest.mark.parametrize("example", EXAMPLES["commands"], ids=lambda example: example["section"])
def test_every_example_of_the_specification_is_read_or_refused_with_the_path_of_its_fault(example):
    if "refused" in example:
        assert [each.partition(": ")[0] for each in details(example["command"])] == example["refused"]
        return
    command = read_command(example["command"])
    assert isinstance(command, Command), command
    assert [command.spec.text, command.selector] == example["read"]
    assert command.args == example["command"].get("args", {})
    late = Times.of(command.args).why_not(1_800_000_000_000)
    assert (late.detail if late else None) == example.get("over")


def test_a_command_says_what_it_is():
    command = read_command({**DENY, "command_id": "c-1", "args": {"duration": 5}})
    assert command == Command("deny", Target("ipv4_net", "203.0.113.9"), {"duration": 5}, "", "c-1")


@pytest.mark.parametrize(("document", "said"), [
    (None, ["all of it: a map of action, target, args, actuator, command_id"]),
    ([], ["all of it: a map of action, target, args, actuator, command_id"]),
    ({}, ["action: the action is not known",
          'target: one type of target and its value, e.g. {"ipv4_net": "203.0.113.9"}']),
    ({**DENY, "actuators": {}}, ["actuators: not one of action, target, args, actuator, command_id"]),
    ({**DENY, "args": {}}, ["args: one argument at least, or no args"]), ({**DENY, "args": []}, ["args: a map"]),
    ({**DENY, "command_id": "a b"}, ["command_id: an id of 1 to 36 characters, without spaces"]),
    ({**DENY, "command_id": 7}, ["command_id: an id of 1 to 36 characters, without spaces"]),
    ({"action": "query", "target": {"features": []}, "args": {"duration": 5}},
     ["args.duration: query features takes nothing but response_requested: complete"]),
    ({"action": "DENY", "target": {"file": {"hashes": {"sha256": "x"}}}, "args": {"stop_time": "x"}, "actuator": {}},
     ["action: the action is not known", "target.file.hashes.sha256: 64 hex digits",
      "args.stop_time: whole milliseconds since 1970",
      'actuator: one profile and its specifiers, e.g. {"slpf": {"hostname": "fw-1"}}']),
    ({**DENY, "x\x1b[2J": 1}, [r"'x\x1b[2J': not one of action, target, args, actuator, command_id"]),
    ({**DENY, "args": {"a": "x" * 70_000}}, ["all of it: more than 65,536 bytes"]),
    ({"body": {"openc2": {"response": {"status": 200}}}},
     ["body.openc2.response: not one of request",
      "body.openc2.request: a map of action, target, args, actuator, command_id"]),
    ({"headers": {"request_id": "a b", "created": "now", "from": 7, "to": "fw-1", "status": 200},
      "body": {"openc2": {"request": DENY}, "cbor": 1}, "signature": ""},
     ["headers.status: not one of request_id, created, from, to", "headers.created: milliseconds since 1970",
      "headers.from: text", "headers.request_id: an id of 1 to 36 characters, without spaces",
      "headers.to: a list of ids", "signature: not one of headers, body", "body.cbor: not one of openc2"]),
])  # fmt: skip
def test_every_fault_is_told_with_its_path(document, said):
    assert details(document) == said


@pytest.mark.parametrize(("actuator", "selector"), [
    ({"slpf": {}}, "profile=slpf"), ({"x-acme": {"segment": "ot-1"}}, "profile=x-acme and segment=ot-1"),
    ({"slpf": {"hostname": "fw 1", "asset_id": 30}}, "profile=slpf and hostname='fw 1' and asset_id=30"),
    ({"slpf": {"hostname": "fw-*"}}, "profile=slpf and hostname='fw-*'"),
    ({"slpf": {"a": "or"}}, "profile=slpf and a='or'"), ({"slpf": {"a": "it's"}}, 'profile=slpf and a="it\'s"'),
    ({"slpf": {"a": "x' or id='y"}}, "profile=slpf and a=\"x' or id='y\""),
])  # fmt: skip
def test_an_actuator_is_a_selector_whose_values_are_literal(actuator, selector):
    assert read_command({**DENY, "actuator": actuator}).selector == selector
    assert isinstance(parse_selector(selector), Selector)


@pytest.mark.parametrize(("actuator", "path"), [
    ("slpf", "actuator"), ({"slpf": {}, "x-a": {}}, "actuator"), ({"sl pf": {}}, "actuator['sl pf']"),
    ({"a" * 17: {}}, "actuator." + "a" * 17), ({"slpf": "fw-1"}, "actuator.slpf"),
    ({"slpf": {"a b": "c"}}, "actuator.slpf['a b']"),
    ({"slpf": {"not": "c"}}, "actuator.slpf.not"), ({"slpf": {"a": ["b", "c"]}}, "actuator.slpf.a"),
    ({"slpf": {"a": True}}, "actuator.slpf.a"), ({"slpf": {"a": "'\""}}, "actuator.slpf.a"),
    ({"slpf": {"a": ""}}, "actuator.slpf.a"),
    ({"slpf": {"a": "\x1b"}}, "actuator.slpf.a"), ({"slpf": {"a": "b c" * 340, "d": "e" * 40}}, "actuator"),
])  # fmt: skip
def test_one_that_no_selector_can_say_is_refused(actuator, path):
    assert [each.partition(": ")[0] for each in details({**DENY, "actuator": actuator})] == [path]


def message(command, **headers):
    return {"headers": headers, "body": {"openc2": {"request": command}}}


def test_a_message_is_for_those_whom_it_names_and_no_others():
    command = read_command(message({**DENY, "actuator": {"slpf": {}}}, to=["fw-1", "fw-2"], request_id="r-1"))
    assert (command.selector, command.id) == ("profile=slpf and id in (fw-1, fw-2)", "r-1")
    both_ids = read_command(message({**DENY, "command_id": "c-1"}, request_id="r-1"))
    assert (both_ids.id, both_ids.request_id) == ("c-1", "r-1")
    assert details(message(DENY, to=[]))[0].startswith("headers.to")


@pytest.mark.parametrize("to", ["role=firewall", "role=firewall or segment=dmz", "all"])
def test_who_is_asked_narrows_it_too(to):
    selector = parse_selector(both(to, "profile=slpf and asset_id=30"))
    assert selector.matches(NODE)
    assert not selector.matches({**NODE, "asset_id": "31"}) and not selector.matches({**NODE, "profile": "x-a"})
    assert selector.matches({**NODE, "role": "edr"}) == (to == "all")


@pytest.mark.parametrize("to", ["", " ", "role=a) or (all", "role=", "not"])
def test_what_selects_nobody_still_does_beside_an_actuator(to):
    read = parse_selector(both(to, "profile=slpf"))
    assert isinstance(read, Reject) or read.selects_nobody
    assert both(to, "") == to


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["deny", "query", "203.0.113.9", "slpf", "x-a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["action", "target", "args", "actuator", "command_id", "headers", "body", "openc2", "request",
                         "ipv4_net", "features", "duration", "slpf", "to"]) | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)


@given(ANY | st.dictionaries(st.just("actuator"), ANY).map(lambda more: {**DENY, **more}))
def test_whatever_it_is_it_is_read_or_refused_and_its_selector_is_one(document):
    command = read_command(document)
    if isinstance(command, Reject):
        assert command.code is Code.BAD_ACTION and command.detail.isprintable()
    else:
        assert isinstance(parse_selector(command.selector), Selector)
