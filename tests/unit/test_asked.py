"""What `fabric act` asks for, from its words or from a file."""

import json

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.cli.actions.asked import asked_for, parse_args

COMMAND = {"action": "deny", "target": {"file": {"name": "/a b"}}, "args": {"duration": 5}, "command_id": "c-1",
           "actuator": {"slpf": {"asset_id": "30"}}}


@pytest.fixture
def written(tmp_path):
    def write(document):
        path = tmp_path / "command.json"
        path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
        return str(path)

    return write


def code_of(*asked):
    with pytest.raises(FabricError) as raised:
        asked_for(*asked)
    assert raised.value.next_step
    return raised.value.code


def test_words_are_taken_as_they_are():
    asked = asked_for("deny", "ipv4_net=203.0.113.9", "all", ["duration=1h"], None)
    assert (asked.action, asked.target, asked.to, asked.args) == (
        "deny", "ipv4_net=203.0.113.9", "all", {"duration": 3_600_000}
    )
    assert asked.command_id == asked.request_id == "" and asked.wants_response


def test_a_file_says_all_of_it(written):
    asked = asked_for("", "", None, None, written(COMMAND))
    assert (asked.action, asked.target, asked.args) == ("deny", 'file={"name":"/a b"}', {"duration": 5})
    assert (asked.to, asked.command_id) == ("profile=slpf and asset_id=30", "c-1")
    assert asked_for("", "", "id=fw-1 or all", None, written(COMMAND)).to == (
        "(id=fw-1 or all) and profile=slpf and asset_id=30"
    )
    assert asked_for("", "", "", None, written(COMMAND)).to == "", "nobody, which is said when it is asked for"
    assert asked_for("", "", "all", None, written({**COMMAND, "actuator": {"x-a": {}}})).to == "(all) and profile=x-a"


def test_bytes_before_the_first_word_mean_nothing(written):
    assert asked_for("", "", None, None, written(b"\xef\xbb\xbf" + json.dumps(COMMAND).encode())).action == "deny"


@pytest.mark.parametrize(("document", "to", "code"), [
    (b"{", None, Code.BAD_INPUT), (b"\xff", None, Code.BAD_INPUT), (b"", None, Code.BAD_INPUT),
    (b'{"action": 1, "action": 2}', None, Code.BAD_INPUT), (b"[" * 9_999, None, Code.BAD_INPUT),
    ([], None, Code.BAD_ACTION), ({**COMMAND, "actuator": []}, None, Code.BAD_ACTION),
    (b" " * 400_000, None, Code.TOO_LARGE),
    ({key: value for key, value in COMMAND.items() if key != "actuator"}, None, Code.USAGE),
])
def test_what_is_no_command_is_refused(written, document, to, code):
    assert code_of("", "", to, None, written(document)) is code


@pytest.mark.parametrize("asked", [
    ("", "", "all", None, None), ("deny", "", "all", None, None), ("deny", "ipv4_net=203.0.113.9", None, None, None),
    ("deny", "", None, None, "x"), ("", "", None, ["a=1"], "x"),
])
def test_too_little_or_too_much_is_told(asked):
    assert code_of(*asked) is Code.USAGE


def test_arguments_are_json_or_text_and_times_are_meant():
    assert parse_args(["a=1", "b=x", 'c={"d": null}', "e="]) == {"a": 1, "b": "x", "c": {"d": None}, "e": ""}
    assert parse_args(["duration=3600", "start_time=5"]) == {"duration": 3600, "start_time": 5}
    assert parse_args(["duration=1h30m"]) == {"duration": 5_400_000}
    assert parse_args(["stop_time=1970-01-01T01:00:00+01:00"]) == {"stop_time": 0}
    for wrong in ("stop_time=1970-01-01T00:00:00", "start_time=soon", "duration=long", "a", "=1"):
        with pytest.raises(FabricError) as raised:
            parse_args([wrong])
        assert raised.value.code is Code.USAGE


def test_no_response_is_wanted_where_none_is_said():
    assert not asked_for("deny", "uri=a:b", "all", ["response_requested=none"], None).wants_response


@pytest.mark.parametrize(("typed", "meant"), [
    ("durations=1h", "--arg duration=1h"), ("Duration=1h", "--arg duration=1h"), ("stop-time=x", "--arg stop_time=x"),
])
def test_a_slip_is_refused_since_what_was_to_end_would_stay(typed, meant):
    with pytest.raises(FabricError) as raised:
        parse_args([typed])
    assert raised.value.code is Code.USAGE and meant in raised.value.next_step


def test_an_argument_of_one_s_own_is_none():
    assert parse_args(["priority=3", "time=1", "rule_number=5", "direction=both"])
