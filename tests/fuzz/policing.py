"""Approval policies and approvals: whatever they say, one rule decides, and one person is never a quorum of two."""

from __future__ import annotations

from functools import cache

import msgpack

from fabric.protocol.access.approvals import approval_record, read_approval
from fabric.protocol.access.quorum import Quorum
from fabric.protocol.base import signing
from fabric.protocol.base.errors import Reject
from fabric.protocol.base.signed import seal_document
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.trust.policies import (
    Asked,
    Policies,
    demand_among,
    demand_of,
    issue_policies,
    verify_policies,
)
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests import approving
from tests.approving import ACTION, CISO, HOLD, LEADS, POLICIES, RULE, SOAR
from tests.fuzz.cast import AUTHORITY, PLAYERS, policy_books
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.support import FABRIC, MINUTE_MS, T0, message

_ASKED = [
    Asked("deny", "ipv4_net", Label.CLEAR, Severity.UNKNOWN), Asked("x-isolate", "ipv4_net", Label.RED, Severity.FATAL),
    Asked("scan", "ipv4_net", Label.AMBER, Severity.MEDIUM),
]
_TARGETS = [player.credentials[0] for player in PLAYERS[:6]]


def policies(dice: Dice) -> bytes:
    raw = dice.choice(policy_books())
    if dice.one_in(4):
        return dice.near(raw)
    body = msgpack.unpackb(raw)[0]
    return seal_document(signing.TYPE_POLICIES, body if dice.one_in(8) else dice.near(body), AUTHORITY.signer)


def read_policies(raw: bytes) -> None:
    read = verify_policies(raw, AUTHORITY.key, FABRIC)
    if isinstance(read, Reject):
        return
    for asked in _ASKED:
        decides = demand_of(read, asked, _TARGETS)
        for target in _TARGETS:
            own = demand_of(read, asked, [target])
            if own is not None:
                assert decides is not None and decides.demand <= own.demand, "a target alone asks for more than all"
                there = demand_among(read, asked, [target], read.rules[-1].name)
                assert there is not None and there.demand <= own.demand, "an executor asks for less than its own rule"
    again = issue_policies(FABRIC, read.version, read.issued_at_ms, read.rules, read.classes, AUTHORITY.signer)
    found = verify_policies(again, AUTHORITY.key, FABRIC)
    assert isinstance(found, Policies) and {rule.name for rule in found.rules} == {rule.name for rule in read.rules}


@cache
def _known() -> dict[bytes, object]:
    return {who.credential.digest: who.credential for who in (*LEADS, CISO, SOAR)}


def approval(dice: Dice) -> bytes:
    """One approver's, mostly of the action that is held, and something in it is otherwise."""
    who = dice.choice((*LEADS, CISO, SOAR))
    said = approval_record(HOLD, RULE.name, POLICIES, approves=dice.one_in(2))
    record = said if dice.one_in(8) else dice.changed(said)
    header = {
        "kind": Kind.APPROVAL, "topic": ACTION.header.topic, "correlation": ACTION.leaf, "label": Label.GREEN,
        "issued_at_ms": HOLD.held_at_ms + dice.choice((0, MINUTE_MS, 6 * MINUTE_MS)), "ttl_ms": MINUTE_MS,
    }
    raw = message(who, records=[record if isinstance(record, dict) else {"x": 1}], **header)
    return dice.near(raw) if dice.one_in(4) else raw


def read_an_approval(raw: bytes) -> None:
    opened = open_envelope(raw, _known(), RootCache())
    if not isinstance(opened, Verified):
        return
    read_approval(opened)
    made = approving.judge().quorum([opened] * 3, T0 + 7 * MINUTE_MS)
    if isinstance(made, Quorum):
        assert made.escalated and made.principals == ("eve",), "one person is a quorum of two"


TARGETS = (
    Bytes("policies", policies, read_policies),
    Bytes("approval", approval, read_an_approval),
)
