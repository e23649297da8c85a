"""Attacks on approvals: by who carries them, by who asks, and by who approves."""

from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.layout import Approved, Kind, encode_envelope
from fabric.protocol.envelope.verify import RootCache, open_envelope
from fabric.protocol.relay.approving import fits
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Role
from tests import approving as cast
from tests.support import MINUTE_MS, T0, noise, verified
from tests.unit.test_approving import LEADS, SOAR, Stage, question


@pytest.fixture
def stage():
    return Stage()


def test_nothing_but_an_action_bears_approvals():
    event = verified(SOAR, kind=Kind.EVENT, topic="ids.alert", records=[{"n": 1}])
    borrowed = Approved(T0 + 10**9, T0, ("fw-7",), ((b"c", b"e"),))
    raw = encode_envelope(event.envelope._replace(approved=borrowed))
    found = open_envelope(raw, {SOAR.credential.digest: SOAR.credential}, RootCache())
    assert isinstance(found, Reject) and found.code is Code.MALFORMED


def test_an_approver_with_two_sessions_is_asked_once_in_each(stage):
    stage.talk.attach(
        stage.talk.connect(LEADS[0], Role.POINT, session=b"u" * 16), LEADS[0], "hq", session=b"u" * 16, epoch=2
    )
    stage.ask()
    stage.wait(5_000)
    assert [each["end"] for each in stage.told(LEADS[0])].count("approval") <= 2
    stage.wait(20_000)
    assert stage.told(LEADS[0]) == []


def test_an_approval_that_is_padded_counts_for_nothing_and_stops_nothing(stage):
    stage.ask()
    asked = question(stage.told(LEADS[0]))
    stage.approve(LEADS[0], asked, record={"pad": noise(1, 120_000)})
    stage.approve(LEADS[1], asked, record={"pad": noise(2, 120_000)})
    assert stage.told(LEADS[0])[-1]["code"] == Code.TOO_LARGE.label
    stage.approve(LEADS[2], asked)
    stage.approve(LEADS[1], asked, sequence=1)
    assert stage.handed()["fw-7"]


def cancel(stage, who, message, to, **more):
    stage.talk.send(stage.links[who.id], verified(
        who, kind=Kind.ACTION, topic="cancel.command", to=to, correlation=message.leaf, severity=Severity.HIGH,
        issued_at_ms=stage.talk.now_ms, sequence=8,
        records=[{"action": "cancel", "target": {"command": message.id.hex()}, "args": {}}], **more,
    ))


@pytest.mark.parametrize(
    "said", [{"label": Label.RED}, {"organisations": ("globex",)}], ids=["label", "audience"]
)
def test_an_approval_is_for_nobody_who_may_not_have_the_action(said):
    found = cast.judge().check(cast.approval(LEADS[0], **said), cast.HOLD.held_at_ms + MINUTE_MS)
    assert found.code is Code.BAD_APPROVAL


def test_only_those_approvals_go_along_that_made_the_quorum():
    again = [cast.approval(cast.member(f"ann-{n}", "ot-lead", "ann"), 1_000 + n) for n in range(30)]
    made = cast.judge().quorum([*again, cast.approval(LEADS[1])], cast.HOLD.held_at_ms + 2 * MINUTE_MS)
    assert len(made.approvals) == 2 and made.principals == ("ann", "bob")


def test_what_would_not_go_on_with_its_approvals_is_not_held():
    rule = replace(cast.RULE, require=8)
    names = [f"{n:04}-{'x' * 20}" for n in range(4_096)]
    assert fits(cast.ACTION, names[:1_500], rule) and not fits(cast.ACTION, names[:2_500], rule)
    assert fits(cast.ACTION, names[:3_000], cast.RULE)
