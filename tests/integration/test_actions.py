"""Response actions through real relays to real handlers: how each ends, and that none is executed late or twice."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.harness import House, Running, wait_for

# What the handler does follows from the address that it is to deny.
OK, FAILS, HANGS, GARBAGE = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
HANDLER = """#!/bin/sh
input=$(cat)
echo "$input" >> "{ran}"
case "$input" in
    *'"192.0.2.2"'*) exit 3 ;;
    *'"192.0.2.3"'*) echo $$ >> "{ran}.pids"; sleep 600 ;;
    *'"192.0.2.4"'*) echo 'this is not JSON' ;;
    *) echo '{{"rule": 7}}' ;;
esac
"""


class Firewall:
    """`fabric edge run` with a handler that writes down each of its runs."""

    def __init__(self, house: House, id_: str, folder: Path, timeout: str = "1s") -> None:
        self.house = house
        self.id = id_
        self.ran = folder / f"{id_}.ran"
        self.script = folder / f"{id_}.handler"
        self.script.write_text(HANDLER.format(ran=self.ran))
        self.script.chmod(0o755)
        self.timeout = timeout
        self.sessions: list[Running] = []

    def start(self, *more: str, waits: bool = True) -> Running:
        running = self.house.start(
            "edge", "run", "--as", self.id, "--on", "deny ipv4_net", "--exec", str(self.script), "--timeout",
            self.timeout, "--ends-itself", "--json", *more,
        )
        self.sessions.append(running)
        if waits:
            running.wait_line('"ready"')
        return running

    def runs(self, target: str) -> int:
        text = self.ran.read_text() if self.ran.exists() else ""
        return sum(json.loads(line)["target"] == {"ipv4_net": target} for line in text.splitlines())

    def stop(self) -> None:
        for running in self.sessions:
            if running.process.poll() is None:
                running.stop()


@contextmanager
def firewall(house: House, id_: str, folder: Path, timeout: str = "1s") -> Iterator[Firewall]:
    wall = Firewall(house, id_, folder, timeout)
    routes = house.fresh_state("hq")["routes"]
    try:
        wall.start()
        house.wait_routes("hq", routes + 1)
        yield wall
    finally:
        wall.stop()


@pytest.fixture(scope="module")
def walls(shared_house, tmp_path_factory) -> Iterator[tuple[Firewall, Firewall]]:
    shared_house.wait_whole()
    folder = tmp_path_factory.mktemp("walls")
    with firewall(shared_house, "fw-m", folder) as mid, firewall(shared_house, "fw-p", folder) as plant:
        yield mid, plant


def act(house: House, target: str, to: str, *options: str, code: int, action: str = "deny"):
    """The outcomes by target."""
    done = house.cli("act", action, target, "--to", to, "--as", "soar-hq", "--label", "green", "--json", *options)
    done.expect(code)
    return {line["target"]: line for line in done.lines}


def net(address: str) -> str:
    return f"ipv4_net={address}"


def test_completed_with_the_handlers_result(house, walls):
    outcomes = act(house, net(OK), "role=firewall", "--arg", "priority=36", code=0)
    assert set(outcomes) == {"fw-m", "fw-p"}
    for id_, outcome in outcomes.items():
        assert (outcome["end"], outcome["by"], outcome["status"]) == ("completed", id_, 200)
        assert outcome["result"] == {"rule": 7}
    for wall in walls:
        assert wall.runs(OK) == 1
        given = json.loads(wall.ran.read_text().splitlines()[0])
        assert (given["action"], given["target"], given["args"]) == ("deny", {"ipv4_net": OK}, {"priority": 36})
        assert given["requester"] == "soar-hq" and given["deadline"] == given["issued_at"] + 30_000


@pytest.mark.parametrize(
    ("address", "error"),
    [(FAILS, "exit code 3"), (HANGS, "timed out"), (GARBAGE, "the handler's output is not a JSON object")],
    ids=["exits non-zero", "hangs", "prints garbage"],
)
def test_a_handler_that_goes_wrong_is_failed(house, walls, address, error):
    (outcome,) = act(house, net(address), "id=fw-p", code=1).values()
    assert (outcome["end"], outcome["code"], outcome["status"]) == ("failed", "E709", 500)
    assert outcome["result"] == {"error": error}
    assert walls[1].runs(address) == 1
    if address == HANGS:
        pid = int(Path(f"{walls[1].ran}.pids").read_text().split()[-1])
        wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the handler that hangs")


def test_some_completed_is_partly(house, walls, tmp_path):
    """AMBER may not pass low: fw-p never hears of it, and the requester is told why."""
    done = house.cli("act", "deny", net("192.0.2.77"), "--to", "role=firewall", "--as", "soar-hq", "--json")
    outcomes = {line["target"]: line for line in done.expect(3).lines}
    assert outcomes["fw-m"]["end"] == "completed"
    assert (outcomes["fw-p"]["end"], outcomes["fw-p"]["code"]) == ("refused", "E601")
    assert outcomes["fw-p"]["by"] in ("mid", "low")
    assert walls[1].runs("192.0.2.77") == 0


@pytest.mark.parametrize(
    ("action", "target", "to", "options", "code", "error"),
    [
        ("deny", net(OK), "", (), 4, "E703"),
        ("deny", net(OK), "role=firewall and segment=nowhere", (), 4, "E703"),
        ("deny", net(OK), "role=edr", (), 4, "E703"),
        ("scan", "device=pc-1", "role=edr", (), 4, "E703"),
        ("deny", net(OK), "role=firewall", ("--severity", "critical"), 5, "E405"),
        ("contain", "device=pc-1", "role=edr", (), 5, "E403"),
        ("deny", net(OK), "role=", (), 2, "E705"),
        ("deny", "ipv4_net=10.1.2.3/8", "role=firewall", (), 2, "E706"),
        ("obliterate", net(OK), "role=firewall", (), 2, "E706"),
        ("deny", net(OK), "role=firewall", ("--ttl", "9h"), 2, "E503"),
        ("deny", net(OK), "role=firewall", ("--arg", "forever"), 2, "E908"),
    ],
    ids=[
        "empty selector", "nobody is there", "granted elsewhere only", "executor is away", "severity above grant",
        "no grant", "selector broken", "target broken", "no action", "ttl too long", "argument broken",
    ],
)
def test_what_is_not_begun_says_why(house, walls, action, target, to, options, code, error):
    before = [wall.runs(OK) for wall in walls]
    done = house.cli("act", action, target, "--to", to, "--as", "soar-hq", "--label", "green", "--json", *options)
    assert done.expect(code).error["code"] == error
    away = ["edr-m"] if (action, to) == ("scan", "role=edr") else []
    assert done.error["next"] and [line["target"] for line in done.lines if line["code"] == "E927"] == away
    assert [wall.runs(OK) for wall in walls] == before


def test_who_may_not_ask_is_denied(house, walls):
    done = house.cli("act", "deny", net(OK), "--to", "role=firewall", "--as", "analyst-hq", "--json").expect(5)
    assert done.error["code"] == "E403"


def test_one_program_of_an_identity_executes_at_a_time(house, walls):
    """Two would have two memories of what they did."""
    mid = walls[0]
    second = mid.start(waits=False)
    (outcome,) = act(house, net("192.0.2.50"), "id=fw-m", code=0).values()
    assert outcome["end"] == "completed" and mid.runs("192.0.2.50") == 1
    said = json.loads(second.wait(40).err.splitlines()[-1])["error"]
    assert said["code"] == "E913" and "executes actions as fw-m" in said["detail"] and said["next"]


def test_the_next_one_waits_while_it_ends(house, walls):
    mid = walls[0]
    following = mid.start(waits=False)
    mid.sessions[0].stop()
    following.wait_line('"ready"')
    house.wait_connected("mid", "fw-m")
    (outcome,) = act(house, net("192.0.2.51"), "id=fw-m", code=0).values()
    assert outcome["end"] == "completed" and mid.runs("192.0.2.51") == 1


def test_an_action_whose_time_ran_out_on_the_way_is_never_executed(house, walls):
    plant = walls[1]
    with house.frozen(house.pid("plant")):
        (outcome,) = act(house, net("192.0.2.60"), "id=fw-p", "--ttl", "2s", "--wait", "1s", code=6).values()
    assert outcome["end"] in ("expired", "unknown")
    house.wait_whole()
    # What comes after it on the same way was executed, so it would have been.
    act(house, net("192.0.2.61"), "id=fw-p", code=0)
    assert plant.runs("192.0.2.61") == 1 and plant.runs("192.0.2.60") == 0


def test_nor_when_it_is_the_first_thing_that_a_new_link_carries(house, walls):
    """Age beyond the usual transit is measured against frames before; here there are none."""
    plant = walls[1]
    house.wait_restarted("plant", house.kill_relay("plant"))
    house.wait_connected("plant", "fw-p")
    wait_for(lambda: house.state("plant").get("routes", 0) >= 1, "fw-p's route at plant")
    with house.frozen(house.pid("plant")):
        (outcome,) = act(house, net("192.0.2.62"), "id=fw-p", "--ttl", "2s", "--wait", "1s", code=6).values()
    assert outcome["end"] in ("expired", "unknown")
    house.wait_whole()
    act(house, net("192.0.2.63"), "id=fw-p", code=0)
    assert plant.runs("192.0.2.63") == 1 and plant.runs("192.0.2.62") == 0


def test_nor_by_an_edge_that_slept(house, walls):
    plant = walls[1]
    with house.frozen(plant.sessions[-1].process.pid):
        (outcome,) = act(house, net("192.0.2.64"), "id=fw-p", "--ttl", "2s", "--wait", "1s", code=6).values()
    assert outcome["end"] in ("expired", "unknown")
    act(house, net("192.0.2.65"), "id=fw-p", code=0)
    assert plant.runs("192.0.2.65") == 1 and plant.runs("192.0.2.64") == 0


def test_a_firewall_that_left_while_the_action_came_gets_it_when_it_is_back(house, walls, tmp_path):
    """It is given back to where it turned, and held there for who is away."""
    plant = walls[1]
    asked = None
    try:
        with house.frozen(house.pid("low")):
            plant.stop()
            wait_for(lambda: "fw-p" not in house.state("plant")["points"], "fw-p gone from plant")
            sent = house.fresh_state("mid")["counters"].get("sent", 0)
            asked = house.start("act", "deny", net("192.0.2.70"), "--to", "id=fw-p", "--as", "soar-hq", "--label",
                                "green", "--json", "--ttl", "60s")
            wait_for(lambda: house.state("mid")["counters"].get("sent", 0) > sent, "mid sends it down", 20)
    finally:
        plant.start()
        house.wait_whole()
    outcome = asked.wait(60).expect(0).lines[-1]
    assert (outcome["end"], outcome["by"]) == ("completed", "fw-p") and plant.runs("192.0.2.70") == 1


def test_an_edge_that_dies_at_it_says_so_itself_and_begins_again_only_where_that_does_no_harm(house, walls, tmp_path):
    mid = walls[0]
    mid.stop()
    with firewall(house, "fw-m", tmp_path, timeout="60s") as mortal:
        for flags, ended, code in (
            ([], ("unknown", "E722", "fw-m"), 6), (["--idempotent"], ("failed", "E709", "fw-m"), 1),
        ):
            before = mortal.runs(HANGS)
            asked = house.start("act", "deny", net(HANGS), "--to", "id=fw-m", "--as", "soar-hq", "--label", "green",
                                "--json", "--ttl", "25s")
            wait_for(lambda before=before: mortal.runs(HANGS) > before, "the handler at work")
            mortal.sessions[-1].stop(signal.SIGKILL)
            handler = int(Path(f"{mortal.ran}.pids").read_text().split()[-1])
            mortal.timeout = "1s"
            mortal.start(*flags)
            (outcome,) = asked.wait().expect(code).lines
            assert (outcome["end"], outcome["code"], outcome["by"]) == ended
            assert mortal.runs(HANGS) == before + (2 if flags else 1)
            act(house, net(OK), "id=fw-m", code=0)
            # Who was killed like this could not stop its handler.
            os.killpg(handler, signal.SIGKILL)
            mortal.sessions[-1].stop()
            mortal.timeout = "60s"
            mortal.start()
            house.wait_connected("mid", "fw-m")
        assert mortal.runs(OK) == 2
    mid.start()


def test_the_logs_name_no_target(house, walls):
    house.assert_logs_clean("192.0.2.")
