"""OpenC2 from a file to handlers and back: a command is for whom its actuator names, and every end is a response."""

import json
from pathlib import Path

import pytest

from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.vocabulary.commands import read_command
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.targets import Target
from tests.integration.harness import House, house_in

HOUSE = """
fabric = "commands"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "20s", result = "1h" } }

[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:PORT-hq" }

[roles]
wall = { execute = ["deny *", "allow *", "delete slpf:rule_number", "query features", "scan *"] }
lock = { execute = ["query *"] }
soar = { request = [{ action = "*", to = "all" }] }

[points]
fw-1   = { relay = "hq", role = "wall", clearance = "amber", tags = { profile = "slpf", asset_id = "30" } }
fw-2   = { relay = "hq", role = "wall", clearance = "amber", tags = { profile = "slpf", asset_id = "31" } }
lock-1 = { relay = "hq", role = "lock", clearance = "amber", tags = { profile = "x-lock" } }
soar-1 = { relay = "hq", role = "soar", clearance = "amber" }

[[approval]]
when = { action = "*", to = "all" }
require = 0
"""
SHA256 = "22fe72a34f006ea67d26bb7004e2b6941b5c3953d43ae7ec24d41b1a928a6973"
EXAMPLES = json.loads((Path(__file__).parents[1] / "vectors" / "openc2.json").read_text())


class Walls:
    """Two firewalls and a lock, which are connected, and what each was given."""

    def __init__(self, house: House):
        self.house = house
        self.given: list[tuple[str, Action]] = []
        self.points = [house.point(name) for name in ("fw-1", "fw-2", "lock-1")]
        for point in self.points:
            point.connect()
        for wall in self.points[:2]:
            wall.on_action("deny", "*", ends_itself=True)(self.handler(wall.identity.id))
            wall.on_action("delete", "slpf:rule_number")(self.handler(wall.identity.id))
        self.points[2].on_action("query", "properties")(self.handler("lock-1"))
        for point in self.points:
            point.wait_ready()

    def handler(self, name):
        def execute(action):
            self.given.append((name, action))
            if action.target == Target("domain_name", "missing.example"):
                return Answer(End.FAILED, 404, reason="no such domain")
            return {"slpf": {"rule_number": 1234}, "rule": 7}

        return execute

    def act(self, *args, code=0):
        """What was printed, and whom it reached."""
        self.given.clear()
        done = self.house.cli("act", "--as", "soar-1", "--format", "openc2", *args).expect(code)
        said = {line["headers"]["from"]: line["body"]["openc2"]["response"] for line in done.lines}
        return done, said, sorted(name for name, _ in self.given)


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("commands"), HOUSE) as house:
        house.up()
        house.wait_whole()
        made = Walls(house)
        yield made
        for point in made.points:
            point.close()


@pytest.fixture
def written(tmp_path):
    def write(document):
        path = tmp_path / "command.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return write


def test_a_command_is_for_whom_its_actuator_names_and_its_end_is_a_response(walls, written):
    command = {"action": "deny", "target": {"file": {"hashes": {"sha256": SHA256}}}, "command_id": "c-1",
               "args": {"duration": 500, "slpf": {"drop_process": "none"}}, "actuator": {"slpf": {"asset_id": "30"}}}
    done, said, reached = walls.act("--openc2", written(command))
    assert reached == ["fw-1"]
    (_, action), = walls.given
    assert action.to_json()["target"] == {"file": {"hashes": {"sha256": SHA256.upper()}}}
    assert (action.command_id, action.args) == ("c-1", command["args"])
    assert said["fw-1"] == {"status": 200, "results": {
        "slpf": {"rule_number": 1234},
        "x-fabric": {"target": "fw-1", "end": "completed", "label": "green", "result": {"rule": 7}},
    }}
    (line,) = done.lines
    assert (line["headers"]["request_id"], line["headers"]["to"]) == ("c-1", ["soar-1"]) and done.err == ""


