"""Records that wait for recipients' keys: what goes, and what never can."""

import pytest

from fabric.edge.publishing.awaiting_keys import WAITING_MAX
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Answered, Ready
from fabric.protocol.enrolment.recipients import Wanted, encode_found
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.sealed_parts import recipient
from fabric.protocol.trust.credentials import Grants
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.edge_recipients import AUTHORITY, DEPUTY, LEAD, ME, ROLE, House
from tests.support import T0


@pytest.fixture
def house():
    return House()


def test_what_is_not_red_does_not_wait(house):
    drafts = [house.draft(label=Label.AMBER), house.draft(organisations=("msp",), label=Label.AMBER)]
    assert house.sort(*drafts) == (drafts, []) and house.wanted() == []


def test_a_record_waits_until_it_is_known_who_that_is(house):
    draft, other = house.draft("lead-1"), house.draft(label=Label.GREEN)
    assert house.sort(draft, other) == ([other], [])
    assert house.wanted() == [Wanted(("lead-1",))] and len(house.awaiting_keys) == 1
    assert house.sort() == ([], []) and len(house.asked) == 1, "asked once"
    house.answer(LEAD)
    assert house.sort() == ([draft], []) and not house.awaiting_keys
    assert house.recipients.keys_of(("zeek-1", "lead-1")) == [
        recipient(ME.credential), recipient(LEAD.credential)
    ]
    again = house.draft("lead-1")
    assert house.sort(again) == ([again], []), "who is known is not asked for"


def test_those_that_wait_are_looked_at_when_there_is_news(house):
    draft = house.draft("lead-1")
    house.sort(draft)
    house.core.trust.introduce(LEAD.credential.raw)
    other = house.draft(label=Label.GREEN)
    assert house.sort(other) == ([other], []) and len(house.awaiting_keys) == 1
    again = house.draft("lead-1")
    assert house.sort(again) == ([again], []), "what can go does not wait for what came before it"
    house.answer(LEAD)
    assert house.sort() == ([draft], [])


def test_a_role_becomes_those_who_have_it(house):
    draft = house.draft("role=lead", "lead-1")
    house.sort(draft)
    assert house.wanted() == [Wanted(("lead-1",)), Wanted((), "role=lead")]
    house.answer(LEAD)
    house.answer(LEAD, DEPUTY, of_role=("lead-1", "lead-2"))
    assert house.sort() == ([draft], [])
    assert draft.stamp.audience == Audience((), (), ("lead-1", "lead-2"))


def test_more_than_can_be_named_are_too_many(house):
    crowd = [AUTHORITY.issue(f"lead-{n:02}", tags=ROLE) for n in range(17)]
    for member in crowd:
        house.core.trust.introduce(member.credential.raw)
    house.sort(house.draft("role=lead"))
    house.answer(of_role=[member.id for member in crowd])
    assert house.sort()[1] == [(Code.BAD_AUDIENCE, "17 recipients, and at most 15 can be named")]
    fit, ((_, error),) = house.awaiting_keys.sort([house.draft("role=lead")], house.now_ms, Ready())
    assert fit == [] and error.next_step == "name those who are to read it by their ids, 15 at a time"


def test_answers_that_nobody_asked_for_are_somebody_else_s(house):
    assert not house.awaiting_keys.answered(Answered(b"?" * 16, Reject(Code.NO_ISSUER), b""), house.now_ms)


def test_so_many_wait_and_no_more(house):
    drafts = [house.draft("lead-1") for _ in range(WAITING_MAX + 1)]
    assert [code for code, _ in house.sort(*drafts)[1]] == [Code.BUSY]
    assert len(house.awaiting_keys) == WAITING_MAX and len(house.wanted()) == 1


def test_an_answer_for_which_nothing_waits_is_not_remembered(house):
    house.sort(house.draft("lead-1", "lead-2"))
    house.revoke("lead-1")
    house.sort()
    house.answer(unknown=("lead-2",))
    house.sort()
    assert house.sort(house.draft("lead-2")) == ([], []) and house.wanted() == [Wanted(("lead-2",))]


