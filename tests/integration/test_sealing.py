"""RED through relays that cannot read it, to those who are named and nobody else. Real processes, real files."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from tests.integration.harness import House, house_in, wait_for

TOPOLOGY = """
fabric = "sealed"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", result = "1h" } }

[relays]
hq    = { segment = "hq",    clearance = "red",   listen = "127.0.0.1:PORT-hq" }
dmz   = { segment = "dmz",   clearance = "green", listen = "127.0.0.1:PORT-dmz", parent = "hq", carries_sealed = true }
plant = { segment = "ot", clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "dmz", carries_sealed = true}
line  = { segment = "line",  clearance = "amber", listen = "127.0.0.1:PORT-line",  parent = "dmz" }

[roles]
sensor  = { publish = [{ topic = "detections.>" }] }
lead    = { subscribe = ["detections.>"], approve = [{ class = "contain", to = "role=firewall" }] }
analyst = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net", "contain device"] }
soar = { request = [{ action = "deny *", to = "role=firewall" }, { action = "contain *", to = "role=firewall" }] }

[points]
fw-p      = { relay = "plant", role = "firewall", clearance = "red" }
fw-l      = { relay = "line",  role = "firewall", clearance = "red" }
fw-hq     = { relay = "hq",    role = "firewall", clearance = "amber" }
soar-1    = { relay = "hq",    role = "soar",     clearance = "red" }
zeek-p    = { relay = "plant", role = "sensor",  clearance = "red" }
zeek-l    = { relay = "line",  role = "sensor",  clearance = "red" }
lead-1    = { relay = "hq",    role = "lead",    clearance = "red", kind = "operator" }
lead-2    = { relay = "hq",    role = "lead",    clearance = "red", kind = "operator" }
lead-3    = { relay = "hq",    role = "lead",    clearance = "red", kind = "operator" }
analyst-1 = { relay = "hq",    role = "analyst", clearance = "red", kind = "operator" }
analyst-p = { relay = "plant", role = "analyst", clearance = "amber", kind = "operator" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0

[[approval]]
when = { action = "contain device" }
require = 1
from = ["lead"]
within = "2m"
"""
SECRET = "s3cr3t-of-nobody-else"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("sealed"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house


def reading(house: House, stack: ExitStack, *names: str) -> dict[str, list]:
    came: dict[str, list] = {name: [] for name in names}
    for name in names:
        point = stack.enter_context(house.point(name))
        point.on_message("detections.>", came[name].append)
        point.wait_ready()
    return came


def files_with(house: House, text: str) -> list[Path]:
    """What of the relays' has it: spools, logs, states, audit logs."""
    found = [path for path in house.folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
    return [path.relative_to(house.folder) for path in found]


def test_a_field_that_is_red_is_read_by_who_is_named(house):
    with ExitStack() as stack:
        came = reading(house, stack, "lead-1", "lead-2", "analyst-1", "analyst-p")
        with house.point("zeek-p") as zeek:
            zeek.publish(
                "detections.field", {"rule": "exfil", "user": SECRET}, label="green", labels={"user": "red"},
                audience={"recipients": ["lead-1"]},
            )
        wait_for(lambda: all(came.values()), "everybody has what they may have of it")
    (told,) = came["lead-1"]
    assert told.content == {"rule": "exfil", "user": SECRET} and told.labels["user"] is Label.RED
    assert told.path == ("plant", "dmz", "hq") and told.withheld == {}
    for name in ("lead-2", "analyst-1", "analyst-p"):
        (told,) = came[name]
        assert told.content == {"rule": "exfil"} and told.withheld == ({Label.RED: 1}), name
    assert files_with(house, SECRET) == []


def test_what_waits_for_a_reader_is_on_no_disk_in_the_clear(house, tmp_path):
    """With its header RED nobody but a recipient hears that it is there."""
    with house.point("lead-3", outbox=tmp_path / "outbox") as lead:
        lead.on_message("detections.>", lambda _: None, durable=True)
        lead.wait_ready()
    with ExitStack() as stack:
        came = reading(house, stack, "lead-1", "analyst-1")
        with house.point("zeek-p") as zeek:
            zeek.publish(
                "detections.all", {"user": SECRET}, label="red", audience={"recipients": ["role=lead"]}
            )
        wait_for(lambda: came["lead-1"], "one who has the role reads it")
        assert came["lead-1"][0].content == {"user": SECRET} and came["lead-1"][0].highest_label is Label.RED
        assert came["analyst-1"] == []
    assert files_with(house, SECRET) == []
    waiting = house.fresh_state("hq")["waiting"]
    assert [each["for"] for each in waiting] == ["lead-3"], "it waits for who has the role and is away"


def test_on_a_way_where_a_relay_may_not_carry_it_its_origin_is_told(house):
    with ExitStack() as stack:
        came = reading(house, stack, "lead-1", "analyst-1")
        zeek = stack.enter_context(house.point("zeek-l"))
        with pytest.raises(FabricError) as refused:
            zeek.publish(
                "detections.x", {"user": SECRET}, label="red", audience={"recipients": ["lead-1"]}
            )
        assert refused.value.code is Code.WITHHELD
        zeek.publish(
            "detections.x", {"rule": "r", "user": SECRET}, labels={"user": "red"}, label="green",
            audience={"recipients": ["lead-1"]},
        )
        wait_for(lambda: came["lead-1"], "what is not red goes on")
        assert came["lead-1"][0].content == {"rule": "r"} and came["lead-1"][0].withheld == {Label.RED: 1}
    assert files_with(house, SECRET) == []


@pytest.mark.parametrize(("recipients", "code"), [
    ([], Code.NO_RECIPIENTS), (["lead-9"], Code.RECIPIENT_UNKNOWN), (["role=cook"], Code.RECIPIENT_UNKNOWN),
    (["analyst-p"], Code.BAD_AUDIENCE), (["Lead 1"], Code.BAD_AUDIENCE), (["role="], Code.BAD_AUDIENCE),
])
def test_to_whom_nothing_can_be_sealed_is_said_at_once(house, recipients, code):
    with ExitStack() as stack:
        reading(house, stack, "analyst-p")
        zeek = stack.enter_context(house.point("zeek-p"))
        with pytest.raises(FabricError) as refused:
            zeek.publish("detections.x", {"n": 1}, label="red", audience={"recipients": recipients})
    assert refused.value.code is code, refused.value


def test_on_the_command_line(house, tmp_path):
    line = ("publish", "detections.cli", json.dumps({"user": SECRET}), "--as", "sealed/zeek-p", "--label", "red")
    refused = house.cli(*line, "--json").expect(2)
    assert refused.error["code"] == "E609" and "amber+strict" in refused.error["next"]
    with ExitStack() as stack:
        came = reading(house, stack, "lead-1")
        house.cli(*line, "--recipient", "role=lead").expect(0)
        wait_for(lambda: came["lead-1"], "one who has the role")
    unknown = house.cli(*line, "--recipient", "lead-9", "--json")
    assert unknown.code == 1 and unknown.err.count("E605") == 1, unknown


# -- actions --------------------------------------------------------------------------------------------------


def executing(house: House, stack: ExitStack, name: str) -> list:
    done: list = []
    wall = stack.enter_context(house.point(name))

    @wall.on_action("deny", "ipv4_net")
    def deny(action):
        done.append((str(action.target.value), dict(action.args), action.label))
        return {"note": SECRET}

    wall.wait_ready()
    return done


def ends(soar, to: str, **options) -> dict[str, tuple]:
    args = {"reason": SECRET}
    outcomes = soar.request(
        "deny", "ipv4_net=203.0.113.99", to=to, label="green", seal=True, args={"x-acme": args}, ttl="20s", **options
    )
    return {each.target: (str(each.end), each.code, each.result) for each in outcomes}


def test_an_action_is_read_by_its_targets_and_its_result_by_who_asked(house):
    with ExitStack() as stack:
        done = executing(house, stack, "fw-p")
        soar = stack.enter_context(house.point("soar-1"))
        assert ends(soar, "id=fw-p") == {"fw-p": ("completed", "", {"note": SECRET})}
        assert done == [("203.0.113.99", {"x-acme": {"reason": SECRET}}, Label.RED)]
    for secret in (SECRET, "203.0.113.99"):
        found = files_with(house, secret)
        assert {path.parts[:2] for path in found} <= {("ids", "fw-p"), ("ids", "soar-1")}, found


def test_where_a_relay_may_not_carry_it_it_ends_as_withheld(house):
    with ExitStack() as stack:
        done = executing(house, stack, "fw-l")
        soar = stack.enter_context(house.point("soar-1"))
        assert ends(soar, "id=fw-l") == {"fw-l": ("refused", "E601", {})} and done == []


@pytest.mark.parametrize(("to", "options", "code"), [
    ("id=fw-9", {}, Code.RECIPIENT_UNKNOWN), ("id=fw-hq", {}, Code.BAD_AUDIENCE),
    ("id=fw-p", {"label": "red"}, Code.USAGE),
    ("id=fw-p", {"args": {"duration": 1_000}}, Code.USAGE), ("id=fw-p", {"key": "k-1"}, Code.USAGE),
])
def test_what_cannot_be_sealed_is_said_at_once(house, to, options, code):
    with ExitStack() as stack:
        for name in ("fw-p", "fw-hq"):
            executing(house, stack, name)
        soar = stack.enter_context(house.point("soar-1"))
        with pytest.raises(FabricError) as refused:
            list(soar.request("deny", "ipv4_net=203.0.113.9", to=to, **{"label": "green", "seal": True, **options}))
    assert refused.value.code is code, refused.value


def test_what_somebody_has_to_approve_is_not_sealed(house):
    with ExitStack() as stack:
        executing(house, stack, "fw-p")
        soar = stack.enter_context(house.point("soar-1"))
        wait_for(lambda: soar._loop.core.trust.policies.rules, "the rules")
        with pytest.raises(FabricError) as refused:
            list(soar.request("contain", 'device={"hostname": "pc-1"}', to="id=fw-p", label="green", seal=True))
    assert refused.value.code is Code.APPROVAL_DUE and "sealed" in refused.value.detail


def test_an_action_is_sealed_on_the_command_line(house):
    with ExitStack() as stack:
        executing(house, stack, "fw-p")
        done = house.cli("act", "deny", "ipv4_net=203.0.113.98", "--to", "role=firewall and segment=ot", "--as",
                         "sealed/soar-1", "--label", "green", "--seal", "--json")
        assert done.code == 0 and [line["end"] for line in done.lines if "end" in line] == ["completed"], done
        plain = house.cli("act", "deny", "ipv4_net=203.0.113.98", "--to", "id=fw-p", "--as", "sealed/soar-1", "--seal")
    assert plain.code == 0 and plain.err == "", "nobody whom it is sealed to is said to be kept from it"
    listed = house.cli("actions", "--as", "sealed/soar-1").out.splitlines()
    assert "deny (sealed to its targets)" in listed[2], listed


def test_nothing_is_sealed_to_who_was_revoked(house):
    with ExitStack() as stack:
        came = reading(house, stack, "lead-1", "lead-2")
        zeek = stack.enter_context(house.point("zeek-p"))
        both = {"recipients": ["lead-1", "lead-2"]}
        zeek.publish("detections.before", {"n": 1}, label="red", audience=both)
        wait_for(lambda: all(came.values()), "both read it")
        house.cli("revoke", "lead-2", "--fabric", "sealed", "--json").expect(0)

        def is_refused() -> bool:
            try:
                zeek.publish("detections.after", {"n": 2}, label="red", audience=both)
            except FabricError as error:
                return error.code is Code.RECIPIENT_REVOKED
            return False

        wait_for(is_refused, "the revocation is known at the publisher")
        zeek.publish("detections.role", {"n": 3}, label="red", audience={"recipients": ["role=lead"]})
        wait_for(lambda: came["lead-1"][-1].content == {"n": 3}, "whoever of the role counts")
        assert {"n": 3} not in [each.content for each in came["lead-2"]]
    house.assert_logs_clean(SECRET)
