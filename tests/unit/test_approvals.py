"""What an approval says, as it was signed."""

import pytest

from fabric.protocol.access.approvals import approval_record, asked_of, principal_of, read_approval, targets_digest
from fabric.protocol.base.errors import Code
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.policies import Asked
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.approving import ACTION, HOLD, LEADS, POLICIES, SOAR, approval
from tests.support import MINUTE_MS, T0


def test_what_was_signed_is_read_again():
    read = read_approval(approval(LEADS[0], record={"why": "seen it"}))
    assert (read.action, read.approves, read.rule, read.policies) == (ACTION.leaf, True, "ot", 3)
    assert (read.policies_digest, read.targets) == (POLICIES.digest, targets_digest(["fw-8", "fw-7"]))
    assert (read.held_at_ms, read.at_ms, read.why) == (T0 + 1_000, T0 + 1_000 + MINUTE_MS, "seen it")
    assert read.approver == LEADS[0].credential
    assert not read_approval(approval(LEADS[0], approves=False)).approves


@pytest.mark.parametrize(
    "record",
    [
        {"decision": "yes"}, {"decision": None}, {"rule": 1}, {"policies": True}, {"policies": -1}, {"policies": "3"},
        {"policies_digest": "00"}, {"policies_digest": "G" * 64}, {"targets": b"x" * 32},
        {"targets": targets_digest(["fw-7"]).hex().upper()}, {"held_at": False}, {"held_at": None}, {"why": 1},
        {"why": "x" * 513},
    ],
)
def test_another_form_is_none(record):
    assert read_approval(approval(LEADS[0], record=record)).code is Code.BAD_APPROVAL


def test_what_a_later_version_adds_is_ignored():
    assert read_approval(approval(LEADS[0], record={"more": [1]})).approves


@pytest.mark.parametrize("header", [{"kind": Kind.EVENT, "topic": "detections.x"}, {"correlation": b""}])
def test_what_is_no_approval_of_anything_is_refused(header):
    assert read_approval(approval(LEADS[0], **header)).code is Code.BAD_APPROVAL


def test_targets_are_the_same_in_any_order_and_no_others():
    assert targets_digest(["b", "a", "a"]) == targets_digest(["a", "b"])
    assert len({targets_digest(ids) for ids in ([], ["a"], ["a", "b"], ["ab"], ["a/b"])}) == 5


def test_who_names_no_principal_counts_as_itself():
    assert [principal_of(one.credential) for one in (*LEADS, SOAR)] == ["ann", "bob", "lead-3", "kim"]


def test_policies_ask_of_an_action_what_its_header_says():
    assert asked_of(ACTION.header) == Asked("deny", "ipv4_net", Label.GREEN, Severity.HIGH)
    assert "why" not in approval_record(HOLD, "ot", POLICIES, approves=True)
