"""Organisations in a topology: what nodes are to others, whom they may address, and names that nobody has."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import PublishGrant
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.authority.identities import point_claim, relay_claim
from relays.topology.flow import Flows
from relays.topology.graph import draw
from relays.topology.holding import widest
from relays.topology.lint import lint
from relays.topology.loader import load
from relays.topology.problems import Problem, TopologyErrors

SHIPPED = Path(__file__).parents[2] / "topologies"
TREE = """
fabric = "shared"
organisation = "acme"
[organisations]
acme = { client_of = ["guard"], communities = ["isac"] }
mill = { client_of = ["guard"] }
[relays]
hq   = { clearance = "red",   listen = "127.0.0.1:7700" }
soc  = { clearance = "red",   listen = "127.0.0.1:7710", parent = "hq", organisation = "guard" }
mill = { clearance = "amber", listen = "127.0.0.1:7720", parent = "soc", organisation = "mill" }
[relays.bank]
clearance = "amber"
listen = "127.0.0.1:7730"
parent = "hq"
organisation = "bank"
communities = ["isac", "fs"]
[roles]
feed    = { publish = [{ topic = "intel.>", organisations = ["guard"], communities = ["isac"] }, "detections.>"] }
analyst = { subscribe = ["intel.>"] }
[points]
feed-2    = { relay = "soc", role = "feed", clearance = "amber", communities = [], client_of = [] }
reader-1  = { relay = "mill", role = "analyst", clearance = "amber", organisation = "mill" }
[points.feed-1]
relay = "hq"
role = "feed"
clearance = "red"
"""
SOURCE = """
[points.feed-1.sources.x]
kind = "file"
path = "/var/log/x.log"
topic = "intel.x"
labels = { "*" = "amber" }
"""


def read(tmp_path: Path, text: str):
    (tmp_path / "t.toml").write_text(text)
    return load(tmp_path / "t.toml")


def refused(tmp_path: Path, text: str) -> Problem:
    with pytest.raises(TopologyErrors) as raised:
        read(tmp_path, text)
    (found,) = raised.value.errors
    return found


def warned(tmp_path: Path, text: str) -> list[tuple[Code, str]]:
    (tmp_path / "t.toml").write_text(text)
    codes = (Code.RECIPIENT_UNKNOWN, Code.COMMUNITY_EMPTY)
    return [(p.code, p.key) for p in lint(tmp_path / "t.toml") if p.code in codes and p.severity == "warning"]


def test_a_node_is_to_others_what_its_organisation_is_unless_it_says_otherwise(tmp_path):
    topology = read(tmp_path, TREE)
    said = {node.id: (node.organisation, node.client_of, node.communities) for node in topology.nodes}
    assert said == {
        "hq": ("acme", ("guard",), ("isac",)), "soc": ("guard", (), ()), "mill": ("mill", ("guard",), ()),
        "bank": ("bank", (), ("isac", "fs")), "feed-2": ("acme", (), ()), "reader-1": ("mill", ("guard",), ()),
        "feed-1": ("acme", ("guard",), ("isac",)),
    }
    assert topology.roles["feed"].publish == (
        PublishGrant("intel.>", to_organisations=("guard",), to_communities=("isac",)), PublishGrant("detections.>"),
    )


def test_that_goes_into_its_credential(tmp_path):
    topology = read(tmp_path, TREE)
    bank = relay_claim(topology, topology.relays["bank"])
    feed = point_claim(topology, topology.points["feed-1"], topology.relays["hq"])
    assert (bank["organisation"], bank["communities"], bank["client_of"]) == ("bank", ("isac", "fs"), ())
    assert (feed["organisation"], feed["communities"], feed["client_of"]) == ("acme", ("isac",), ("guard",))


def test_a_picture_says_whose_a_relay_is(tmp_path):
    drawn = draw(read(tmp_path, TREE))
    assert "127.0.0.1:7720, of mill, client of guard" in drawn and "of bank, in isac, fs" in drawn


@pytest.mark.parametrize(("change", "key", "code"), [
    (('acme = { client_of = ["guard"]', 'acme = { client_of = ["acme"]'), "organisations.acme.client_of", "E802"),
    (('communities = ["isac", "fs"]', 'client_of = ["bank"]'),
     "relays.bank.client_of", "E802"),
    (("communities = [], client_of = []", 'client_of = ["acme"]'), "points.feed-2.client_of", "E802"),
    (("mill = { client_of", "Mill = { client_of"), "organisations.Mill", "E802"),
    (('communities = ["isac"] }\nmill', 'communities = ["I SAC"] }\nmill'), "organisations.acme.communities.0", "E802"),
    (('acme = { client_of', 'acme = { clients_of'), "organisations.acme.clients_of", "E802"),
    (('organisations = ["guard"], communities', 'organisations = ["*guard"], communities'),
     "roles.feed.publish.0.organisations.0", "E802"),
    (('organisations = ["guard"], communities', 'organisations = "guard", communities'),
     "roles.feed.publish.0.organisations", "E802"),
    (('acme = { client_of = ["guard"]', f'acme = {{ client_of = {[f"o{n}" for n in range(17)]}'),
     "organisations.acme.client_of", "E802"),
])
def test_what_cannot_be_is_an_error_at_its_key(tmp_path, change, key, code):
    text = TREE.replace(*change)
    assert text != TREE
    found = refused(tmp_path, text)
    assert (found.key, found.code.label) == (key, code) and found.write


def test_names_that_nobody_has_are_warnings(tmp_path):
    assert warned(tmp_path, TREE) == []
    assert warned(tmp_path, TREE.replace('organisation = "guard"', 'organisation = "gard"')) == [
        (Code.RECIPIENT_UNKNOWN, "organisations.acme.client_of"),
        (Code.RECIPIENT_UNKNOWN, "organisations.mill.client_of"),
        (Code.RECIPIENT_UNKNOWN, "roles.feed.publish.0.organisations"),
    ]
    assert warned(tmp_path, TREE.replace('communities = ["isac"] },', 'communities = ["fsisac"] },')) == [
        (Code.COMMUNITY_EMPTY, "roles.feed.publish.0.communities"),
    ]
    assert warned(tmp_path, TREE.replace('organisations = ["guard"]', 'organisations = ["gua*", "b*", "z*"]')) == [
        (Code.RECIPIENT_UNKNOWN, "roles.feed.publish.0.organisations"),
    ]
    assert warned(tmp_path, TREE.replace("[organisations]", "[organisations]\nnobody = {}")) == [
        (Code.RECIPIENT_UNKNOWN, "organisations.nobody"),
    ]
    assert warned(tmp_path, TREE.replace("communities = [], client_of = []", 'client_of = ["nobody"]')) == [
        (Code.RECIPIENT_UNKNOWN, "points.feed-2.client_of"),
    ]


def test_a_source_says_whom_its_records_are_for(tmp_path):
    said = 'audience = { organisations = ["guard"], communities = ["isac"] }\n'
    topology = read(tmp_path, TREE + SOURCE + said)
    assert topology.points["feed-1"].sources["x"].audience == Audience(("guard",), ("isac",))
    assert read(tmp_path, TREE + SOURCE).points["feed-1"].sources["x"].audience is None


@pytest.mark.parametrize(("said", "code", "key"), [
    ('audience = { organisations = ["bank"] }', Code.AUDIENCE_DENIED, "audience"),
    ('audience = { communities = ["fs"] }', Code.AUDIENCE_DENIED, "audience"),
    ('audience = { organisation = ["guard"] }', Code.BAD_AUDIENCE, "audience.organisation"),
    ('audience = { organisations = "guard" }', Code.BAD_AUDIENCE, "audience.organisations"),
    ('audience = { organisations = ["Guard"] }', Code.BAD_AUDIENCE, "audience.organisations"),
    ('audience = "guard"', Code.TOPOLOGY_INVALID, "audience"),
    (f'audience = {{ organisations = {[f"o{n}" for n in range(16)]} }}', Code.BAD_AUDIENCE, "audience.organisations"),
])
def test_a_source_whose_audience_cannot_be_or_is_not_granted_is_an_error(tmp_path, said, code, key):
    found = refused(tmp_path, TREE + SOURCE + said)
    assert (found.code, found.key) == (code, f"points.feed-1.sources.x.{key}"), found
    assert found.write


def test_the_own_organisation_of_a_source_needs_no_grant(tmp_path):
    assert read(tmp_path, TREE + SOURCE + 'audience = { organisations = ["acme", "guard"] }')


def test_a_source_s_names_that_nobody_has_are_warnings(tmp_path):
    source = SOURCE.replace('"amber"', '"red"') + 'audience = { recipients = ["hq", "feed-1", "led-1"] }'
    assert warned(tmp_path, TREE + source) == [(Code.RECIPIENT_UNKNOWN, "points.feed-1.sources.x.audience.recipients")]


@pytest.mark.parametrize(("named", "remedy"), [
    ("soc", 'organisations = ["guard"]'), ("reader-1", 'clearance = "red" at reader-1'),
])
def test_a_recipient_who_gets_nothing_for_being_named_is_a_warning(tmp_path, named, remedy):
    source = SOURCE.replace('"amber"', '"red"') + f'audience = {{ recipients = ["hq", "{named}"] }}'
    (tmp_path / "t.toml").write_text(TREE + source)
    (found,) = [p for p in lint(tmp_path / "t.toml") if p.key == "points.feed-1.sources.x.audience.recipients"]
    assert (found.code, found.severity) == (Code.BAD_AUDIENCE, "warning") and remedy in found.write


RED_SOURCE = SOURCE.replace('"amber"', '"red"') + 'audience = { recipients = ["lead-1"] }\n'
LEAD = '[points.lead-1]\nrelay = "hq"\nrole = "analyst"\nclearance = "red"\n'


def of_source(tmp_path, text):
    (tmp_path / "t.toml").write_text(text)
    return [p for p in lint(tmp_path / "t.toml") if p.key == "points.feed-1.sources.x"]


def test_where_red_ends_it_is_said_that_the_relay_may_carry_what_it_cannot_read(tmp_path):
    assert of_source(tmp_path, TREE + RED_SOURCE + LEAD) == []
    below = TREE.replace('relay = "hq"\nrole = "feed"', 'relay = "bank"\nrole = "feed"')
    (found,) = of_source(tmp_path, below + RED_SOURCE + LEAD)
    assert found.code is Code.WITHHELD and found.write.startswith("write carries_sealed = true at bank")
    carried = below.replace('listen = "127.0.0.1:7730"', 'listen = "127.0.0.1:7730"\ncarries_sealed = true')
    assert of_source(tmp_path, carried + RED_SOURCE + LEAD) == []
    assert "carries what is sealed" in draw(load(tmp_path / "t.toml"))
    assert relay_claim(load(tmp_path / "t.toml"), load(tmp_path / "t.toml").relays["bank"])["carries_sealed"]


def test_what_is_red_of_a_source_and_for_nobody_is_a_warning(tmp_path):
    (found,) = of_source(tmp_path, TREE + SOURCE.replace('"amber"', '"red"'))
    assert found.code is Code.NO_RECIPIENTS and "recipients" in found.write


def test_recipients_by_role_are_those_of_the_file(tmp_path):
    source = RED_SOURCE.replace("lead-1", "role=analyst")
    assert warned(tmp_path, TREE + source + LEAD) == []
    assert warned(tmp_path, TREE + source.replace("=analyst", "=analist") + LEAD) == [
        (Code.RECIPIENT_UNKNOWN, "points.feed-1.sources.x.audience.recipients")
    ]


def reach(topology, label, source, target):
    """A way from a relay, or from below it, or from a control point."""
    flows = Flows(topology)
    return flows.first(flows.starts.below(source), target, label)


def test_an_assert_is_held_against_the_widest_audience_that_is_granted(tmp_path):
    topology = read(tmp_path, TREE)
    feed = topology.points["feed-1"]
    assert widest(topology, feed) == Audience(("acme", "guard"), ("isac",))
    assert widest(topology, topology.points["reader-1"]) == Audience(("mill",))
    assert reach(topology, Label.AMBER, "feed-1", "reader-1") is not None, "a direct client of guard"
    assert reach(topology, Label.AMBER_STRICT, "feed-1", "mill") is None
    narrow = read(tmp_path, TREE.replace('organisations = ["guard"], ', ""))
    assert reach(narrow, Label.AMBER, "feed-1", "reader-1") is None


def test_the_partners_that_are_shipped_hold_their_asserts():
    found = lint(SHIPPED / "partners.toml")
    assert [p for p in found if p.severity == "error"] == []
    assert [p.key for p in found] == ["points.sensor-mill.sources.conn"], "it ends at hq, as the file says"


ANSWERS = TREE + """
[[approval]]
when = { action = "deny ipv4_net" }
require = 1
from = ["lead"]
[roles.soar]
request = [{ action = "deny ipv4_net", to = "role=firewall" }]
[roles.firewall]
execute = ["deny ipv4_net"]
[roles.lead]
approve = [{ class = "contain", to = "role=firewall" }]
[points.soar-1]
relay = "soc"
role = "soar"
clearance = "amber"
organisation = "guard"
[points.fw-1]
relay = "mill"
role = "firewall"
clearance = "amber"
organisation = "mill"
[points.lead-1]
relay = "mill"
role = "lead"
kind = "operator"
clearance = "amber"
organisation = "mill"
"""


@pytest.mark.parametrize("origin", ["fw-1", "lead-1", "mill"])
def test_what_answers_another_organisation_has_that_ones_audience(tmp_path, origin):
    """A result is as wide as its action: by the mill's own audience alone nothing of it would get to guard."""
    topology = read(tmp_path, ANSWERS)
    assert reach(topology, Label.AMBER, origin, "soc").relays == ("mill", "soc")
    assert reach(topology, Label.AMBER, origin, "bank") is None
    topology = read(tmp_path, ANSWERS.replace("request = [", 'subscribe = ["intel.>"] #'))
    assert reach(topology, Label.AMBER, origin, "soc") is None


def test_and_it_comes_down_to_who_asked(tmp_path):
    topology = read(tmp_path, ANSWERS.replace('relay = "soc"\nrole = "soar"', 'relay = "bank"\nrole = "soar"')
                    .replace('organisation = "bank"', 'organisation = "bank"\nclient_of = ["guard"]'))
    assert reach(topology, Label.AMBER, "fw-1", "soar-1").carrier == "as a result"
