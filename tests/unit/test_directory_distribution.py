"""The directory on its way down: the component alone, and in a relay and a control point."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import KeepDirectory, Ready
from fabric.protocol.links.directory_distribution import DirectoryDistribution
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.directory import Descriptor, RelayDirectory, issue_directory
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Directory, Refused, Role
from tests.conversation import Conversation
from tests.support import DAY_MS, FABRIC, T0, Authority, derive, entropy

AUTHORITY = Authority("directory distribution")
ME = AUTHORITY.issue("mid", NodeKind.RELAY, Label.AMBER)
PARENT = AUTHORITY.issue("hq", NodeKind.RELAY)
CHILD = AUTHORITY.issue("low", NodeKind.RELAY, Label.GREEN)
ZEEK = AUTHORITY.issue("zeek-1")
RELAYS = tuple(
    [Descriptor(id_, ("127.0.0.1:7700",), derive(id_), "ot", (), Label.AMBER, T0, T0 + DAY_MS) for id_ in ("hq", "ot")]
)


def issued(version=1, relays=RELAYS, authority=AUTHORITY, fabric=FABRIC):
    return issue_directory(fabric, version, T0, T0 + DAY_MS, relays, authority.signer)


# -- alone ----------------------------------------------------------------------------------------------------


class Stage:
    def __init__(self):
        self.sent, self.refused, self.counted, self.links = [], [], [], {}
        self.distribution = DirectoryDistribution(FABRIC, AUTHORITY.key, LinkPort(
            self.links, {}, lambda link, frame, _: self.sent.append((link.number, frame.raw)),
            lambda link, reason, *_: self.refused.append((link.number, reason.code)),
            lambda *what: self.counted.append(what),
        ))

    def link(self, number, member, role):
        link = self.links[number] = Link(number, member.curve_key, bytes(16), T0)
        link.opened(member.credential, role, bytes(16), T0)
        return link


@pytest.fixture
def stage():
    return Stage()


def test_it_is_sent_to_every_open_link_but_the_parent_s(stage):
    parent, child = stage.link(1, PARENT, Role.PARENT), stage.link(2, CHILD, Role.CHILD)
    stage.links[3] = Link(3, ZEEK.curve_key, bytes(16), T0)  # it has not said who it is
    ready = Ready()
    stage.distribution.frame(parent, Directory(issued(4)), T0, ready)
    assert stage.sent == [(2, issued(4))] and stage.distribution.held.version == 4
    assert ready.persist == [KeepDirectory(issued(4))]
    assert [note.fields for note in ready.notes] == [{"version": 4, "relays": 2}]
    stage.distribution.link_opened(child, ready)
    stage.distribution.link_opened(parent, ready)
    assert stage.sent == [(2, issued(4))] * 2


def test_whoever_is_below_may_not_send_one(stage):
    for number, role in ((1, Role.CHILD), (2, Role.POINT)):
        stage.distribution.frame(stage.link(number, CHILD, role), Directory(issued()), T0, Ready())
    assert stage.refused == [(1, Code.WRONG_DIRECTION), (2, Code.WRONG_DIRECTION)] and stage.sent == []
    assert stage.distribution.held == RelayDirectory()


def test_what_was_on_disk_is_taken_back_and_told_to_nobody(stage):
    stage.link(1, CHILD, Role.CHILD)
    assert stage.distribution.restore(issued(3)) is None and stage.distribution.restore(issued(3)) is None
    assert stage.distribution.held.version == 3 and stage.sent == stage.counted == []


def test_what_the_driver_found_and_is_refused_is_counted(stage):
    stage.distribution.restore(issued(3))
    ready = Ready()
    assert stage.distribution.apply(issued(2), ready).code is Code.STALE_DIRECTORY
    assert stage.distribution.apply(issued(3), ready) is None, "it is the one that is held"
    assert stage.counted == [("refused", "stale_directory")] and ready == Ready()


# -- in a node ------------------------------------------------------------------------------------------------


def node(kind=Relay, member=ME):
    return Conversation(kind(member.credential, member.signer, AUTHORITY.key, b"m" * 16, entropy(member.id), ("hq",)))


def heard(talk, link):
    return [frame.raw for frame in talk.heard(link, Directory)]


def test_it_goes_down_when_it_is_new_and_when_a_link_opens():
    talk = node()
    up, child = talk.dial(PARENT, Role.CHILD), talk.connect(CHILD, Role.CHILD)
    assert heard(talk, child) == [], "there is none yet"
    talk.say(up, Directory(issued(1)))
    late = talk.connect(ZEEK, Role.POINT)
    assert heard(talk, child) == heard(talk, late) == [issued(1)] and heard(talk, up) == []
    talk.say(up, Directory(issued(1)))
    assert heard(talk, child) == [], "it is known"
    talk.say(up, Directory(issued(2)))
    assert heard(talk, child) == heard(talk, late) == [issued(2)]
    assert talk.persisted(KeepDirectory) == [KeepDirectory(issued(1)), KeepDirectory(issued(2))]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (issued(6), Code.STALE_DIRECTORY), (issued(8, authority=Authority("another")), Code.STALE_DIRECTORY),
        (issued(8, fabric="other"), Code.WRONG_FABRIC), (issued(8)[:-1], Code.MALFORMED), (b"", Code.MALFORMED),
    ],
    ids=["older", "forged", "another fabric", "truncated", "empty"],
)
@pytest.mark.parametrize(("kind", "member"), [(Relay, ME), (Point, ZEEK)], ids=["relay", "control point"])
def test_one_that_will_not_do_is_counted_and_disturbs_nothing(kind, member, raw, code):
    talk = node(kind, member)
    up = talk.dial(PARENT, Role.CHILD if kind is Relay else Role.POINT)
    talk.say(up, Directory(issued(7)))
    talk.say(up, Directory(raw))
    assert talk.core.directory.held.version == 7 and talk.closed == [] and len(talk.persisted(KeepDirectory)) == 1
    assert talk.count(f"refused:{code.reason}") == 1


def test_another_of_the_same_version_changes_nothing():
    talk = node()
    up = talk.dial(PARENT, Role.CHILD)
    talk.say(up, Directory(issued(7)))
    talk.say(up, Directory(issued(7, RELAYS[:1])))
    assert talk.core.directory.held.raw == issued(7) and len(talk.persisted(KeepDirectory)) == 1


def test_it_comes_from_above_only():
    talk = node()
    child = talk.connect(CHILD, Role.CHILD)
    talk.say(child, Directory(issued()))
    assert [frame.code for frame in talk.heard(child, Refused)] == [Code.WRONG_DIRECTION] and child in talk.closed
    assert talk.core.directory.held == RelayDirectory()


def test_it_is_there_after_a_restart_and_an_older_one_is_still_refused():
    talk = node()
    talk.core.restore([KeepDirectory(issued(3)), KeepDirectory(b"damaged"), KeepDirectory(issued(2))], T0)
    assert talk.core.directory.held.version == 3
    assert talk.core.directory.apply(issued(2), Ready()).code is Code.STALE_DIRECTORY
    child = talk.connect(CHILD, Role.CHILD)
    assert heard(talk, child) == [issued(3)]
