"""Whose credential a node goes on under: renewed on a link that stays, or refused because it is somebody else's."""

from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Attach, Renewed
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import open_attachment
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Grants, Issuing, NodeKind, PublishGrant
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Intro, Lists, Nack, Ping, Refused, Role, Routed, Routes, Welcome
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, FABRIC, T0, Authority, Member, entropy, verified

AUTHORITY = Authority("trust")
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
ME = AUTHORITY.issue("mid", NodeKind.RELAY)
CHILD = AUTHORITY.issue("low", NodeKind.RELAY)
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
ISSUER_SIGNER = AUTHORITY.issue("plant").signer
ISSUER = verify_credential(
    issue(
        replace(
            AUTHORITY.issue("plant").credential, kind=NodeKind.ISSUER,
            issuing=Issuing(("*",), tuple(NodeKind), ("*",), ("*",), Label.RED, grants=EVERYTHING),
        ),
        AUTHORITY.signer,
    ),
    AUTHORITY.key, FABRIC,
)


def again(member, **changed):
    """The same node under a newer credential."""
    raw = issue(replace(member.credential, serial=member.credential.serial + 1, **changed), AUTHORITY.signer)
    return replace(member, credential=verify_credential(raw, AUTHORITY.key, FABRIC))


def vouched(member, **changed):
    """The same claim, signed by the issuer."""
    raw = issue(replace(member.credential, **changed), ISSUER_SIGNER, ISSUER)
    return replace(member, credential=verify_credential(raw, AUTHORITY.key, FABRIC))


def with_keys_of(name, member):
    other = AUTHORITY.issue(name)
    keys = {"curve_key": other.curve_key, "sign_key": other.signer.public}
    return Member(replace(member.credential, **keys), other.signer, other.curve_key)


def codes(talk, link):
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def stated(talk, link):
    """What it says of who is where, each frame confirmed, until it has no more to say."""
    said = []
    while frames := talk.heard(link, Routes):
        for frame in frames:
            said += [open_attachment(raw, talk.core.trust.credentials) for raw in frame.attachments]
            talk.say(link, Routed(frame.sequence, []))
    return said


@pytest.fixture
def talk():
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("trust"), ("hq",)))


# -- renewed --------------------------------------------------------------------------------------------------


def test_a_relay_that_is_issued_anew_says_so_and_where_it_is(talk):
    up, down = talk.dial(HQ, Role.CHILD), talk.connect(CHILD, Role.CHILD)
    for link in (up, down):
        talk.heard(link, Intro)
    stated(talk, up)
    fresh = again(ME)
    talk.step(Renewed(fresh.credential))
    assert [frame.credentials for frame in talk.heard(down, Intro)] == [[fresh.credential.raw]]
    assert [fresh.credential.raw] in [frame.credentials for frame in talk.heard(up, Intro)]
    assert talk.core.me is fresh.credential and talk.closed == []
    said = stated(talk, up)
    assert {a.credential.digest for a in said if a.node == "mid"} == {fresh.credential.digest}


def test_a_later_peer_sees_the_newer_credential(talk):
    fresh = again(ME)
    talk.step(Renewed(fresh.credential))
    link = talk.connect(CHILD, Role.CHILD)
    assert [frame.credential for frame in talk.heard(link, Welcome)] == [fresh.credential.raw]


def test_a_control_point_that_is_issued_anew_attaches_again():
    point = Conversation(Point(ZEEK.credential, ZEEK.signer, AUTHORITY.key, b"z" * 16, entropy("zeek")))
    link = point.dial(ME, Role.POINT)
    point.step(Attach(1, False, ("intel.>",)))
    stated(point, link)
    fresh = again(ZEEK)
    point.step(Renewed(fresh.credential))
    assert [fresh.credential.raw] in [frame.credentials for frame in point.heard(link, Intro)]
    said = stated(point, link)
    assert {a.credential.digest for a in said} == {fresh.credential.digest}
    assert {a.subscriptions for a in said} == {("intel.>",)} and point.closed == []


def test_what_a_peer_may_follows_its_newer_credential(talk):
    narrow = AUTHORITY.issue("zeek-2", grants=Grants(publish=(PublishGrant("detections.a"),)))
    link = talk.connect(narrow, Role.POINT)
    talk.send(link, verified(narrow, topic="detections.b"))
    assert codes(talk, link) == [Code.PUBLISH_DENIED]
    wide = again(narrow, grants=EVERYTHING)
    talk.say(link, Intro([wide.credential.raw]))
    assert talk.core.links[link].peer is not None and talk.core.links[link].peer.serial == 2
    talk.send(link, verified(wide, topic="detections.b"))
    assert codes(talk, link) == [] and talk.closed == []


