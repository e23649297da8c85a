"""Who executes below a relay, here or away."""

from collections import Counter

import pytest

from fabric.protocol.base.limits import MEMBER_KEEP_MS, SKEW_MS
from fabric.protocol.core.ready import KeepMember, Ready
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.trust.store import TrustStore
from tests.support import DAY_MS, HOUR_MS, T0, Authority

AUTHORITY = Authority("roster")
ME, DMZ = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "dmz"))
DENIES = Grants(execute=("deny *",))
WALL, OTHER = (AUTHORITY.issue(name, grants=DENIES) for name in ("fw-1", "fw-2"))


def statement(member, epoch=1, relay="hq", session=bytes(16), *, executes=True):
    raw = sign_attachment(member.credential, member.signer, session, relay, epoch, executes, ())
    return open_attachment(raw, {member.credential.digest: member.credential})


class Stage:
    def __init__(self):
        self.counted = Counter()
        self.trust = TrustStore(ME.credential, AUTHORITY.key, SKEW_MS)
        time = Timekeeper(ME.credential, SKEW_MS, lambda *_: None, has_parents=False)
        self.routes = RouteTable("hq")
        self.roster = Roster(self.trust, time, self.routes, SKEW_MS, lambda *what: self.counted.update([what]))
        self.disk = []

    def below(self, member, epoch, now_ms=T0, relay="hq", session=bytes(16)):
        """It says that it executes, here or below the child; whether it is believed."""
        said = statement(member, epoch, relay, session)
        self.routes.put(said)
        ready = Ready()
        self.roster.saw(said, now_ms, ready)
        self.disk += ready.persist
        return self.roster.executor(member.id, now_ms) is said

    def restarted(self, now_ms):
        again = Stage()
        for op in {op.node: op for op in self.disk}.values():
            again.roster.restored(op, now_ms)
        again.tick(now_ms)
        return again

    def saw(self, member, now_ms=T0):
        ready = Ready()
        self.roster.saw(statement(member), now_ms, ready)
        self.disk += ready.persist
        return len(ready.persist)

    def tick(self, now_ms):
        ready = Ready()
        self.roster.tick(now_ms, ready)
        self.disk += ready.persist

    def names(self, now_ms=T0):
        return [credential.id for credential in self.roster.members(now_ms)]


@pytest.fixture
def stage():
    return Stage()


def test_who_said_that_it_executes_is_known(stage):
    assert stage.names() == []
    stage.saw(WALL)
    stage.saw(OTHER)
    assert stage.names() == ["fw-1", "fw-2"]
    assert stage.disk[0] == KeepMember("fw-1", WALL.credential.raw, T0, 1)


def test_those_who_are_meant_are_told(stage):
    stage.saw(WALL)
    stage.saw(OTHER)
    meant = stage.roster.members(T0, is_meant=lambda node: node.id != "fw-1")
    assert [node.id for node in meant] == ["fw-2"]
    assert [node.id for node in stage.roster.members(T0, {"fw-2"})] == ["fw-1"]


def test_it_is_written_once_a_day_or_when_its_credential_is_another(stage):
    assert stage.saw(WALL) == 1
    assert stage.saw(WALL, T0 + HOUR_MS) == 0
    assert stage.saw(WALL, T0 + DAY_MS) == 1
    renewed = AUTHORITY.issue("fw-1", serial=2, grants=DENIES)
    assert stage.saw(renewed, T0 + DAY_MS) == 1
    assert [credential.serial for credential in stage.roster.members(T0 + DAY_MS)] == [2]


def test_it_is_known_after_a_restart(stage):
    stage.saw(WALL)
    again = Stage()
    for op in stage.disk:
        again.roster.restored(op, T0 + HOUR_MS)
    assert again.names() == ["fw-1"]


@pytest.mark.parametrize("credential", [b"", b"no credential", Authority("elsewhere").issue("fw-1").credential.raw])
def test_what_cannot_be_believed_is_not_taken_back(stage, credential):
    stage.roster.restored(KeepMember("fw-1", credential, T0), T0)
    assert stage.names() == [] and len(stage.roster) == 0


