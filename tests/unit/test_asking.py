"""Questions to an issuer through a relay: who may ask what, where it goes, and who is answered."""

from dataclasses import replace

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ASK_BYTES_MAX, ASK_MS, HELLO_WAIT_MS, RETRY_MS, SELECTORS_PER_S
from fabric.protocol.core.ready import Answer, Answered, Ask, Asked, LinkUp
from fabric.protocol.enrolment.recipients import Found, Wanted, decode_found, decode_wanted, encode_found, encode_wanted
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Grants, Issuing, NodeKind, PublishGrant, digest_of
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Join, Joined, Ping, Refused, Role
from tests.conversation import Conversation
from tests.support import FABRIC, Authority, Member, derive, entropy

AUTHORITY = Authority("asking")
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
ME = AUTHORITY.issue("mid", NodeKind.RELAY)
CHILD = AUTHORITY.issue("low", NodeKind.RELAY)
ZEEK = AUTHORITY.issue("zeek-1")
STRANGER = derive("stranger")
ID = b"i" * 16


def as_issuer(name):
    member = AUTHORITY.issue(name)
    claim = replace(
        member.credential, kind=NodeKind.ISSUER,
        issuing=Issuing(("*",), (NodeKind.POINT,), ("*",), ("*",), Label.RED),
    )
    credential = verify_credential(issue(claim, AUTHORITY.signer), AUTHORITY.key, FABRIC)
    return Member(credential, member.signer, member.curve_key)


ISSUER = as_issuer("plant")


def conversation(parents=("hq",)):
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("asking"), parents))


@pytest.fixture
def talk():
    return conversation()


def knock(talk, key=STRANGER, link=99):
    """Somebody dials who has no credential."""
    talk.step(LinkUp(link, key, b""))
    return link


def asked(talk, link):
    return talk.heard(link, Join)


def answers(talk, link):
    return [(frame.id, frame.code) for frame in talk.heard(link, Joined)]


def join(id_=ID, issuer="plant", key=b"", request=b"request"):
    return Join(id_, issuer, key, request)


def test_a_stranger_s_question_goes_to_the_issuer_and_the_answer_back(talk):
    issuer, stranger = talk.connect(ISSUER, Role.POINT), knock(talk)
    talk.say(stranger, join(key=b"forged"))
    assert asked(talk, issuer) == [join(key=STRANGER)], "the relay says by which key it was asked"
    talk.say(issuer, Joined(ID, None, "", b"answer"))
    assert talk.heard(stranger, Joined) == [Joined(ID, None, "", b"answer")]
    assert talk.closed == [], "it may say HELLO now, or go"


def test_without_the_issuer_here_it_climbs(talk):
    up, stranger = talk.dial(HQ, Role.CHILD), knock(talk)
    talk.connect(as_issuer("another"), Role.POINT)
    talk.say(stranger, join())
    assert asked(talk, up) == [join(key=STRANGER)]
    talk.say(up, Joined(ID, Code.TOKEN_USED, "once", b""))
    assert talk.heard(stranger, Joined) == [Joined(ID, Code.TOKEN_USED, "once", b"")]


def test_a_child_s_question_keeps_the_key_that_the_child_saw(talk):
    issuer, child = talk.connect(ISSUER, Role.POINT), talk.connect(CHILD, Role.CHILD)
    talk.say(child, join(key=STRANGER))
    assert asked(talk, issuer) == [join(key=STRANGER)]


def test_a_control_point_asks_with_its_own_key(talk):
    issuer, zeek = talk.connect(ISSUER, Role.POINT), talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, join(key=STRANGER))
    assert asked(talk, issuer) == [join(key=ZEEK.curve_key)]


def test_at_the_root_it_is_said_that_there_is_no_issuer():
    talk = conversation(parents=())
    stranger = knock(talk)
    talk.say(stranger, join())
    assert answers(talk, stranger) == [(ID, Code.NO_ISSUER)]


def test_while_there_is_no_parent_it_may_be_asked_again(talk):
    stranger = knock(talk)
    talk.say(stranger, join())
    assert answers(talk, stranger) == [(ID, Code.BUSY)]


def test_a_control_point_of_the_issuer_s_name_is_no_issuer(talk):
    up, false = talk.dial(HQ, Role.CHILD), talk.connect(AUTHORITY.issue("plant"), Role.POINT)
    talk.say(knock(talk), join())
    assert asked(talk, false) == [] and asked(talk, up) == [join(key=STRANGER)]


