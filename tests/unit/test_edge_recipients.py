"""To whom something is sealed: what is asked of the relays above, and what their answers are worth."""

import pytest

from fabric.edge.publishing.recipients import _SELECTED_MS, ASKED_MAX
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ASK_MS
from fabric.protocol.core.ready import Answered, Ready, Tick
from fabric.protocol.enrolment.recipients import MEMBERS_NAMED_MAX, Wanted, decode_wanted
from tests.edge_recipients import ABROAD, AMBER, AUTHORITY, DEPUTY, LEAD, OVER, ROLE, House
from tests.support import T0, Authority


@pytest.fixture
def house():
    return House()


def test_who_is_asked_for_is_found_when_the_answer_came(house):
    ready = Ready()
    assert house.recipients.find(("lead-1", "lead-1"), T0) is None
    assert house.wanted() == [], "at the end of the turn"
    house.recipients.ask(T0, ready)
    assert house.recipients.find(("lead-1",), T0) is None
    house.recipients.ask(T0, ready)
    assert house.wanted() == [Wanted(("lead-1",))], "asked once"
    house.asked += house.recipients._asked
    house.answer(LEAD)
    assert house.recipients.find(("lead-1", "lead-1"), T0) == ("lead-1",)


def test_at_the_end_no_answer_is_waited_for(house):
    house.sort(house.draft("lead-1"))
    house.recipients.end()
    assert house.wanted() == [] and not house.recipients.answered(Answered(house.asked[0], None, b""), T0)
    assert house.recipients.find(("lead-1",), T0) is None
    house.recipients.ask(T0, Ready())
    assert house.wanted() == [Wanted(("lead-1",))], "and it can be asked for again"


def test_a_role_is_asked_for_anew_after_a_while(house):
    house.sort(house.draft("role=lead"))
    house.answer(LEAD, of_role=("lead-1",))
    house.sort()
    house.now_ms += _SELECTED_MS - 1
    assert house.sort(house.draft("role=lead"))[0]
    house.now_ms += 1
    assert house.sort(house.draft("role=lead"))[0] == []
    house.answer(LEAD, DEPUTY, of_role=("lead-1", "lead-2"))
    ((draft,), _) = house.sort()
    assert draft.stamp.audience.recipients == ("lead-1", "lead-2")


def test_members_whose_credentials_had_no_place_are_asked_for(house):
    draft = house.draft("role=lead")
    house.sort(draft)
    house.answer(LEAD, of_role=("lead-1", "lead-2"))
    assert house.sort() == ([], []) and house.wanted() == [Wanted(("lead-2",))]
    house.answer(DEPUTY)
    assert house.sort() == ([draft], [])
    assert draft.stamp.audience.recipients == ("lead-1", "lead-2")


def test_a_relay_cannot_add_anybody_to_a_role(house):
    thief = AUTHORITY.issue("thief-1")
    house.sort(house.draft("role=lead"))
    house.answer(LEAD, thief, of_role=("lead-1", "thief-1"))
    assert house.sort() == ([], [(Code.RECIPIENT_UNKNOWN, "thief-1 is not selected by role=lead, and a relay says so")])


def test_nor_give_somebody_else_s_credential_for_the_one_that_was_asked_for(house):
    other = Authority("another")
    forged = other.issue("lead-1")
    house.sort(house.draft("lead-1"))
    house.answer(forged, AMBER)
    assert house.sort()[1] == [(Code.RECIPIENT_UNKNOWN, "lead-1: the relays above answer without its credential")]


@pytest.mark.parametrize(("names", "answer", "error"), [
    (("lead-9",), {"unknown": ("lead-9",)}, (Code.RECIPIENT_UNKNOWN, "lead-9")),
    (("role=cook",), {}, (Code.RECIPIENT_UNKNOWN, "role=cook selects nobody who is known")),
])
def test_whom_nobody_knows_ends_the_record(house, names, answer, error):
    house.sort(house.draft(*names))
    house.answer(**answer)
    assert house.sort() == ([], [error])
    assert house.sort(house.draft(*names)) == ([], []), "it may be known by now: it is asked for again"
    assert len(house.wanted()) == 1


def test_who_was_revoked_and_whose_credential_is_over_gets_nothing(house):
    house.sort(house.draft("lead-1"), house.draft("lead-5"))
    house.answer(LEAD, OVER)
    assert house.sort()[1] == [(Code.CREDENTIAL_EXPIRED, "lead-5")]
    assert house.sort(house.draft("lead-1"))[0]
    house.revoke("lead-1")
    assert house.sort(house.draft("lead-1")) == ([], [(Code.RECIPIENT_REVOKED, "lead-1")])
    with pytest.raises(FabricError):
        house.recipients.keys_of(("lead-1",))