@pytest.mark.parametrize(
    "fresh",
    [
        again(AUTHORITY.issue("zeek-2", grants=EVERYTHING)),
        again(ZEEK, not_after_ms=T0 - DAY_MS),
        again(ZEEK, kind=NodeKind.OPERATOR),
        ZEEK,
    ],
    ids=["somebody else's", "over", "of another kind", "the same"],
)
def test_a_link_stays_with_the_credential_that_it_has(talk, fresh):
    link = talk.connect(ZEEK, Role.POINT)
    talk.say(link, Intro([fresh.credential.raw]))
    assert talk.core.links[link].peer.digest == ZEEK.credential.digest


# -- whose it is ----------------------------------------------------------------------------------------------


def refusals(talk, link):
    return [frame.code for frame in talk.heard(link, Refused)]


def test_an_issuer_does_not_put_another_in_the_place_of_somebody_who_is_known(talk):
    talk.connect(ZEEK, Role.POINT)
    false = vouched(with_keys_of("thief", ZEEK), serial=9)
    link = talk.connect(false, Role.POINT, session=b"t" * 16)
    assert refusals(talk, link) == [Code.REUSED_ID]


def test_a_key_is_one_node_s(talk):
    talk.connect(ZEEK, Role.POINT)
    false = vouched(with_keys_of("zeek-1", AUTHORITY.issue("zeek-7", grants=EVERYTHING)))
    link = talk.connect(false, Role.POINT, session=b"t" * 16)
    assert refusals(talk, link) == [Code.REUSED_KEY]


def test_what_is_signed_under_a_credential_that_will_not_do_is_refused_for_that(talk):
    """Not for being unknown: it would be introduced and sent again for ever."""
    talk.dial(HQ, Role.CHILD)
    child = talk.connect(CHILD, Role.CHILD)
    talk.send(child, verified(ZEEK))
    false = vouched(with_keys_of("thief", ZEEK))
    talk.heard(child, Ack)
    talk.send(child, verified(false, sequence=1))
    assert codes(talk, child) == [Code.REUSED_ID]
    assert talk.count("refused:reused_id") >= 1


def test_the_authority_gives_an_id_new_keys_and_the_former_come_no_more(talk):
    talk.connect(ZEEK, Role.POINT)
    replaced = again(with_keys_of("new-keys", ZEEK))
    link = talk.connect(replaced, Role.POINT, session=b"t" * 16)
    assert refusals(talk, link) == []
    former = talk.connect(ZEEK, Role.POINT, session=b"u" * 16)
    assert refusals(talk, former) == [Code.REUSED_ID]


# -- revoked with its issuer ------------------------------------------------------------------------------------


def test_who_an_issuer_vouched_for_goes_with_it(talk):
    up = talk.dial(HQ, Role.CHILD)
    member = vouched(AUTHORITY.issue("p-1", grants=EVERYTHING))
    link, other = talk.connect(member, Role.POINT), talk.connect(ZEEK, Role.POINT)
    talk.send(link, verified(member))
    talk.say(up, Lists(issue_revocations(FABRIC, 1, T0, T0 + DAY_MS, ["plant"], AUTHORITY.signer)))
    assert refusals(talk, link) == [Code.REVOKED] and refusals(talk, other) == []
    assert talk.count("ended:revoked") == 1


def test_whose_credential_runs_out_is_cut():
    talk = Conversation(Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"r" * 16, entropy("root")))
    short = AUTHORITY.issue("short", grants=EVERYTHING, not_after_ms=T0 + 60_000)
    link = talk.connect(short, Role.POINT)
    for _ in range(55):
        talk.say(link, Ping(talk.now_ms))
        talk.wait(2_000)
    assert refusals(talk, link) == [Code.CREDENTIAL_EXPIRED]


def test_the_former_keys_of_an_id_are_not_believed_any_more(talk):
    talk.dial(HQ, Role.CHILD)
    child = talk.connect(CHILD, Role.CHILD)
    talk.send(child, verified(ZEEK))
    talk.say(child, Intro([again(with_keys_of("new-keys", ZEEK)).credential.raw]))
    talk.send(child, verified(ZEEK, sequence=1))
    assert codes(talk, child) == [Code.REUSED_ID]