# -- who may say what -----------------------------------------------------------------------------------------


def test_only_issuers_and_the_parent_answer(talk):
    talk.dial(HQ, Role.CHILD)
    stranger = knock(talk)
    talk.say(stranger, join())
    for member, role in ((ZEEK, Role.POINT), (CHILD, Role.CHILD)):
        link = talk.connect(member, role)
        talk.say(link, Joined(ID, None, "", b"mine"))
        assert [frame.code for frame in talk.heard(link, Refused)] == [Code.WRONG_ROLE]
    assert answers(talk, stranger) == []


def test_the_parent_does_not_ask(talk):
    up = talk.dial(HQ, Role.CHILD)
    talk.say(up, join())
    assert [frame.code for frame in talk.heard(up, Refused)] == [Code.WRONG_DIRECTION]


def test_nobody_takes_another_s_answer(talk):
    issuer, stranger, thief = talk.connect(ISSUER, Role.POINT), knock(talk), knock(talk, derive("thief"), 98)
    talk.say(stranger, join())
    talk.say(thief, join())
    assert answers(talk, thief) == [(ID, Code.BUSY)] and len(asked(talk, issuer)) == 1
    talk.say(issuer, Joined(ID, None, "", b"answer"))
    assert answers(talk, stranger) == [(ID, None)] and answers(talk, thief) == []


def test_an_answer_comes_once_and_in_time(talk):
    issuer, stranger = talk.connect(ISSUER, Role.POINT), knock(talk)
    talk.say(issuer, Joined(ID, None, "", b"before"))
    talk.say(stranger, join())
    talk.say(issuer, Joined(ID, None, "", b"answer"))
    talk.say(issuer, Joined(ID, None, "", b"again"))
    assert [frame.answer for frame in talk.heard(stranger, Joined)] == [b"answer"]


def test_who_asked_is_forgotten_after_a_while(talk):
    talk.dial(HQ, Role.CHILD)
    talk.say(knock(talk), join())
    assert talk.core.enrolment.under_way == 1
    talk.now_ms += ASK_MS
    talk.wait(500)
    assert talk.core.enrolment.under_way == 0


# -- bounds ---------------------------------------------------------------------------------------------------


def test_strangers_together_do_not_ask_without_end(talk):
    issuer = talk.connect(ISSUER, Role.POINT)
    refused = []
    for n in range(230):
        stranger = knock(talk, derive("stranger", n), 1_000 + n)
        talk.say(stranger, join(derive(n)[:16]))
        refused += [code for _, code in answers(talk, stranger)]
    assert len(asked(talk, issuer)) == 200 and refused == [Code.BUSY] * 30
    zeek = talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, join(b"z" * 16))
    assert len(asked(talk, issuer)) == 1, "who is in has a rate of his own"


def test_one_stranger_who_asks_without_end_takes_nobody_s_turn_and_is_cut(talk):
    issuer, greedy, honest = talk.connect(ISSUER, Role.POINT), knock(talk), knock(talk, derive("honest"), 98)
    for n in range(40):
        talk.say(greedy, join(derive(n)[:16]))
    assert greedy in talk.closed and len(asked(talk, issuer)) == 20
    talk.say(honest, join(b"h" * 16))
    assert answers(talk, honest) == [] and len(asked(talk, issuer)) == 1


def test_a_question_is_small(talk):
    stranger = knock(talk)
    talk.say(stranger, join(request=bytes(ASK_BYTES_MAX + 1)))
    assert [frame.code for frame in talk.heard(stranger, Refused)] == [Code.MALFORMED]


def test_who_waits_for_an_answer_is_not_cut_for_saying_no_hello(talk):
    issuer = talk.connect(ISSUER, Role.POINT)
    stranger = knock(talk)
    for _ in range(4):
        talk.say(stranger, join())
        talk.say(issuer, Ping(talk.now_ms))
        talk.wait(HELLO_WAIT_MS - 1_000)
    assert stranger not in talk.closed
    talk.wait(HELLO_WAIT_MS + 1_000)
    assert stranger in talk.closed


# -- the ends -------------------------------------------------------------------------------------------------


def point(member):
    return Conversation(Point(member.credential, member.signer, AUTHORITY.key, b"p" * 16, entropy(member.id)))


