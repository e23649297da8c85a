"""Who may re-issue a message at a lower label, judged from what it says itself."""

import itertools

import pytest

from fabric.protocol.access.declassifying import check_relabels, declassify_grant, lowest_label, told_of
from fabric.protocol.access.permissions import DENIALS, check_origin
from fabric.protocol.audit import kinds
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Kind, Relabels
from fabric.protocol.trust.credentials import DeclassifyGrant, Grants, NodeKind, PublishGrant
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, derive, draft, verified

AUTHORITY = Authority("declassifying")
OLD = derive("old")
GRANTS = (
    DeclassifyGrant("detections.>", Label.AMBER, Label.GREEN), DeclassifyGrant("intel.ipv4", Label.RED, Label.AMBER),
)


ANY = (PublishGrant(">"),)


def analyst(*grants, publish=ANY, **more):
    return AUTHORITY.issue("analyst-1", grants=Grants(publish=publish, declassify=grants), **more)


def judge(who, from_=Label.AMBER, label=Label.GREEN, check=check_origin, **said):
    return check(who.credential, draft(who, label=label, relabels=Relabels(OLD, 0, from_), **said)[0])


def test_without_a_grant_nobody_re_issues_anything():
    """Deny by default: it is not in the publish grant, however wide that is."""
    refused = Reject(Code.DECLASSIFY_DENIED, "detections.zeek.conn: amber to green")
    assert judge(analyst()) == refused
    assert Code.DECLASSIFY_DENIED.number == 421 and Code.DECLASSIFY_DENIED in DENIALS


def test_what_relabels_nothing_needs_none():
    assert check_relabels(analyst().credential, draft(analyst())[0]) is None


@pytest.mark.parametrize(("from_", "label"), [*itertools.product(Label, Label)])
def test_a_grant_goes_from_its_highest_label_down_to_its_lowest(from_, label):
    code = getattr(judge(analyst(*GRANTS), from_, label), "code", None)
    if label >= from_:
        assert code is Code.NOT_LOWERED
    else:
        assert code is (None if from_ <= Label.AMBER and label >= Label.GREEN else Code.DECLASSIFY_DENIED)


@pytest.mark.parametrize(("topic", "kind", "code"), [
    ("detections.zeek.conn", Kind.EVENT, None), ("health.fan", Kind.EVENT, Code.DECLASSIFY_DENIED),
    ("detections", Kind.EVENT, Code.DECLASSIFY_DENIED), ("intel.ipv4", Kind.INTEL, Code.DECLASSIFY_DENIED),
])
def test_it_is_about_its_topics(topic, kind, code):
    """The grant for intel.ipv4 ends at AMBER, and the one that goes lower is for something else."""
    assert getattr(judge(analyst(*GRANTS), topic=topic, kind=kind), "code", None) is code


def test_one_grant_covers_it_all_or_none_does():
    """From the first one's label to the other's lowest: nobody granted that way."""
    two = DeclassifyGrant(">", Label.RED, Label.AMBER), DeclassifyGrant(">", Label.AMBER, Label.CLEAR)
    assert judge(analyst(*two), Label.RED, Label.GREEN).code is Code.DECLASSIFY_DENIED
    assert judge(analyst(*two), Label.RED, Label.AMBER_STRICT) is None
    assert judge(analyst(*two), Label.AMBER, Label.CLEAR) is None
    assert declassify_grant(analyst(*two).credential, "a", Label.AMBER, Label.CLEAR) == two[1]


def test_no_part_of_it_is_lower_than_the_grant_goes_and_the_lowest_counts():
    """A part below the envelope's label cannot be had by the envelope's label being high."""
    who = analyst(*GRANTS)
    header, _ = draft(who, label=Label.GREEN, rules={"src_ip": Label.CLEAR}, relabels=Relabels(OLD, 0, Label.AMBER))
    assert lowest_label(header) is Label.CLEAR
    assert check_relabels(who.credential, header).code is Code.DECLASSIFY_DENIED
    header, _ = draft(who, label=Label.GREEN, rules={"src_ip": Label.AMBER}, relabels=Relabels(OLD, 0, Label.AMBER))
    assert check_relabels(who.credential, header) is None


def test_it_is_published_like_any_other_message():
    """The grant to declassify says nothing of severity, rate, or whom it is for."""
    assert judge(analyst(*GRANTS, publish=())).code is Code.PUBLISH_DENIED
    assert judge(analyst(*GRANTS), communities=("isac",)).code is Code.AUDIENCE_DENIED


def test_a_relay_re_issues_nothing_not_even_what_became_of_an_action():
    relay = AUTHORITY.issue("hq", NodeKind.RELAY)
    assert judge(relay, topic="resolutions.deny.ipv4_net").code is Code.DECLASSIFY_DENIED
    assert check_origin(relay.credential, draft(relay, topic="resolutions.deny.ipv4_net")[0]) is None


def test_the_log_has_who_lowered_what_and_nothing_of_what_is_in_it():
    who = analyst(*GRANTS)
    message = verified(who, label=Label.GREEN, relabels=Relabels(OLD, 3, Label.AMBER))
    (entry,) = told_of(message, "plant-1")
    assert (entry.kind, entry.who) == (kinds.MESSAGE_RELABELLED, "analyst-1")
    assert entry.fields == {
        "new": message.leaf, "old": OLD, "record": 3, "from": "amber", "to": "green", "link": "plant-1"
    }
    assert "link" not in told_of(message)[0].fields and told_of(verified(who)) == []