def test_at_the_end_what_waits_is_handed_back(house):
    draft = house.draft("lead-1")
    house.sort(draft)
    assert house.awaiting_keys.end(FabricError(Code.CLOSED)) == [draft]
    assert not house.awaiting_keys and house.wanted() == []


# -- what an action is sealed to ------------------------------------------------------------------------------

WALL, OFF = (AUTHORITY.issue(id_, tags=(("role", "firewall"),), grants=Grants(execute=execute))
             for id_, execute in (("fw-1", ("deny *",)), ("fw-2", ("allow *",))))


def action(to="role=firewall"):
    stamp = Stamp(Kind.ACTION, "deny.ipv4_net", Severity.HIGH, Phase.NONE, 60_000, Label.GREEN,
                  (("target", Label.RED),), to=to, audience=Audience((), (), (to,)))
    return Draft(stamp, {"target": {"ipv4_net": "192.0.2.1"}}, T0, None)


def test_an_action_for_too_many_is_to_be_asked_for_in_parts(house):
    walls = [AUTHORITY.issue(f"w-{n:02}", tags=WALL.credential.tags, grants=WALL.credential.grants) for n in range(16)]
    for wall in walls:
        house.core.trust.introduce(wall.credential.raw)
    errors = []
    house.awaiting_keys.when_known(action(), lambda *_: None, errors.append, house.now_ms, Ready())
    (question,) = house.recipients._asked
    found = encode_found([wall.id for wall in walls], [], ())
    assert house.awaiting_keys.answered(Answered(question, None, found), house.now_ms) and house.sort() == ([], [])
    (error,) = errors
    assert (error.code, error.detail) == (Code.BAD_AUDIENCE, "16 recipients, and at most 15 can be named")
    assert error.next_step.startswith("ask some of them at a time, by a narrower selector: ")


def ask(house, draft, told):
    before = set(house.recipients._asked)
    house.awaiting_keys.when_known(
        draft, lambda now_ms, ready: told.append(now_ms), lambda error: told.append((error.code, error.detail)),
        house.now_ms, Ready(),
    )
    house.asked += [id_ for id_ in house.recipients._asked if id_ not in before]


def test_an_action_is_sealed_to_those_whom_it_selects_and_who_may_execute_it(house):
    told, draft = [], action()
    ask(house, draft, told)
    assert told == [] and house.wanted() == [Wanted((), "role=firewall", "deny.ipv4_net")]
    house.answer(WALL, of_role=("fw-1",))
    house.now_ms += 70
    assert house.sort() == ([], []) and told == [T0 + 70], "it is not published with what waits"
    assert draft.stamp.audience == Audience((), (), ("fw-1",))
    again = action()
    ask(house, again, told)
    assert told == [T0 + 70, T0 + 70] and again.stamp.audience == draft.stamp.audience, "at once, of whom is known"


def test_all_is_everybody_and_not_one_of_that_name(house):
    told, draft = [], action("all")
    ask(house, draft, told)
    assert house.wanted() == [Wanted((), "all", "deny.ipv4_net")]
    named = AUTHORITY.issue("all", tags=WALL.credential.tags, grants=WALL.credential.grants)
    house.answer(named, of_role=("all",))
    assert house.sort() == ([], []) and told == [T0]
    assert draft.stamp.audience == Audience((), (), ("all",))


def test_a_relay_cannot_aim_it_at_who_may_not_execute_it(house):
    told = []
    ask(house, action(), told)
    house.answer(WALL, OFF, of_role=("fw-1", "fw-2"))
    house.sort()
    assert told == [(Code.RECIPIENT_UNKNOWN, "fw-2 is not selected by role=firewall, and a relay says so")]


def test_an_action_for_nobody_and_one_that_waits_at_the_end_are_told(house):
    told = []
    ask(house, action(), told)
    house.answer(of_role=())
    house.sort()
    assert told == [(Code.RECIPIENT_UNKNOWN, "role=firewall selects nobody who is known")]
    ask(house, action("id=fw-9"), told)
    assert house.awaiting_keys.end(FabricError(Code.CLOSED)) == [] and told[1][0] is Code.CLOSED
