"""The lowest version of the protocol that a fabric allows: signed with the revocation list, kept to on every link."""

import pytest

from fabric.edge.identity.home import revocations_path
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import STALL_MS
from fabric.protocol.core.ready import Disconnected, LinkUp, Ready, Tick
from fabric.protocol.links import handshake, opening
from fabric.protocol.links.handshake import check_floor, negotiate
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.wire.codec import decode_frame
from fabric.protocol.wire.frames import Hello, Lists, Refused, Role, Welcome
from relays.authority import allow_from, init_authority, keep_list, lists, revoke
from relays.authority.lists import read_revocations
from relays.cli.tree import versions
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, FABRIC, T0, Authority, entropy

AUTHORITY = Authority("floor")
ME, OLD, NEW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "old", "new"))
ANN = AUTHORITY.issue("ann", grants=EVERYTHING)


@pytest.fixture(autouse=True)
def both_versions(monkeypatch):
    """This node speaks a second version; whom it talks to may not."""
    for module in (handshake, opening):
        monkeypatch.setattr(module, "PROTOCOL_VERSIONS", (1, 2))


def list_of(version, floor):
    return issue_revocations(FABRIC, version, T0, T0 + DAY_MS, [], AUTHORITY.signer, 0, floor)


class Root(Conversation):
    def __init__(self, version=0, floor=0):
        super().__init__(Relay(ME.credential, ME.signer, AUTHORITY.key, b"h" * 16, entropy("hq"), ()))
        if version:
            self.takes(version, floor)

    def takes(self, version, floor):
        ready = Ready()
        assert self.core.apply_lists(list_of(version, floor), self.now_ms, ready) is None
        for link, payload in ready.send:
            self._heard[link].append(decode_frame(payload))
        self.step(Tick())

    def comes(self, member, low, high, knows=0):
        self._links += 1
        self.step(LinkUp(self._links, member.curve_key, b""))
        self.say(self._links, Hello(low, high, FABRIC, Role.CHILD, member.credential.raw, b"s" * 16, b"n" * 16,
                                    self.now_ms, knows, 0))
        return self._links

    def refusal(self, link):
        return [(each.code, each.detail) for each in self.heard(link, Refused)]


@pytest.mark.parametrize(("versions_", "floor", "common"), [
    ((1, 1), 1, 1), ((1, 9), 2, 2), ((2, 9), 2, 2), ((1, 1), 2, None), ((1, 9), 3, None), ((3, 9), 0, None),
])
def test_no_version_below_the_floor_is_common(versions_, floor, common):
    result = negotiate(*versions_, floor)
    assert result == common if common else result.code is Code.UNKNOWN_VERSION


def test_who_speaks_lower_versions_only_is_refused_and_who_speaks_the_floor_too_is_welcome():
    talk = Root(1, 2)
    old, new = talk.comes(OLD, 1, 1), talk.comes(NEW, 1, 9)
    words = "who dialled speaks 1, who listens 1 to 2, and 2 is the lowest that the fabric allows"
    assert talk.refusal(old) == [(Code.UNKNOWN_VERSION, words)] and old in talk.closed
    assert [each.version for each in talk.heard(new, Welcome)] == [2]


def test_an_open_link_on_a_lower_version_is_handed_the_list_and_then_ended():
    talk = Root()
    old, new = talk.comes(OLD, 1, 1), talk.comes(NEW, 1, 2)
    talk.takes(7, 2)
    talk.wait(500)
    assert [each.revocations for each in talk.heard(old, Lists)] == [list_of(7, 2)]
    assert talk.refusal(old) == [
        (Code.UNKNOWN_VERSION, "1 is spoken here, and 2 is the lowest that the fabric allows")
    ]
    assert talk.core.links[new].is_open and talk.closed == [old]


def test_who_has_a_newer_list_may_bring_a_lower_floor():
    talk = Root(1, 2)
    old = talk.comes(OLD, 1, 1, knows=2)
    talk.say(old, Lists(list_of(2, 0)))
    talk.wait(500)
    assert talk.core.links[old].is_open and talk.core.trust.revocations.floor == 0


@pytest.mark.parametrize("brings", [True, False])
def test_who_says_so_and_brings_none_or_one_that_asks_for_the_same_does_not_stay(brings):
    talk = Root(1, 2)
    old = talk.comes(OLD, 1, 1, knows=2)
    if brings:
        talk.say(old, Lists(list_of(2, 2)))
    talk.wait(500 if brings else STALL_MS + 1_000)
    assert talk.closed == [old]


def test_a_control_point_keeps_to_it_as_well():
    talk = Conversation(Point(ANN.credential, ANN.signer, AUTHORITY.key, b"a" * 16, entropy("ann"), ("hq",)))
    assert talk.core.apply_lists(list_of(3, 2), talk.now_ms, talk.last) is None
    talk.step(LinkUp(1, ME.curve_key, b"n" * 16, Role.POINT, "hq"))
    talk.say(1, Welcome(1, ME.credential.raw, b"p" * 16, b"n" * 16, T0, T0, 3, 0, 524_288))
    (told,) = talk.told(Disconnected)
    words = "who dialled speaks 1 to 2, who listens 1, and 2 is the lowest that the fabric allows"
    assert (told.reason, told.final) == (Reject(Code.UNKNOWN_VERSION, words), True)


def test_without_a_floor_any_version_may_go_on():
    assert check_floor(1, 0) is None and check_floor(2, 2) is None
    assert check_floor(1, 2).code is Code.UNKNOWN_VERSION


# -- the authority ------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path))
    made = init_authority("small")
    keep_list(made)
    return made


def on_disk(authority):
    return read_revocations(revocations_path("small"), authority.public, "small")


def test_a_floor_stays_until_another_is_signed(authority):
    before = on_disk(authority)
    made = allow_from(authority, 1)
    assert made.floor == 1 and made.supersedes(before) and made.ids == before.ids
    assert revoke(authority, ["zeek-9"]).floor == 1
    assert revoke(authority, ()).floor == 1 and on_disk(authority).ids == {"zeek-9"}
    assert allow_from(authority, 0).floor == 0 and on_disk(authority).ids == {"zeek-9"}


@pytest.mark.parametrize("floor", [-1, 2, 99])
def test_nobody_asks_for_what_this_program_does_not_speak(authority, monkeypatch, floor):
    monkeypatch.setattr(lists, "PROTOCOL_VERSIONS", (1, 1))
    before = on_disk(authority)
    with pytest.raises(FabricError) as raised:
        allow_from(authority, floor)
    assert raised.value.code is Code.UNKNOWN_VERSION and on_disk(authority) == before


def test_status_says_which_is_the_lowest_and_whether_all_relays_know():
    states = [{"relay": name, "pid": 7, "package": "0.2.0", "protocol": [1, 2], "protocol_floor": floor}
              for name, floor in (("hq", 2), ("low", 2))]
    assert next(versions.lines_of(states)).text == "protocol 2 is the lowest that is allowed: at every relay that runs"
    states[1]["protocol_floor"] = 0
    assert next(versions.lines_of(states)).text == "protocol 2 is the lowest that is allowed: not yet everywhere"
