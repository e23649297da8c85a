"""When a control point ranks again, by hand: addresses and round trips are the tests' to say."""

import ipaddress
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fabric.edge.discovery.nearby import AGAIN_MS, LOOK_MS, Nearby
from fabric.edge.discovery.nearest import DIALLED_MAX
from fabric.edge.identity.identity import Identity, own_directory
from fabric.protocol.trust.directory import RelayDirectory, issue_directory, verify_directory
from fabric.protocol.trust.revocations import Revocations
from tests.support import DAY_MS, FABRIC, T0, Authority
from tests.unit.test_nearest import CELL, HQ, OFFICE, OT, relay

AUTHORITY = Authority("nearby")
ALL = (HQ, OT, CELL, OFFICE)


def directory(version, relays=ALL):
    raw = issue_directory(FABRIC, version, T0, T0 + DAY_MS, relays, AUTHORITY.signer)
    found = verify_directory(raw, AUTHORITY.key, FABRIC)
    assert isinstance(found, RelayDirectory)
    return found


@dataclass
class Around:
    """A machine: where it is, and what is measured, once `may_measure` is set."""

    folder: Path
    own: tuple = ()
    trips: dict = field(default_factory=dict)
    directory: RelayDirectory = field(default_factory=lambda: directory(1))
    revocations: Revocations = field(default_factory=Revocations)
    connected: bool = True

    def __post_init__(self):
        self.now_ms = T0
        self.measured = 0
        self.may_measure, self.woken = threading.Event(), threading.Event()
        member = AUTHORITY.issue("laptop")
        identity = Identity(FABRIC, "laptop", AUTHORITY.key, member.credential, self.folder)
        self.nearby = Nearby(identity, self.woken.set, self.addresses, self.measure)

    def addresses(self, _candidates):
        return tuple(map(ipaddress.ip_address, self.own))

    def measure(self, candidates):
        self.measured += 1
        assert self.may_measure.wait(5)
        return {address: self.trips[address] for address in candidates if address in self.trips}

    def look(self, after_ms=LOOK_MS):
        self.now_ms += after_ms
        order = self.nearby.look(
            self.now_ms, (self.now_ms,), self.directory, self.revocations, connected=self.connected
        )
        return order and ([ranked.relay.id for ranked in order.relays], order.moved)

    def look_when_measured(self):
        self.may_measure.set()
        assert self.woken.wait(5)
        self.woken.clear()
        return self.look(1)


@pytest.fixture
def around(tmp_path):
    made = Around(tmp_path)
    yield made
    made.may_measure.set()


def test_an_own_network_decides_without_waiting_for_what_is_measured(around):
    around.own = ("10.1.7.9",)
    assert around.look() == (["cell", "ot", "hq", "office"], True)
    around.trips = {"office:7700": 1.0}
    assert around.look_when_measured() == (["cell", "ot", "office", "hq"], False), "its backups, in a better order"
    assert around.look() is None


def test_otherwise_what_is_measured_is_waited_for(around):
    around.trips = {"office:7700": 1.0, "hq:7700": 9.0}
    assert around.look() is None and around.look() is None
    assert around.look_when_measured() == (["office", "hq", "ot", "cell"], True)


def test_another_address_ranks_again_and_nothing_else_within_two_seconds(around):
    around.own = ("10.1.7.9",)
    around.look()
    around.look_when_measured()
    around.own = ("10.2.0.9",)
    assert around.look(LOOK_MS - 2) is None
    assert around.look(2) == (["office", "hq", "ot", "cell"], True)


def test_another_address_in_the_same_place_changes_nothing(around):
    around.own = ("10.1.7.9",)
    around.look()
    around.look_when_measured()
    around.own = ("10.1.7.10",)
    assert around.look() is None and around.look_when_measured() is None


def test_a_newer_directory_ranks_again_without_haste(around):
    around.own = ("10.1.7.9",)
    around.look()
    around.look_when_measured()
    around.directory = directory(2, [*ALL, relay("new", "10.1.7.0/28")])
    assert around.look() == (["new", "cell", "ot", "hq", "office"], False)


def test_who_is_revoked_meanwhile_is_left_out(around):
    around.own = ("10.1.7.9",)
    around.look()
    around.look_when_measured()
    around.revocations = Revocations(1, ids=frozenset({"cell"}))
    assert around.look() == (["ot", "hq", "office"], False)


def test_a_little_quicker_the_next_time_moves_nobody(around):
    around.trips = {"office:7700": 1.0, "hq:7700": 1.1}
    around.look()
    around.look_when_measured()
    around.trips = {"office:7700": 1.1, "hq:7700": 1.0}
    for _ in range(20):
        assert around.look() is None
    assert around.measured == 1


def test_without_a_relay_it_measures_again_after_a_while(around):
    around.connected = False
    around.look()
    assert around.look_when_measured() == (["hq", "ot", "cell", "office"], True), "nobody answers"
    around.trips = {"office:7700": 1.0}
    for _ in range(AGAIN_MS // LOOK_MS + 1):
        around.look()
    assert around.measured == 2
    assert around.look_when_measured() == (["office", "hq", "ot", "cell"], False)


def test_what_was_measured_elsewhere_is_measured_again(around):
    around.trips = {"office:7700": 1.0}
    around.look()
    around.own = ("192.0.2.7",)
    around.look()
    assert around.look_when_measured() is None, "that was of where it had been"
    assert around.look_when_measured() == (["office", "hq", "ot", "cell"], True)


def test_without_anybody_who_may_serve_that_is_said_too(around):
    around.directory = RelayDirectory()
    around.look()
    assert around.look_when_measured() == ([], True)
    around.directory = directory(1)
    around.own = ("10.1.8.9",)
    assert around.look() == (["ot", "hq", "cell", "office"], True)


def test_the_number_of_relays_is_bounded(around):
    around.own = ("10.1.7.9",)
    around.directory = directory(2, [*ALL, *[relay(f"more-{n}") for n in range(20)]])
    ids, _ = around.look()
    assert len(ids) == DIALLED_MAX and ids[:2] == ["cell", "ot"]


def test_a_newer_directory_is_kept_for_the_next_start(around):
    (around.folder / "directory").write_bytes(around.directory.raw)
    assert around.nearby.of_folder() == around.directory
    around.look()
    around.directory = directory(2, ALL[:2])
    around.look()
    assert own_directory(around.folder) == around.directory.raw
    around.directory = directory(1)
    around.look()
    assert own_directory(around.folder) == directory(2, ALL[:2]).raw


def test_a_folder_that_cannot_be_written_disturbs_nothing(around):
    around.own = ("10.1.7.9",)
    around.nearby._identity = Identity(
        FABRIC, "laptop", AUTHORITY.key, around.nearby._identity.credential, around.folder / "missing"
    )
    assert around.look()[0][0] == "cell" and around.nearby.not_kept == "FileNotFoundError"


@pytest.mark.parametrize("raw", [b"", b"nonsense"])
def test_what_is_no_directory_in_the_folder_is_none(around, raw):
    (around.folder / "directory").write_bytes(raw)
    assert around.nearby.of_folder() == RelayDirectory()


def test_it_says_who_is_cleared_for_less(around):
    around.own = ("10.1.7.9",)
    assert not around.nearby.is_cleared_for_less("ot"), "it does not know yet"
    around.look()
    assert around.nearby.is_cleared_for_less("ot") and not around.nearby.is_cleared_for_less("nobody"), "RED and AMBER"