def test_an_issuer_is_asked_and_answers():
    talk = point(ISSUER)
    link = talk.dial(ME, Role.POINT)
    talk.say(link, join(key=STRANGER))
    assert talk.told(Asked) == [Asked(ID, STRANGER, b"request")]
    talk.step(Answer(ID, None, b"answer"))
    assert talk.heard(link, Joined) == [Joined(ID, None, "", b"answer")]


def test_nobody_else_is_asked():
    talk = point(ZEEK)
    link = talk.dial(ME, Role.POINT)
    talk.say(link, join())
    assert [frame.code for frame in talk.heard(link, Refused)] == [Code.WRONG_ROLE] and talk.told(Asked) == []


@pytest.fixture(params=["control point", "relay"])
def asker(request):
    """(the conversation, how it reaches its parent)"""
    if request.param == "relay":
        return conversation(), lambda talk: talk.dial(HQ, Role.CHILD)
    return point(ZEEK), lambda talk: talk.dial(ME, Role.POINT)


def test_a_node_asks_until_it_is_answered(asker):
    talk, connect = asker
    talk.step(Ask(ID, "plant", b"request"))
    link = connect(talk)
    talk.wait(RETRY_MS + 500)
    assert {frame.id for frame in asked(talk, link)} == {ID}
    talk.say(link, Joined(ID, Code.BUSY, "mid has no parent now", b""))
    assert talk.told(Answered) == []
    talk.wait(RETRY_MS + 500)
    assert asked(talk, link)
    talk.say(link, Joined(ID, None, "", b"answer"))
    assert talk.told(Answered) == [Answered(ID, None, b"answer")]
    talk.wait(RETRY_MS + 500)
    assert asked(talk, link) == []


@pytest.mark.parametrize("busy", [True, False])
def test_a_node_gives_up_and_says_why(asker, busy):
    talk, connect = asker
    link = connect(talk)
    talk.step(Ask(ID, "plant", b"request"))
    if busy:
        talk.say(link, Joined(ID, Code.BUSY, "later", b""))
    talk.now_ms += ASK_MS
    talk.wait(500)
    (told,) = talk.told(Answered)
    assert told.refused.code is (Code.BUSY if busy else Code.NO_ISSUER)


def test_a_relay_asks_the_issuer_that_is_at_it(talk):
    issuer = talk.connect(ISSUER, Role.POINT)
    talk.step(Ask(ID, "plant", b"request"))
    assert asked(talk, issuer) == [join(key=ME.curve_key)]
    talk.say(issuer, Joined(ID, None, "", b"answer"))
    assert talk.told(Answered) == [Answered(ID, None, b"answer")]


# -- who somebody is ------------------------------------------------------------------------------------------

LEAD = AUTHORITY.issue("lead-1", tags=(("role", "lead"),))
DEPUTY = AUTHORITY.issue("lead-2", tags=(("role", "lead"),))
OVER = AUTHORITY.issue("lead-3", tags=(("role", "lead"),), not_after_ms=1)
ABROAD = AUTHORITY.issue("lead-4", organisation="msp", tags=(("role", "lead"),))
PARTNER = AUTHORITY.issue("feed-1", grants=Grants(publish=(PublishGrant("intel.>", to_organisations=("m*",)),)))


def who(*ids, role="", id_=ID, topic=""):
    return Join(id_, "", b"", encode_wanted(Wanted(ids, role and f"role={role}", topic)))


def found(talk, link):
    (frame,) = talk.heard(link, Joined)
    assert frame.code is None, frame
    told = decode_found(frame.answer)
    assert not isinstance(told, Reject)
    return told._replace(credentials=tuple(map(digest_of, told.credentials)))


def digests(*members):
    return tuple(member.credential.digest for member in members)


@pytest.fixture
def root():
    return conversation(parents=())


def attachment_of(member, number):
    raw = sign_attachment(member.credential, member.signer, bytes([number]) * 16, "mid", 1, False, ())
    return open_attachment(raw, {member.credential.digest: member.credential})


def test_the_root_says_who_it_knows_and_who_nobody_is(root):
    root.connect(LEAD, Role.POINT)
    zeek = root.connect(ZEEK, Role.POINT)
    root.say(zeek, who("lead-1", "lead-9"))
    assert found(root, zeek) == Found((), digests(LEAD), ("lead-9",))


