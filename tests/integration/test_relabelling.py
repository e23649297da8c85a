"""A message again at a lower label, with real relays: who gets it then, who may not do it, and which logs have it."""

import asyncio
import json
import subprocess
from dataclasses import replace

import pytest

from fabric.edge import point as asyncio_face
from fabric.protocol.audit import kinds
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind, Relabels
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.integration.harness import Done, House, house_in, wait_for
from tests.integration.intruder import Intruder, envelope

TOPOLOGY = """
fabric = "lowering"
organisation = "acme"
defaults = { label = "amber", ttl = { intel = "1h", event = "1h" } }

[relays]
hq  = { segment = "hq",  clearance = "red",   listen = "127.0.0.1:PORT-hq" }
dmz = { segment = "dmz", clearance = "green", listen = "127.0.0.1:PORT-dmz", parent = "hq" }

[roles]
feed   = { publish = ["intel.>"] }
reader = { subscribe = ["intel.>"] }
# May publish and read the same, and lower nothing.
clerk  = { publish = ["intel.>"], subscribe = ["intel.>"] }

[roles.analyst]
publish = ["intel.>"]
subscribe = ["intel.>"]
declassify = [{ topic = "intel.>", from = "amber", to = "green" }]

[points]
feed-1    = { relay = "hq",  role = "feed",    clearance = "red" }
analyst-1 = { relay = "hq",  role = "analyst", clearance = "red", kind = "operator" }
analyst-2 = { relay = "hq",  role = "analyst", clearance = "amber", kind = "operator" }
clerk-1   = { relay = "hq",  role = "clerk",   clearance = "red" }
below-1   = { relay = "dmz", role = "reader",  clearance = "green" }
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("lowering"), TOPOLOGY) as house:
        house.up()
        house.wait_whole()
        yield house
        house.assert_logs_clean("secret-indicator")


@pytest.fixture
def below(house: House):
    """What the reader below gets, who is cleared for GREEN."""
    came = []
    with house.point("below-1") as reader:
        reader.on_message("intel.>", came.append)
        reader.wait_ready()
        yield came


def received(house: House, who: str, topic: str, **options):
    """A message as this reader has it."""
    came = []
    with house.point(who) as reader:
        reader.on_message("intel.>", came.append)
        reader.wait_ready()
        with house.point("feed-1") as feed:
            feed.publish(topic, {"indicator": "secret-indicator", "note": "secret-note"}, **options)
        return wait_for(lambda: next((m for m in came if m.topic == topic), None), topic)


def test_an_analyst_lowers_it_and_who_is_cleared_for_that_gets_it(house: House, below):
    old = received(house, "analyst-1", "intel.lowered", severity="high", label="amber")
    with house.point("analyst-1") as analyst:
        new = analyst.relabel(old, label="green")
    (message,) = wait_for(lambda: [m for m in below if m.topic == "intel.lowered"], "what was lowered")
    assert (message.id, message.origin, message.label) == (new, "analyst-1", Label.GREEN)
    assert (message.relabels, message.relabelled_from) == (old.id, Label.AMBER)
    assert (message.content, message.severity) == (old.content, old.severity)
    assert [m.label for m in below] == [Label.GREEN], "the old one never came here"
    for node in ("analyst-1", "hq", "dmz"):
        entry = wait_for(lambda at=node: next(iter(logged(house, at, new)), None), f"the log of {node}")
        assert (entry["who"], entry["from"], entry["to"], entry["record"]) == ("analyst-1", "amber", "green", 0)
        assert entry["old"] == old.leaf.hex() and entry["old"].startswith(old.id[:32])


def logged(house: House, node: str, new: str) -> list[dict]:
    done = house.cli("audit", "show", "--as", f"lowering/{node}", "--json")
    entries = [entry for entry in done.lines if entry.get("kind") == kinds.MESSAGE_RELABELLED]
    return [entry for entry in entries if entry["new"].startswith(new[:32])]


def test_who_has_no_grant_is_refused_at_its_own_node(house: House, below):
    old = received(house, "clerk-1", "intel.clerk", label="amber")
    with house.point("clerk-1") as clerk:
        with pytest.raises(FabricError) as raised:
            clerk.relabel(old, label="green")
        assert raised.value.code is Code.DECLASSIFY_DENIED and raised.value.detail == "intel.clerk: amber to green"
        wait_for(lambda: house.fresh_state("hq")["counters"].get("refused:declassify_denied"), "hq to count it")
    with house.point("analyst-1") as analyst:
        for label, code in (("clear", Code.DECLASSIFY_DENIED), ("amber", Code.NOT_LOWERED)):
            with pytest.raises(FabricError) as raised:
                analyst.relabel(old, label=label)
            assert raised.value.code is code
    assert below == []


def test_who_leaves_its_own_node_out_is_refused_at_the_relay(house: House, below):
    identity, analyst = house.identity("clerk-1"), house.identity("analyst-2")
    lowers = {"kind": Kind.INTEL, "topic": "intel.forged", "relabels": Relabels(bytes(32), 0, Label.AMBER)}
    with Intruder(identity) as me:
        me.enter()
        assert me.offer(envelope(identity, **lowers)) is Code.DECLASSIFY_DENIED
        # In the name of who may, with a key that is not theirs.
        forged = replace(identity, id="analyst-2", credential=analyst.credential)
        assert me.offer(envelope(forged, **lowers)) in (Code.BAD_SIGNATURE, Code.UNKNOWN_SIGNER)
    with Intruder(analyst) as me:
        me.enter()
        red = {**lowers, "relabels": Relabels(bytes(32), 0, Label.RED)}
        assert me.offer(envelope(analyst, **red)) is Code.DECLASSIFY_DENIED
        assert me.offer(envelope(analyst, label=Label.CLEAR, **lowers)) is Code.DECLASSIFY_DENIED
        assert me.offer(envelope(analyst, **lowers)) is None, "what the grant covers is taken"
    assert [m.relabels for m in wait_for(lambda: list(below), "the one that was granted")] == [f"{'0' * 32}.0"]


def test_what_was_withheld_here_is_not_re_issued_unless_it_is_said_what_is(house: House, below):
    """The analyst is cleared for AMBER, and a field of it is RED, for others."""
    options = {"label": "green", "labels": {"indicator": "amber", "note": "red"},
               "audience": Audience((), (), ("feed-1", "hq"))}
    old = received(house, "analyst-2", "intel.parts", **options)
    assert old.withheld == {Label.RED: 1}
    with house.point("analyst-2") as analyst:
        with pytest.raises(FabricError) as raised:
            analyst.relabel(old, label="green")
        assert raised.value.code is Code.NOT_WHOLE and "1 red" in raised.value.detail
        analyst.relabel(old, label="green", fields=["indicator"])
    found = wait_for(lambda: [m for m in below if m.relabels == old.id], "what was re-issued of it")
    assert found[0].content == {"indicator": "secret-indicator"}


def test_what_is_sealed_to_the_analyst_is_red_and_above_the_grant(house: House, below):
    """It was opened here, and is whole; that its reader sees it is no leave to lower it."""
    old = received(house, "analyst-1", "intel.sealed", label="green", labels={"indicator": "amber", "note": "red"},
                   audience={"recipients": ["analyst-1"]})
    assert old.withheld == {} and old.content["note"] == "secret-note" and old.highest_label is Label.RED
    with house.point("analyst-1") as analyst:
        with pytest.raises(FabricError) as raised:
            analyst.relabel(old, label="green")
        assert raised.value.code is Code.DECLASSIFY_DENIED and raised.value.detail == "intel.sealed: red to green"
        analyst.relabel(old, label="green", fields=["indicator"])
    (found,) = wait_for(lambda: [m for m in below if m.relabels == old.id], "what the grant covers of it")
    assert (found.relabelled_from, found.content) == (Label.AMBER, {"indicator": "secret-indicator"})


def test_the_asyncio_face_does_the_same(house: House, below):
    old = received(house, "analyst-1", "intel.async", label="amber")

    async def lowered() -> str:
        async with asyncio_face.ControlPoint(house.identity("analyst-1")) as analyst:
            new = await analyst.relabel(old, label=Label.GREEN, fields=["indicator"], ttl="10m")
            with pytest.raises(FabricError) as raised:
                await analyst.relabel(old, label="clear")
            assert raised.value.code is Code.DECLASSIFY_DENIED
            return new

    new = asyncio.run(asyncio.wait_for(lowered(), 60))
    (message,) = wait_for(lambda: [m for m in below if m.topic == "intel.async"], "what was lowered")
    assert (message.id, message.ttl_ms, message.content) == (new, 600_000, {"indicator": "secret-indicator"})


def relabel(house: House, *args: str, lines: str) -> Done:
    running = house.start("relabel", *args, stdin=subprocess.PIPE)
    assert running.process.stdin is not None
    running.process.stdin.write(lines)
    running.process.stdin.close()
    return running.wait()


def test_the_command_takes_what_subscribe_printed(house: House, below):
    printing = house.start("subscribe", "intel.>", "--as", "analyst-1", "--json", "--count", "2")
    printing.wait_line('"subscribed"')
    with house.point("feed-1") as feed:
        for number in range(2):
            feed.publish("intel.command", {"n": number}, label="amber")
    printed = printing.wait().expect(0).out
    done = relabel(house, "--as", "analyst-1", "--label", "green", "--json", lines=printed)
    assert done.code == 0, done
    said = [json.loads(line) for line in done.out.splitlines()]
    assert [(each["label"], each["relabelled_from"]) for each in said] == [("green", "amber")] * 2
    found = wait_for(lambda: below if len(below) == 2 else None, "both of them")
    assert [m.relabels for m in found] == [each["relabels"] for each in said]
    # And it says what is wrong, line by line.
    lines = f"{printed.splitlines()[0]}\n{{}}\n"
    done = relabel(house, "--as", "analyst-1", "--label", "green", lines=lines)
    assert done.code == 3 and "E907" in done.err and "line 2" in done.err, done
    assert done.out.startswith("held by hq, on disk: ") and "green instead of amber" in done.out
    done = relabel(house, "--as", "clerk-1", "--label", "green", lines=printed)
    assert done.code == 5 and "E421" in done.err
    assert "fabric explain relabel intel.command --from amber --label green --as clerk-1" in done.err
    said = house.cli("explain", "relabel", "intel.command", "--from", "amber", "--label", "green", "--as", "clerk-1")
    assert said.code == 5 and 'declassify = [{ topic = "intel.command", from = "amber", to = "green" }]' in said.out
    shown = house.start("subscribe", "intel.>", "--as", "below-1", "--count", "1")
    shown.wait_line("subscribed to")
    assert relabel(house, "--as", "analyst-1", "--label", "green", lines=printed).code == 0
    assert "relabelled from TLP:AMBER by analyst-1: " in shown.wait().expect(0).out