def test_who_is_revoked_is_no_member_from_that_moment_and_is_forgotten(stage):
    stage.saw(WALL)
    raw = issue_revocations("acme", 1, T0, T0 + DAY_MS, ["fw-1"], AUTHORITY.signer)
    stage.trust.take_revocations(stage.trust.read_revocations(raw))
    assert stage.names() == []
    stage.tick(T0 + HOUR_MS)
    assert len(stage.roster) == 0 and stage.disk[-1] == KeepMember("fw-1", b"", 0)


def test_who_was_not_seen_for_long_is_forgotten(stage):
    stage.saw(WALL)
    stage.saw(OTHER, T0 + DAY_MS)
    stage.tick(T0 + MEMBER_KEEP_MS + HOUR_MS)
    assert [op for op in stage.disk if not op.credential] == [KeepMember("fw-1", b"", 0)]
    assert len(stage.roster) == 1


@pytest.mark.parametrize("days", [31, 400, -400, -20_000])
def test_a_root_whose_clock_is_wrong_at_its_start_forgets_nobody(stage, days):
    """Nobody is above it to tell the time: 31 days ahead it took everybody for gone who was not there at once."""
    short = AUTHORITY.issue("fw-3", grants=DENIES, not_before_ms=T0 - DAY_MS, not_after_ms=T0 + 20 * DAY_MS)
    for member in (WALL, short):
        stage.saw(member)
    again = stage.restarted(T0 + days * DAY_MS)
    again.tick(T0 + days * DAY_MS + 20 * HOUR_MS)
    assert [op for op in again.disk if not op.credential] == [] and len(again.roster) == 2
    again.disk = stage.disk + again.disk
    assert len(again.restarted(T0).roster) == 2, "and a right clock finds both"


def test_what_counts_is_how_long_the_relay_ran_also_over_restarts(stage):
    stage.saw(WALL)
    now_ms = T0
    for _ in range(40):  # it is off for a week after each day
        stage.below(OTHER, 1, now_ms)
        for _ in range(24):
            now_ms += HOUR_MS
            stage.tick(now_ms)
        if "fw-1" not in stage.names(now_ms):
            break
        now_ms += 7 * DAY_MS
        disk = stage.disk
        stage = stage.restarted(now_ms)
        stage.disk = disk + stage.disk
    assert stage.names(now_ms) == ["fw-2"]
    ran = [op for op in stage.disk if op.node == "fw-2"][-1].seen_ms - T0
    assert MEMBER_KEEP_MS - DAY_MS <= ran <= MEMBER_KEEP_MS + 2 * DAY_MS


def test_an_older_statement_is_believed_from_its_own_link_only(stage):
    stage.routes.put(statement(DMZ, executes=False))
    assert stage.below(WALL, T0 - HOUR_MS, relay="hq")
    stage.routes.forget(stage.routes.executor("fw-1"))
    assert stage.below(WALL, T0, T0, "dmz")
    stage.routes.forget(stage.routes.executor("fw-1"))
    assert not stage.below(WALL, T0 - HOUR_MS, T0, "dmz", b"o" * 16), "the child repeats it"
    stage.routes.forget(stage.routes.executor("fw-1"))
    assert stage.below(WALL, T0 - SKEW_MS, T0, "dmz", b"n" * 16), "its clock was set back a little, and it began anew"
    stage.routes.forget(stage.routes.executor("fw-1"))
    assert stage.below(WALL, T0 - HOUR_MS, T0, "hq", b"h" * 16), "it is here itself"


def test_who_once_spoke_of_the_future_is_believed_when_its_clock_is_right(stage):
    assert stage.below(WALL, T0 + 400 * DAY_MS)
    stage.routes.forget(stage.routes.executor("fw-1"))
    stage.routes.put(statement(DMZ, executes=False))
    assert stage.below(WALL, T0 + HOUR_MS, T0 + HOUR_MS, "dmz", b"n" * 16)
    assert stage.roster.executor("fw-1", T0 + 9 * HOUR_MS) is not None, "and stays so"


def test_the_room_is_bounded_and_whoever_finds_none_is_counted(stage, monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.below.roster.MEMBERS_MAX", 4)
    stage = Stage()
    assert [stage.saw(AUTHORITY.issue(f"fw-{n}", grants=DENIES)) for n in range(4)] == [1, 1, 0, 0]
    assert stage.counted["roster", "no_room"] == 2