def test_a_role_is_all_who_have_it_and_count(root):
    for member in (LEAD, DEPUTY, CHILD, ISSUER):
        root.connect(member, Role.CHILD if member is CHILD else Role.POINT)
    zeek = root.connect(ZEEK, Role.POINT)
    for number, member in enumerate((LEAD, DEPUTY, OVER)):
        root.core.routes.put(attachment_of(member, number))
    root.say(zeek, who(role="lead"))
    told = found(root, zeek)
    assert told.members == ("lead-1", "lead-2") and told.credentials == digests(LEAD, DEPUTY)
    root.say(zeek, who(role="cook", id_=b"2" * 16))
    assert found(root, zeek) == Found((), (), ())


def test_of_an_action_those_are_found_who_may_execute_it(root):
    wall = AUTHORITY.issue("fw-1", grants=Grants(execute=("deny *",)), tags=(("role", "lead"),))
    zeek = root.connect(ZEEK, Role.POINT)
    for number, member in enumerate((LEAD, wall)):
        root.core.routes.put(attachment_of(member, number))
    root.say(zeek, who(role="lead", topic="deny.ipv4_net"))
    assert found(root, zeek) == Found(("fw-1",), digests(wall), ())


def test_a_selector_that_cannot_be_read_selects_nobody(root):
    zeek = root.connect(ZEEK, Role.POINT)
    root.core.routes.put(attachment_of(LEAD, 0))
    for number, to in enumerate(("role=", "((", "x" * 2_000)):
        root.say(zeek, Join(bytes([number]) * 16, "", b"", encode_wanted(Wanted((), to))))
        root.now_ms += 1_000
    told = root.heard(zeek, Joined)
    assert [frame.code for frame in told] == [None, None, Code.MALFORMED]
    assert [decode_found(frame.answer) for frame in told[:2]] == [Found((), (), ())] * 2


def test_nobody_is_told_of_whom_no_grant_of_his_lets_him_address(root):
    zeek, partner = root.connect(ZEEK, Role.POINT), root.connect(PARTNER, Role.POINT)
    root.connect(ABROAD, Role.POINT)
    root.say(zeek, who("lead-4"))
    assert found(root, zeek) == Found((), (), ("lead-4",)), "as if nobody had that id"
    root.say(partner, who("lead-4", id_=b"2" * 16))
    assert found(root, partner) == Found((), digests(ABROAD), ())
    root.core.routes.put(attachment_of(ABROAD, 0))
    root.say(zeek, who(role="lead", id_=b"3" * 16))
    assert found(root, zeek) == Found((), (), ())


def test_what_is_not_known_here_and_every_role_climbs(talk):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.connect(LEAD, Role.POINT)
    talk.say(zeek, who("lead-1"))
    assert found(talk, zeek) == Found((), digests(LEAD), ()) and asked(talk, up) == []
    talk.say(zeek, who("lead-1", "lead-2", id_=b"2" * 16))
    talk.say(zeek, who(role="lead", id_=b"3" * 16))
    assert [frame.id for frame in asked(talk, up)] == [b"2" * 16, b"3" * 16]


def test_what_comes_back_is_for_who_asked_as_far_as_he_may_know(talk):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, who("lead-2", "lead-4"))
    talk.say(up, Joined(ID, None, "", encode_found((), [DEPUTY.credential.raw, ABROAD.credential.raw], ())))
    assert found(talk, zeek) == Found((), digests(DEPUTY), ("lead-4",))


def test_of_a_role_that_others_have_too_those_are_told_whom_the_asker_may_address(root):
    abroad = [AUTHORITY.issue(f"a-{n:02}", organisation="msp", tags=(("role", "lead"),)) for n in range(20)]
    for number, member in enumerate((*abroad, LEAD, DEPUTY)):
        root.core.routes.put(attachment_of(member, number))
    zeek = root.connect(ZEEK, Role.POINT)
    root.say(zeek, who(role="lead"))
    assert found(root, zeek) == Found(("lead-1", "lead-2"), digests(LEAD, DEPUTY), ())
    partner = root.connect(PARTNER, Role.POINT)
    root.say(partner, who(role="lead", id_=b"2" * 16))
    assert found(root, partner).members == tuple(member.id for member in abroad[:17]), "one more than can be named"


def test_whom_the_asker_may_address_is_said_by_its_own_relay(talk):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, Join(ID, "", b"", encode_wanted(Wanted((), "role=lead", "", ("msp",)))))
    (frame,) = asked(talk, up)
    assert decode_wanted(frame.request) == Wanted((), "role=lead", "", ("acme",))