def test_who_was_revoked_before_anybody_here_met_it_is_not_asked_for(house):
    house.revoke("lead-9")
    assert house.sort(house.draft("lead-9")) == ([], [(Code.RECIPIENT_REVOKED, "lead-9")])
    assert house.wanted() == []


def test_who_may_not_have_it_is_named(house):
    house.sort(house.draft("analyst-1"), house.draft("lead-4"))
    house.answer(AMBER, ABROAD)
    assert house.sort()[1] == [
        (Code.BAD_AUDIENCE, "analyst-1 is cleared for amber, and may not have what is red"),
        (Code.BAD_AUDIENCE, "lead-4 may not have what is red, as its organisation msp is not named"),
    ]
    assert house.sort(house.draft("lead-4", organisations=("msp",)))[0]


def test_where_no_relay_answers_it_ends_in_time(house):
    house.sort(house.draft("lead-1"))
    house.now_ms += ASK_MS
    (answered,) = [each for each in house.core.step(Tick(), house.now_ms).deliver if isinstance(each, Answered)]
    assert house.awaiting_keys.answered(answered, house.now_ms)
    assert house.sort()[1] == [(Code.RECIPIENT_UNKNOWN, "lead-1: no relay says who that is")]


def test_an_answer_that_is_none_ends_it(house):
    house.sort(house.draft("lead-1"))
    assert house.awaiting_keys.answered(Answered(house.asked[0], None, b"junk"), house.now_ms)
    assert house.sort()[1][0][0] is Code.RECIPIENT_UNKNOWN


def test_so_many_questions_and_no_more(house):
    most = ASKED_MAX * MEMBERS_NAMED_MAX
    errors = house.sort(*(house.draft(f"lead-{n}") for n in range(most + 1)))[1]
    assert [code for code, _ in errors] == [Code.BUSY] and len(house.wanted()) == ASKED_MAX
    assert house.sort(house.draft(f"lead-{most - 1}", "lead-0")) == ([], []), "these were asked for"
    assert [code for code, _ in house.sort(house.draft("role=lead"))[1]] == [Code.BUSY]


def test_those_of_many_records_are_asked_for_together_and_each_once(house):
    house.sort(house.draft("lead-1", "lead-2"), house.draft("lead-2", "lead-9"), house.draft("lead-9"))
    assert house.wanted() == [Wanted(("lead-1", "lead-2", "lead-9"))]
    house.answer(LEAD, DEPUTY, unknown=("lead-9",))
    (fit, errors) = house.sort()
    assert len(fit) == 1 and errors == [(Code.RECIPIENT_UNKNOWN, "lead-9")] * 2


def test_members_of_two_roles_are_asked_for_once(house):
    house.sort(house.draft("role=lead", "role=deputy"))
    members = [f"lead-{n:02}" for n in range(12)]
    house.answer(of_role=members)
    house.answer(of_role=members)
    house.sort()
    assert house.wanted() == [Wanted(tuple(members))]


def test_a_credential_that_is_over_may_have_been_renewed(house):
    was = AUTHORITY.issue("lead-6", not_after_ms=T0 + 1_000)
    house.sort(house.draft("lead-6"))
    house.answer(was)
    assert house.sort()[0]
    house.now_ms += 10**8
    draft = house.draft("lead-6")
    assert house.sort(draft) == ([], []) and house.wanted() == [Wanted(("lead-6",))]
    house.answer(AUTHORITY.issue("lead-6", serial=2, not_after_ms=T0 + 10**9))
    assert house.sort() == ([draft], [])


def test_where_it_was_not_that_is_said(house):
    was = AUTHORITY.issue("lead-6", not_after_ms=T0 + 1_000)
    house.core.trust.introduce(was.credential.raw)
    house.now_ms += 10**8
    house.sort(house.draft("lead-6"))
    house.answer(was)
    assert house.sort() == ([], [(Code.CREDENTIAL_EXPIRED, "lead-6")]) and house.wanted() == []


def test_what_is_asked_is_a_question_to_no_issuer(house):
    ready = Ready()
    house.awaiting_keys.sort([house.draft("lead-1")], house.now_ms, ready)
    (open_,) = house.core.questions._open.values()
    assert open_.frame.issuer == "" and decode_wanted(open_.frame.request) == Wanted(("lead-1",))


def test_of_a_renewed_credential_the_key_is_the_same(house):
    house.core.trust.introduce(LEAD.credential.raw)
    before = house.recipients.keys_of(("lead-1",))
    renewed = AUTHORITY.issue("lead-1", tags=ROLE, serial=2)
    house.core.trust.introduce(renewed.credential.raw)
    assert house.recipients.keys_of(("lead-1",)) == before
