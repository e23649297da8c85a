"""A topology asks the function that relays ask."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

from fabric.protocol.access.permissions import parts_withheld
from fabric.protocol.base.errors import Reject
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.topology.holding import first_refusal, holds, own, rule_against
from relays.topology.loader import load
from tests.support import Authority, draft

MINIMAL = load(Path(__file__).parents[2] / "topologies" / "minimal.toml")
HQ = MINIMAL.relays["hq"]


def test_as_a_relay_with_this_credential_would_decide():
    authority = Authority()
    origins = {name: authority.issue(f"o-{name}", organisation=name) for name in ("acme", "guest")}
    for clearance, label, whose, organisation in product(Label, Label, origins, ("acme", "guest")):
        holder = authority.issue("r", NodeKind.RELAY, clearance, organisation)
        header, _ = draft(origins[whose], label=label, organisations=(whose,))
        withheld = isinstance(parts_withheld(holder.credential, header), Reject)
        spec = replace(HQ, clearance=clearance, organisation=organisation)
        assert holds(spec, label, Audience((whose,))) is not withheld


def test_by_which_rule_it_may_not():
    green = replace(HQ, clearance=Label.GREEN)
    assert rule_against(green, Label.AMBER) == "clearance green"
    assert rule_against(replace(HQ, organisation="guest"), Label.AMBER) == "organisation guest"


def test_the_first_of_a_path_that_may_not():
    green = replace(HQ, id="dmz", clearance=Label.GREEN)
    assert first_refusal((HQ, green, green), Label.AMBER, own(HQ)) is green
    assert first_refusal((HQ, green), Label.GREEN, own(HQ)) is None
