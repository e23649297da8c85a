"""Declassify grants in a topology: what is written, what is refused, and what comes to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import DeclassifyGrant, Grants, PublishGrant
from fabric.protocol.vocabulary.tlp import Label
from relays.authority.credentials import description
from relays.authority.delegating import _together
from relays.authority.identities import point_claim
from relays.cli.members.credential import _grants_of
from relays.topology.lint import lint
from relays.topology.loader import load
from relays.topology.problems import Problem, TopologyErrors
from tests.support import Authority

TREE = """
fabric = "acme"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
[roles]
sensor  = { publish = ["detections.>"] }
[roles.analyst]
publish = ["detections.>"]
subscribe = ["detections.>"]
declassify = [{ topic = "detections.>", from = "amber", to = "green" }]
[points]
zeek-1    = { relay = "hq", role = "sensor", clearance = "amber" }
analyst-1 = { relay = "hq", role = "analyst", clearance = "amber" }
"""
GRANT = 'declassify = [{ topic = "detections.>", from = "amber", to = "green" }]'


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "t.toml").write_text(text)
    return tmp_path / "t.toml"


def refused(tmp_path: Path, text: str) -> Problem:
    with pytest.raises(TopologyErrors) as raised:
        load(written(tmp_path, text))
    (found,) = raised.value.errors
    return found


def test_a_role_says_it_and_it_goes_into_the_credential(tmp_path):
    topology = load(written(tmp_path, TREE))
    grant = DeclassifyGrant("detections.>", Label.AMBER, Label.GREEN)
    assert topology.roles["analyst"].declassify == topology.roles["analyst"].grants.declassify == (grant,)
    claimed = point_claim(topology, topology.points["analyst-1"], topology.relays["hq"])
    assert claimed["grants"].declassify == (grant,)
    assert topology.roles["sensor"].grants.declassify == ()


def test_an_issuer_of_several_roles_may_give_what_each_of_them_has(tmp_path):
    topology = load(written(tmp_path, TREE))
    together = _together([topology.roles[role].grants for role in ("sensor", "analyst", "analyst")])
    assert together.declassify == topology.roles["analyst"].declassify


@pytest.mark.parametrize(("said", "key", "write"), [
    ('{ topic = "detections.>", from = "amber", to = "amber" }', "0.to", "`from`"),
    ('{ topic = "detections.>", from = "green", to = "amber" }', "0.to", "`from`"),
    ('{ topic = "detections.>", form = "amber", from = "amber", to = "green" }', "0.form", "did you mean 'from'"),
    ('{ topic = "detections.>", to = "green" }', "0.from", 'from = "amber"'),
    ('{ topic = "detections.>", from = "amber" }', "0.to", 'to = "green"'),
    ('{ topic = "detections..x", from = "amber", to = "green" }', "0.topic", ""),
    ('{ topic = "detections.>", from = "purple", to = "green" }', "0.from", ""),
])
def test_what_is_wrong_with_one_is_said_with_its_key_and_what_to_write(tmp_path, said, key, write):
    found = refused(tmp_path, TREE.replace(GRANT, f"declassify = [{said}]"))
    assert found.key == f"roles.analyst.declassify.{key}" and write in found.write


def test_a_word_that_is_nearly_it_is_told(tmp_path):
    assert "did you mean 'declassify'" in refused(tmp_path, TREE.replace("declassify", "declasify")).write


def warned(tmp_path: Path, text: str) -> list[Code]:
    problems = lint(written(tmp_path, text))
    return [p.code for p in problems if p.key.startswith("roles.analyst.declassify") and p.severity == "warning"]


@pytest.mark.parametrize(("change", "codes"), [
    (("", ""), []),
    (('publish = ["detections.>"]\nsubscribe', 'publish = ["intel.>"]\nsubscribe'), [Code.PUBLISH_DENIED]),
    (('subscribe = ["detections.>"]', 'subscribe = ["intel.>"]'), [Code.SUBSCRIBE_DENIED]),
    (('subscribe = ["detections.>"]', 'subscribe = ["detections.zeek.*"]'), []),
    (('role = "analyst", clearance = "amber"', 'role = "analyst", clearance = "green"'), [Code.CLEARANCE_DENIED]),
])
def test_a_grant_that_comes_to_nothing_is_warned_of(tmp_path, change, codes):
    assert warned(tmp_path, TREE.replace(*change)) == codes


def test_a_credential_shows_it():
    grants = Grants(publish=(PublishGrant("a"),), declassify=(DeclassifyGrant("a.>", Label.RED, Label.AMBER_STRICT),))
    credential = Authority("shown").issue("analyst-1", grants=grants).credential
    assert description(credential)["grants"] == {
        "publish": [["a", 6, 0]], "declassify": [["a.>", "red", "amber+strict"]]
    }
    assert _grants_of(grants)[-1] == "declassify a.> from red down to amber+strict"