def test_a_part_of_a_role_s_members_is_not_told_as_if_it_were_all(talk):
    """As a root answers that does not look whom the asker may address."""
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, who(role="lead"))
    names = ["lead-4", "lead-1", *(f"lead-{n}" for n in range(10, 25))]
    talk.say(up, Joined(ID, None, "", encode_found(names, [ABROAD.credential.raw, LEAD.credential.raw], ())))
    assert answers(talk, zeek) == [(ID, Code.BAD_AUDIENCE)]


def test_who_is_known_by_a_credential_that_is_over_may_be_known_better_above(root, talk):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.core.trust.introduce(OVER.credential.raw)
    talk.say(zeek, who("lead-3"))
    assert [frame.id for frame in asked(talk, up)] == [ID]
    root.core.trust.introduce(OVER.credential.raw)
    zeek = root.connect(ZEEK, Role.POINT)
    root.say(zeek, who("lead-3"))
    assert found(root, zeek) == Found((), digests(OVER), ()), "nobody is above the root"


def test_a_child_hands_it_on_as_it_is_and_filters_for_its_own(talk):
    up, child = talk.dial(HQ, Role.CHILD), talk.connect(CHILD, Role.CHILD)
    talk.say(child, who("lead-4"))
    raw = encode_found((), [ABROAD.credential.raw], ())
    talk.say(up, Joined(ID, None, "", raw))
    assert [frame.answer for frame in talk.heard(child, Joined)] == [raw]


@pytest.mark.parametrize("answer", [b"", b"junk", b"x" * 1_000])
def test_an_answer_that_is_none_is_handed_on_and_ends_nothing(talk, answer):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, who("lead-2"))
    talk.say(up, Joined(ID, None, "", answer))
    assert [frame.answer for frame in talk.heard(zeek, Joined)] == [answer] and talk.closed == []


def test_what_is_no_credential_is_left_out_of_it(talk):
    up, zeek = talk.dial(HQ, Role.CHILD), talk.connect(ZEEK, Role.POINT)
    talk.say(zeek, who("lead-2"))
    talk.say(up, Joined(ID, None, "", encode_found((), [b"junk", DEPUTY.credential.raw], ())))
    assert found(talk, zeek) == Found((), digests(DEPUTY), ())


def test_strangers_do_not_ask_it_and_it_has_to_be_a_question(root):
    stranger, zeek = knock(root), root.connect(ZEEK, Role.POINT)
    root.say(stranger, who("lead-1"))
    assert answers(root, stranger) == [(ID, Code.NO_ISSUER)]
    root.say(zeek, Join(ID, "", b"", b"junk"))
    assert answers(root, zeek) == [(ID, Code.MALFORMED)]


def test_more_than_fits_is_asked_for_again(root):
    crowd = [AUTHORITY.issue(f"lead-{n:02}" + "x" * 40, tags=tuple((f"t{k}", "v" * 60) for k in range(31)))
             for n in range(15)]
    for member in crowd:
        assert not isinstance(root.core.trust.introduce(member.credential.raw), Reject)
    zeek = root.connect(ZEEK, Role.POINT)
    left = [member.id for member in crowd]
    for turn in range(9):
        root.now_ms += 1_000
        root.say(zeek, who(*left, id_=bytes([turn]) * 16))
        told = found(root, zeek)
        assert told.unknown == () and told.credentials
        left = [m.id for m in crowd if m.id in left and m.credential.digest not in told.credentials]
        if not left:
            return
    raise AssertionError(f"never told: {left}")


def test_so_many_selectors_are_looked_up_in_a_second_whoever_asks(root):
    links = [root.connect(AUTHORITY.issue(f"zeek-{n}"), Role.POINT) for n in range(2, 22)]
    for number in range(200):
        root.say(links[number % 20], who(role="lead", id_=number.to_bytes(16)))
    codes = [frame.code for link in links for frame in root.heard(link, Joined)]
    assert codes.count(None) == 10 * SELECTORS_PER_S and codes.count(Code.BUSY) == 200 - 10 * SELECTORS_PER_S
    root.now_ms += 1_000
    root.say(links[0], who(role="lead", id_=b"?" * 16))
    assert root.heard(links[0], Joined)[-1].code is None
