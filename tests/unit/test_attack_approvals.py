"""Attacks on approvals: by who carries them, by who asks, and by who approves."""


import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.layout import Approved, Kind, encode_envelope
from fabric.protocol.envelope.verify import RootCache, open_envelope
from fabric.protocol.wire.frames import Role
from tests.support import T0, verified
from tests.unit.test_approving import LEADS, SOAR, Stage


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


