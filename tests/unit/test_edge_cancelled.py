"""What was cancelled before it came: by whom, where, and how much of that is remembered."""

import pytest

from fabric.edge.acting.cancelled import CANCELLED_MAX, Cancelled
from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import Grants, RequestGrant
from fabric.protocol.vocabulary.severity import Severity
from tests.support import T0, Authority, verified

AUTHORITY = Authority("cancelled")
DENY = RequestGrant("deny *", "all")
FW = AUTHORITY.issue("fw-1", tags=[("role", "firewall")]).credential
OWNER = AUTHORITY.issue("owner", grants=Grants(request=(DENY,)))
OTHER = AUTHORITY.issue("other", grants=Grants(request=(DENY,)))
CHIEF = AUTHORITY.issue("chief", grants=Grants(request=(DENY, RequestGrant("cancel *", "role=firewall"))))
ELSEWHERE = AUTHORITY.issue("elsewhere", grants=Grants(request=(DENY, RequestGrant("cancel *", "role=edr"))))
MILD = AUTHORITY.issue("mild", grants=Grants(request=(DENY, RequestGrant("cancel *", "all", Severity.LOW))))
ID = b"i" * 16


def by(member, **fields):
    """The action by which they cancel it."""
    return verified(
        member, kind=Kind.ACTION, topic=CANCEL, correlation=ID * 2,
        records=[{"action": "cancel", "target": {"command": ID.hex()}, "args": {}}],
        **{"to": "all", "severity": Severity.HIGH, **fields},
    )


@pytest.mark.parametrize(
    ("who", "fields", "is_cancelled"),
    [(OWNER, {}, True), (CHIEF, {}, True), (OTHER, {}, False), (ELSEWHERE, {}, False), (MILD, {}, False),
     (MILD, {"severity": Severity.LOW}, True), (OWNER, {"to": "role=edr"}, False)],
    ids=["its requester", "who may cancel here", "who may ask here", "who may cancel elsewhere", "too severe",
         "not too severe", "not selected"],
)
def test_it_counts_where_it_is_theirs_to_cancel(who, fields, is_cancelled):
    cancelled = Cancelled()
    cancelled.add(ID, by(who, **fields), T0)
    assert cancelled.has(ID, "owner", FW, T0 + 1) is is_cancelled
    assert not cancelled.has(b"j" * 16, "owner", FW, T0 + 1)


def test_who_may_not_cancel_it_undoes_no_word_of_who_may():
    cancelled = Cancelled()
    for who in (OWNER, OTHER):
        cancelled.add(ID, by(who), T0)
    assert cancelled.has(ID, "owner", FW, T0)


def test_who_cancels_much_makes_nothing_of_others_forgotten():
    cancelled = Cancelled()
    cancelled.add(ID, by(OWNER), T0)
    told = by(OTHER)
    for number in range(2 * CANCELLED_MAX):
        cancelled.add(number.to_bytes(16, "big"), told, T0)
    assert len(cancelled) <= CANCELLED_MAX // 2 + 1
    assert cancelled.has(ID, "owner", FW, T0)
    assert cancelled.has((2 * CANCELLED_MAX - 1).to_bytes(16, "big"), "other", FW, T0), "the oldest went"


def test_what_can_come_no_more_is_forgotten():
    cancelled, over_ms = Cancelled(), T0 + TTL_MAX_MS["action"]
    cancelled.add(ID, by(OWNER), T0)
    assert cancelled.has(ID, "owner", FW, over_ms - 1) and not cancelled.has(ID, "owner", FW, over_ms)
    cancelled.add(b"j" * 16, by(OWNER), over_ms)
    assert len(cancelled) == 1


def test_another_process_knows_what_was_written_of_it():
    first, second = Cancelled(), Cancelled()
    message = by(CHIEF)
    (kept,) = first.add(ID, message, T0)
    assert (kept.id, kept.by, kept.signer) == (ID, "chief", message.credential.digest)
    assert kept.until_ms == T0 + TTL_MAX_MS["action"] and len(kept.header) < len(message.raw)
    second.restore(kept, message.credential, T0 + 5)
    assert second.has(ID, "owner", FW, T0 + 5) and not second.has(b"j" * 16, "owner", FW, T0 + 5)
    second.restore(kept._replace(id=b"j" * 16, header=b"?"), message.credential, T0 + 5)
    assert len(second) == 1, "what cannot be read is nobody's word"


def test_what_is_written_is_as_much_as_is_remembered():
    cancelled, disk = Cancelled(), {}
    for number in range(2 * CANCELLED_MAX):
        for op in cancelled.add(number.to_bytes(16, "big"), by(OTHER if number % 3 else OWNER), T0):
            if op.header:
                disk[op.id, op.by] = op
            else:
                del disk[op.id, op.by]
        assert len(disk) == len(cancelled)
    again = Cancelled()
    for op in disk.values():
        again.restore(op, OWNER.credential if op.by == "owner" else OTHER.credential, T0)
    assert len(again) == len(cancelled)
