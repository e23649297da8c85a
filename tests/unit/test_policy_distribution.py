"""Approval policies on their way: in a relay and a control point."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import PING_MS, STALL_MS
from fabric.protocol.core.ready import KeepPolicies, Ready
from fabric.protocol.links.handover import Handover
from fabric.protocol.links.link import Link
from fabric.protocol.links.list_exchange import ListExchange
from fabric.protocol.links.port import LinkPort
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.policies import Policies, Rule, When, issue_policies
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Hello, Lists, Nack, Ping, Refused, Role, Rules, Welcome
from tests.conversation import Conversation
from tests.support import DAY_MS, FABRIC, T0, Authority, entropy, verified

AUTHORITY = Authority("policy distribution")
ME = AUTHORITY.issue("mid", NodeKind.RELAY, Label.AMBER)
PARENT = AUTHORITY.issue("hq", NodeKind.RELAY)
CHILD = AUTHORITY.issue("low", NodeKind.RELAY, Label.GREEN)
ZEEK = AUTHORITY.issue("zeek-1")
RULES = (Rule("contain", When("contain"), 1, ("lead",), 60_000),)


def issued(version=1, rules=RULES, authority=AUTHORITY, fabric=FABRIC):
    return issue_policies(fabric, version, T0, rules, {}, authority.signer)


def node(kind=Relay, member=ME):
    return Conversation(kind(member.credential, member.signer, AUTHORITY.key, b"m" * 16, entropy(member.id), ("hq",)))


def heard(talk, link):
    return [frame.policies for frame in talk.heard(link, Rules)]


def test_they_go_on_to_everybody_but_their_source_and_to_who_comes_later():
    talk = node()
    up, child = talk.dial(PARENT, Role.CHILD), talk.connect(CHILD, Role.CHILD)
    assert heard(talk, child) == heard(talk, up) == [], "there are none yet"
    talk.say(up, Rules(issued(1)))
    late = talk.connect(ZEEK, Role.POINT)
    assert heard(talk, child) == heard(talk, late) == [issued(1)] and heard(talk, up) == []
    assert [welcome.policy_version for welcome in talk.heard(late, Welcome)] == [1]
    talk.say(up, Rules(issued(1)))
    assert heard(talk, child) == [], "they are known"
    talk.say(child, Rules(issued(2)))
    assert heard(talk, up) == heard(talk, late) == [issued(2)], "whoever brings them"
    assert talk.persisted(KeepPolicies) == [KeepPolicies(issued(1)), KeepPolicies(issued(2))]


def test_a_relay_says_in_its_hello_which_it_has_and_hands_them_to_who_has_older_ones():
    talk = node()
    assert talk.core.policies.apply(issued(3), Ready()) is None
    up = talk.dial(PARENT, Role.CHILD)
    assert [hello.policy_version for hello in talk.heard(up, Hello)] == [3] and heard(talk, up) == [issued(3)]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (issued(8, authority=Authority("another")), Code.STALE_POLICIES),
        (issued(8, fabric="other"), Code.WRONG_FABRIC), (issued(8)[:-1], Code.MALFORMED), (b"", Code.MALFORMED),
    ],
    ids=["forged", "another fabric", "truncated", "empty"],
)
@pytest.mark.parametrize(("kind", "member"), [(Relay, ME), (Point, ZEEK)], ids=["relay", "control point"])
def test_what_the_authority_did_not_sign_ends_the_link_and_changes_nothing(kind, member, raw, code):
    talk = node(kind, member)
    up = talk.dial(PARENT, Role.CHILD if kind is Relay else Role.POINT)
    talk.say(up, Rules(issued(7)))
    talk.say(up, Rules(raw))
    assert [frame.code for frame in talk.heard(up, Refused)] == [code] and up in talk.closed
    assert talk.core.trust.policies.version == 7 and len(talk.persisted(KeepPolicies)) == 1


def test_an_older_one_and_another_of_the_same_version_change_nothing():
    talk = node()
    up = talk.dial(PARENT, Role.CHILD)
    for raw in (issued(7), issued(6), issued(7, ())):
        talk.say(up, Rules(raw))
    assert talk.core.trust.policies.raw == issued(7) and talk.closed == []
    assert talk.core.policies.apply(issued(6), Ready()).code is Code.STALE_POLICIES
    assert talk.core.policies.apply(issued(8, fabric="other"), Ready()).code is Code.WRONG_FABRIC
    assert talk.count("refused:stale_policies") == 3 and talk.count("refused:wrong_fabric") == 1


def test_they_are_there_after_a_restart():
    talk = node()
    talk.core.restore([KeepPolicies(issued(3)), KeepPolicies(b"damaged"), KeepPolicies(issued(2))], T0)
    assert talk.core.trust.policies.version == 3
    child = talk.connect(CHILD, Role.CHILD)
    assert heard(talk, child) == [issued(3)]


def test_they_are_repeated_since_a_frame_may_be_lost():
    talk = node()
    talk.core.policies.apply(issued(1), Ready())
    child = talk.connect(CHILD, Role.CHILD)
    heard(talk, child)
    told = []
    for _ in range(8):
        talk.say(child, Ping(talk.now_ms))
        told.append(len(heard(talk, child)))
    assert told == [1, 1, 0, 1, 0, 0, 0, 1]


def test_nothing_is_believed_of_a_peer_whose_newer_policies_are_to_come():
    talk = node()
    link = talk.dial(PARENT, Role.CHILD)
    talk.core.links[link].policies.opened(9)
    talk.send(link, verified(PARENT))
    (nack,) = talk.heard(link, Nack)
    assert nack.refusals[0][1] is Code.BUSY
    for _ in range(STALL_MS // PING_MS + 1):
        talk.wait(PING_MS)
        if link not in talk.closed:
            talk.say(link, Ping(talk.now_ms))
    assert Code.STALE_POLICIES in [frame.code for frame in talk.heard(link, Refused)]


def test_a_list_that_names_newer_policies_stops_actions_until_they_come():
    talk = node(Point, ZEEK)
    up = talk.dial(PARENT, Role.POINT)
    talk.say(up, Rules(issued(1)))
    talk.say(up, Lists(issue_revocations(FABRIC, 1, T0, T0 + DAY_MS, [], AUTHORITY.signer, 2)))
    trust = talk.core.trust
    assert trust.check_action(ZEEK.credential, "hq", (T0,)).code is Code.STALE_POLICIES
    talk.say(up, Rules(issued(2, ())))
    assert trust.check_action(ZEEK.credential, "hq", (T0,)) is None
    assert trust.policies == Policies(2, T0, (), {}, issued(2, ()), trust.policies.digest)


# -- the component that any such document has ---------------------------------------------------------------


def test_a_handover_sends_only_to_open_links_and_knows_what_each_has():
    sent, links = [], {}
    exchanges = {}
    port = LinkPort(links, {}, lambda link, frame, _: sent.append((link.number, frame)), lambda *_: None,
                    lambda *_: None)
    for number in (1, 2, 3):
        links[number] = Link(number, CHILD.curve_key, bytes(16), T0)
        exchanges[number] = ListExchange()
        if number != 3:
            links[number].opened(CHILD.credential, Role.CHILD, bytes(16), T0)
    handover = Handover(port, lambda link: exchanges[link.number], lambda: (5, Rules(b"five")))
    handover.link_opened(links[1], 5, Ready())
    assert sent == []
    handover.link_opened(links[2], 4, Ready())
    handover.pass_on(links[2], Ready())
    assert sent == [(2, Rules(b"five")), (1, Rules(b"five"))]
    handover.repeat(links[1], Ready())
    handover.repeat(links[3], Ready())
    assert sent[2:] == [(1, Rules(b"five"))]
    assert not handover.is_overdue(links[1], T0, 1)
