"""Whose actions a ledger has: each credential is on its disk once, and known again where something of it is open."""

import pytest

from fabric.edge.ledger.requesters import Requesters
from fabric.protocol.core.ledger_ops import KeepCancelled, KeepIntent
from fabric.protocol.core.ready import KeepCredential
from fabric.protocol.envelope.header import Kind
from tests.support import T0, Authority, verified

AUTHORITY = Authority("requesters")
ONE, TWO, THREE = (AUTHORITY.issue(f"soar-{n}").credential for n in range(3))


class Trust:
    def __init__(self):
        self.restored = []

    def restore_credential(self, raw):
        self.restored.append(raw)


@pytest.fixture
def trust():
    return Trust()


def on_disk(credential):
    return KeepCredential(credential.digest, credential.raw)


def test_each_is_written_once_also_after_a_restart(trust):
    requesters = Requesters(trust)
    assert requesters.keep([ONE, TWO, ONE]) == [on_disk(ONE), on_disk(TWO)]
    assert requesters.keep([TWO, ONE]) == []
    again = Requesters(trust)
    again.restore([on_disk(ONE)], [])
    assert again.keep([ONE, TWO]) == [on_disk(TWO)]


def test_of_more_than_are_remembered_the_oldest_are_written_again(trust, monkeypatch):
    monkeypatch.setattr("fabric.edge.ledger.requesters.CREDENTIALS_CACHED_MAX", 2)
    requesters = Requesters(trust)
    requesters.keep([ONE, TWO])
    assert requesters.keep([ONE, TWO]) == [], "so many are remembered"
    requesters.keep([THREE])
    assert requesters.keep([TWO, THREE]) == [] and requesters.keep([ONE]) == [on_disk(ONE)]


def test_who_signed_what_is_open_or_cancelled_something_is_known_again_and_nobody_else(trust):
    member = AUTHORITY.issue("soar-0")
    action = verified(member, kind=Kind.ACTION, topic="deny.ipv4_net")
    intent = KeepIntent(action.id, T0, 0, T0, T0, (), action.raw)
    word = KeepCancelled(b"c" * 16, "soar-1", T0, TWO.digest, b"header")
    Requesters(trust).restore([word, *map(on_disk, (ONE, TWO, THREE)), intent], [intent])
    assert trust.restored == [ONE.raw, TWO.raw]
