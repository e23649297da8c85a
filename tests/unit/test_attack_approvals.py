"""Attacks on approvals: by who carries them, by who asks, and by who approves."""


import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.layout import Approved, Kind, encode_envelope
from fabric.protocol.envelope.verify import RootCache, open_envelope
from tests.support import T0, verified
from tests.unit.test_approving import SOAR, Stage


@pytest.fixture
def stage():
    return Stage()


def test_nothing_but_an_action_bears_approvals():
    event = verified(SOAR, kind=Kind.EVENT, topic="ids.alert", records=[{"n": 1}])
    borrowed = Approved(T0 + 10**9, T0, ("fw-7",), ((b"c", b"e"),))
    raw = encode_envelope(event.envelope._replace(approved=borrowed))
    found = open_envelope(raw, {SOAR.credential.digest: SOAR.credential}, RootCache())
    assert isinstance(found, Reject) and found.code is Code.MALFORMED