def test_who_is_asked_and_who_the_message_is_for_narrow_it_too(walls, written):
    command = written({"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "actuator": {"slpf": {}}})
    assert walls.act("--openc2", command)[2] == ["fw-1", "fw-2"]
    assert walls.act("--openc2", command, "--to", "id=fw-2 or role=lock")[2] == ["fw-2"]
    walls.act("--openc2", command, "--to", "", code=4)
    request = {"openc2": {"request": json.loads(Path(command).read_text())}}
    message = written({"headers": {"request_id": "r-1", "to": ["fw-2", "lock-1"]}, "body": request})
    done, _, reached = walls.act("--openc2", message)
    assert reached == ["fw-2"] and done.lines[0]["headers"]["request_id"] == "r-1"


def test_a_command_comes_from_standard_input(walls):
    running = walls.house.start("act", "--as", "soar-1", "--openc2", "-", "--json", stdin=-1)
    running.process.stdin.write('{"action": "delete", "target": {"slpf:rule_number": 1234}, "actuator": {"slpf": {}}}')
    running.process.stdin.close()
    assert {(line["target"], line["end"]) for line in running.wait().expect(0).lines} == {
        ("fw-1", "completed"), ("fw-2", "completed")
    }


@pytest.mark.parametrize(("document", "code", "said"), [
    ({"action": "deny", "target": {"file": {"hashes": {"sha256": "x"}}}, "args": {"start_time": "now"}, "actuator": {}},
     "E706", ["target.file.hashes.sha256: 64 hex digits", "args.start_time: ", "actuator: "]),
    ("{", "E907", ["no JSON"]), ('{"action": "deny", "action": "allow"}', "E907", ["a name comes twice"]),
    (" " * 400_000, "E102", ["more than"]),
    ({"action": "deny", "target": {"ipv4_net": "192.0.2.1"}}, "E908", ["who is to execute it"]),
])  # fmt: skip
def test_what_is_no_command_is_refused_with_the_path_of_each_fault(walls, written, document, code, said):
    done = walls.house.cli("act", "--openc2", written(document), "--as", "soar-1", "--json")
    assert done.error["code"] == code and done.code == (1 if code == "E102" else 2)
    assert all(each in done.error["detail"] for each in said) and done.error["next"]


@pytest.mark.parametrize("args", [
    (), ("deny",), ("deny", "ipv4_net=192.0.2.1"), ("deny", "ipv4_net=192.0.2.1", "--to", "all", "--openc2", "x.json"),
    ("deny", "ipv4_net=192.0.2.1", "--to", "all", "--format", "xml"),
    ("deny", "ipv4_net=192.0.2.1", "--to", "all", "--format", "openc2", "--json"),
    ("deny", "ipv4_net=192.0.2.1", "--to", "all", "--arg", "stop_time=tomorrow"),
])  # fmt: skip
def test_a_command_line_that_says_too_little_or_too_much_is_told_what_to_write(walls, args):
    done = walls.house.cli("act", *args, "--as", "soar-1").expect(2)
    assert "E908" in done.err and "next" in done.err


@pytest.mark.parametrize(("args", "target", "status", "end", "code"), [
    (("deny", "domain_name=missing.example"), "fw-1", 404, "failed", 1),
    (("scan", "ipv4_net=192.0.2.0/24"), "fw-1", 501, "refused", 1),
    (("deny", "ipv4_net=192.0.2.1", "--arg", "stop_time=2026-01-01T00:00:00Z"), "fw-1", 400, "refused", 1),
    (("deny", "ipv4_net=192.0.2.1", "--arg", "start_time=2100-01-01T00:00:00Z"), "fw-1", 400, "refused", 1),
    (("deny", "ipv4_net=192.0.2.1", "--dry-run"), "fw-1", 200, "ready", 0),
])  # fmt: skip
def test_every_end_is_a_response_with_its_status(walls, args, target, status, end, code):
    _, said, reached = walls.act(*args, "--to", f"id={target}", code=code)
    assert said[target]["status"] == status and said[target]["results"]["x-fabric"]["end"] == end
    assert reached == (["fw-1"] if end == "failed" else [])
    assert status == 200 or said[target]["status_text"] or end == "failed"


def test_no_response_is_given_where_none_is_wanted(walls):
    done, _, reached = walls.act("deny", "ipv4_net=192.0.2.1", "--to", "id=fw-1", "--arg", "response_requested=none")
    assert done.out == "" and reached == ["fw-1"]


def test_features_are_answered_by_the_control_point_itself_where_it_may(walls):
    asked = ("query", "features=versions,profiles,pairs,rate_limit", "--to", "all")
    _, said, reached = walls.act(*asked)
    assert reached == [] and set(said) == {"fw-1", "fw-2", "lock-1"}
    own = said["fw-1"]["results"]
    assert (own["versions"], own["profiles"], own["rate_limit"]) == (["1.0"], ["slpf"], 1_200)
    assert own["pairs"].keys() == {"query", "deny", "delete"} and "ipv4_net" in own["pairs"]["deny"]
    assert own["pairs"]["delete"] == ["slpf:rule_number"]
    assert said["lock-1"]["results"]["pairs"] == {"query": ["features", "properties"]}
    assert walls.act("query", "features", "--to", "id=fw-1")[1]["fw-1"]["status"] == 200
    asked = ("act", "query", "features", "--to", "id=fw-1", "--as", "soar-1", "--json")
    done = walls.house.cli(*asked, "--arg", "duration=1h")
    assert done.expect(2).error["detail"].startswith("args.duration: ")


def test_the_examples_of_the_specification_are_answered(walls):
    """By whoever is named in them and is there; else by nobody, and that is said."""
    ends = {}
    with walls.house.point("soar-1") as soar:
        for example in EXAMPLES["commands"]:
            command = read_command(example["command"])
            if isinstance(command, Reject):
                assert "refused" in example
                continue
            try:
                outcomes = list(soar.request(
                    command.action, command.target, to=command.selector or "all", args=command.args,
                    command_id=command.id,
                ))
            except FabricError as error:
                outcomes = [error]
            ends[example["section"]] = {(str(getattr(each, "end", "")), getattr(each, "code", "")) for each in outcomes}
    nobody, done, nobody_can = {("", Code.NOBODY)}, {("completed", "")}, {("refused", "E708")}
    assert ends == {
        "3.1.4, extended target": done, "3.1.4, extended argument": done, "3.1.4, actuator specifier": done,
        "4.2.1": done, "4.2.2": done, "A.1": nobody, "A.2": {("refused", "E725")}, "A.3": nobody, "slpf A.1.2": done,
        "slpf A.1.3": nobody, "slpf A.1.4, whose address has seven groups and two colons": nobody_can, "slpf A.2": done,
        "slpf A.3": nobody, "slpf A.4.4": done, "https 1.2": nobody,
    }
