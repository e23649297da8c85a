"""What of a message may be held by whom: the component alone."""

from dataclasses import replace

import pytest

from fabric.protocol.access.permissions import may_know
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.outbox import Held
from fabric.protocol.envelope.header import Encoding
from fabric.protocol.links.release import Release
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction
from tests.support import DAY_MS, FABRIC, MINUTE_MS, T0, Authority, verified

AUTHORITY = Authority("release")
ME, GREEN = AUTHORITY.issue("mid", NodeKind.RELAY), AUTHORITY.issue("low", NodeKind.RELAY, clearance=Label.GREEN)
ZEEK = AUTHORITY.issue("zeek-1")


class Stage:
    def __init__(self):
        self.counters = Counters()
        self.trust = TrustStore(ME.credential, AUTHORITY.key, SKEW_MS)
        time = Timekeeper(ME.credential, SKEW_MS, self.counters.count, has_parents=False)
        self.release = Release(self.trust, time, SKEW_MS, self.counters)

    def revoke(self, *ids):
        raw = issue_revocations(FABRIC, 1, T0, T0 + DAY_MS, list(ids), AUTHORITY.signer)
        assert self.trust.take_revocations(self.trust.read_revocations(raw))


@pytest.fixture
def stage():
    return Stage()


def held(message, age_ms=0):
    return Held(message, Direction.UP, message.header.lane, age_ms, T0, T0 + MINUTE_MS, ())


def test_a_holder_gets_the_parts_that_it_may_have(stage):
    whole = verified(ZEEK, records=[{"a": 1, "b": 2}], rules={"a": Label.AMBER})
    green = stage.release.strip(whole, GREEN.credential)
    assert green.withheld and green.id == whole.id and stage.counters["stripped:amber"] == 1
    assert stage.release.strip(green, GREEN.credential) is green and stage.counters["stripped:amber"] == 1
    assert stage.release.strip(whole, ME.credential).raw == whole.raw


def test_what_is_above_a_holder_is_withheld_from_it(stage):
    refused = stage.release.strip(verified(ZEEK, label=Label.AMBER), GREEN.credential)
    assert refused.code is Code.WITHHELD and stage.counters["withheld:amber"] == 1


def test_what_is_over_is_so_by_its_age_and_by_the_time(stage):
    message = verified(ZEEK, ttl_ms=MINUTE_MS)
    assert stage.release.why_over(held(message), T0) is None
    assert stage.release.why_over(held(message, MINUTE_MS), T0).code is Code.EXPIRED
    assert stage.release.why_over(held(message), T0 + MINUTE_MS).code is Code.EXPIRED
    assert not stage.release.is_expired(message, 0, T0) and stage.release.is_expired(message, MINUTE_MS, T0)


def test_that_its_origin_was_revoked_comes_before_its_time(stage):
    stage.revoke("zeek-1")
    assert stage.release.why_over(held(verified(ZEEK), DAY_MS), T0).code is Code.REVOKED
    assert stage.release.why_over(held(verified(replace(GREEN))), T0) is None


# -- what is sealed -------------------------------------------------------------------------------------------

LEAD, ANALYST = AUTHORITY.issue("lead-1"), AUTHORITY.issue("analyst-1")
CARRIER = AUTHORITY.issue("dmz", NodeKind.RELAY, clearance=Label.CLEAR, organisation="guard", carries_sealed=True)


def sealed(**fields):
    return verified(ZEEK, sealed_to=(ZEEK, LEAD), **fields)


def test_of_a_field_that_is_sealed_relays_get_what_they_may_carry(stage):
    whole = sealed(records=[{"a": 1, "b": 2}], rules={"a": Label.RED}, label=Label.CLEAR)
    for holder in (ME, CARRIER, LEAD, ZEEK):
        assert stage.release.strip(whole, holder.credential) is whole, holder.id
    for holder in (GREEN, ANALYST):
        stripped = stage.release.strip(whole, holder.credential)
        assert [part is None for part in stripped.envelope.parts] == [False, True], holder.id


def test_who_carries_it_may_know_of_what_is_red_itself_and_no_reader_may(stage):
    whole = sealed(records=[{"a": 1}], label=Label.RED)
    for holder in (ME, CARRIER, LEAD):
        assert stage.release.strip(whole, holder.credential) is whole, holder.id
    for holder in (GREEN, ANALYST):
        assert stage.release.strip(whole, holder.credential).code is Code.WITHHELD, holder.id


def test_what_is_red_and_not_sealed_nobody_carries(stage):
    plain = verified(ZEEK, label=Label.RED, recipients=("zeek-1", "lead-1"))
    for holder in (ME, CARRIER, ANALYST):
        assert stage.release.strip(plain, holder.credential).code is Code.WITHHELD, holder.id
    assert stage.release.strip(plain, LEAD.credential) is plain


def test_a_message_that_is_sealed_in_part_only_is_no_more_known_than_before(stage):
    """Its own label is RED, and a part of it lies open."""
    entries = sealed(records=[{"a": 1}], label=Label.RED).header.manifest
    open_too = (*entries, entries[0]._replace(encoding=Encoding.PLAIN))
    for manifest, known in ((entries, True), (open_too, False), ((), False)):
        header = replace(sealed(label=Label.RED).header, manifest=manifest)
        assert may_know(CARRIER.credential, header) is known
