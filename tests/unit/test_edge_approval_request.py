"""How what a relay asks an approver is read: as it was signed by its requester, or not at all."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.approving.request import ApprovalRequest, read_request
from fabric.edge.messages import messages_of
from fabric.protocol.access.approvals import Hold
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope
from fabric.protocol.trust.policies import Escalation
from fabric.protocol.vocabulary.openc2 import class_of
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.approving import ACTION, HOLD, POLICIES, SOAR, action
from tests.edge_approving import NOW, asked, said, without_its_action
from tests.support import MINUTE_MS, verified

RAW = ACTION.raw
PART = ACTION.envelope.parts[0]


def read(record, now_ms=NOW, fabric_ms=NOW, **how):
    message = record if not isinstance(record, dict) else said(record, **how)
    (found,) = messages_of(Delivery(message, 0, ()))
    return read_request(message, found, now_ms, fabric_ms, class_of)


def test_it_says_all_that_is_signed():
    request = read(asked(approved_by=["bob"]))
    assert isinstance(request, ApprovalRequest)
    assert (request.id, request.text) == (ACTION.leaf.hex(), "deny ipv4_net=203.0.113.9")
    assert (request.requester, request.to, request.targets) == ("soar-1", "role=firewall", ("fw-7", "fw-8"))
    assert (request.class_, request.severity, request.label) == ("contain", Severity.HIGH, Label.GREEN)
    assert (request.rule, request.require, request.roles) == ("ot", 2, ("ot-lead",))
    assert request.escalation == Escalation(5 * MINUTE_MS, ("ciso",), 1)
    assert request.policies == (POLICIES.version, POLICIES.digest) and request.approved_by == ("bob",)
    assert request.by == "hq" and not request.withheld
    plain = request.to_json()
    assert plain["target"] == {"ipv4_net": "203.0.113.9"} and plain["policies_digest"] == POLICIES.digest.hex()


def test_it_bears_the_label_of_all_that_is_shown_of_it():
    """A field of the action may be above its envelope."""
    one = action(rules={"target": Label.AMBER})
    hold = Hold(one, HOLD.targets, HOLD.held_at_ms)
    request = read(said(asked(hold), hold=hold))
    assert request.target.value == "203.0.113.9" and request.label is Label.AMBER
    assert request.to_json()["label"] == "amber"


def test_until_when_is_by_this_machine_s_clock():
    request = read(asked(), now_ms=NOW + 7_000_000, fabric_ms=NOW)
    assert request.until_ms == HOLD.held_at_ms + 10 * MINUTE_MS + 7_000_000


def test_a_rule_without_escalation():
    assert read(asked(escalation=[])).escalation is None and read(asked(escalation=None)).escalation is None


def test_of_what_is_withheld_its_topic_is_known():
    request = read(without_its_action(said(asked(), rules={"action": Label.RED})))
    assert request.withheld and request.header is None and request.target is None
    assert (request.id, request.text, request.targets) == (
        ACTION.leaf.hex(), "deny ipv4_net (withheld)", ("fw-7", "fw-8")
    )


def edited(part):
    envelope = decode_envelope(RAW)
    return encode_envelope(envelope._replace(parts=(part,)))


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", Code.MALFORMED), ("text", Code.MALFORMED), (RAW[:-3], Code.MALFORMED),
        (action(sequence=5).raw, Code.BAD_DIGEST),
        (edited(None), Code.BAD_DIGEST), (edited(PART[:-1] + bytes([PART[-1] ^ 1])), Code.BAD_DIGEST),
    ],
)
def test_an_action_that_is_not_the_one_that_was_asked_for_is_not_shown(raw, code):
    assert read(asked(action=raw)).code is code


def about(message):
    return Hold(message, HOLD.targets, HOLD.held_at_ms)


def test_what_is_no_action_is_not_shown():
    hold = about(verified(SOAR, kind=Kind.RESULT, topic="deny.ipv4_net", to="fw-7", severity=Severity.HIGH))
    assert read(asked(hold), hold=hold).code is Code.BAD_DIGEST


def test_a_result_that_contradicts_its_action_is_not_shown():
    assert read(asked(), topic="scan.ipv4_net").code is Code.MALFORMED
    assert read(asked(), label=Label.CLEAR).code is Code.MALFORMED
    assert read(asked(), organisations=("other",)).code is Code.MALFORMED
    assert read(asked(), correlation=b"").code is Code.BAD_DIGEST


@pytest.mark.parametrize(
    "body",
    [{"action": "scan", "target": {"ipv4_net": "203.0.113.9"}}, {"action": "deny", "target": {"ipv4_net": "x"}},
     {"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": [1]}, {}],
)
def test_a_body_that_is_none_is_not_shown(body):
    hold = about(verified(
        SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.HIGH, records=[body]
    ))
    assert read(asked(hold), hold=hold).code is Code.BAD_ACTION


@pytest.mark.parametrize(
    "record",
    [
        {"targets": None}, {"targets": []}, {"targets": ["fw-7", "fw-7"]}, {"targets": ["\x1b[2J"]}, {"targets": [7]},
        {"targets": [f"fw-{n}" for n in range(4_097)]}, {"held_at": -1}, {"held_at": True}, {"within_ms": 0},
        {"within_ms": 86_400_001}, {"rule": "two words"}, {"rule": None}, {"require": 0}, {"require": 9},
        {"require": "2"}, {"roles": ["x"] * 17}, {"roles": [""]}, {"roles": [1]}, {"escalation": [1]},
        {"escalation": [0, ["ciso"], 1]}, {"escalation": "no"}, {"policies": 0}, {"policies_digest": "00"},
        {"policies_digest": "x" * 64}, {"approved_by": ["x"] * 65}, {"approved_by": "ann"},
    ],
)
def test_terms_that_are_none_are_not_shown(record):
    content = asked() | record
    assert read({name: value for name, value in content.items() if value is not None}).code is Code.MALFORMED


def test_a_terminal_obeys_nobody_s_words():
    request = read(asked(roles=["ot\x1b[2J"], approved_by=["ann\n"]))
    assert request.roles == ("ot?[2J",) and request.approved_by == ("ann?",)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-2**40, 2**40) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(asked())), junk)
def test_whatever_a_relay_says_nothing_is_raised(name, value):
    message = said(asked())
    (found,) = messages_of(Delivery(message, 0, ()))
    content = {**found.content, name: value}
    got = read_request(message, replace(found, content=content), NOW, NOW, class_of)
    assert isinstance(got, ApprovalRequest | Reject)
