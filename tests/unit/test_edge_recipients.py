"""Records that wait for recipients' keys: what is asked, what goes, and what never can."""


import pytest

from fabric.edge.publishing.composer import Draft, Stamp
from fabric.edge.publishing.recipients import _SELECTED_MS, ASKED_MAX, WAITING_MAX, Recipients
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ASK_MS
from fabric.protocol.core.ready import Answered, Ready, Tick
from fabric.protocol.enrolment.recipients import MEMBERS_NAMED_MAX, Wanted, decode_wanted, encode_found
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.sealed_parts import recipient
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Grants
from fabric.protocol.trust.revocations import issue_revocations, verify_revocations
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import FABRIC, T0, Authority, entropy

AUTHORITY = Authority("recipients")
ME = AUTHORITY.issue("zeek-1")
ROLE = (("role", "lead"),)
LEAD, DEPUTY = AUTHORITY.issue("lead-1", tags=ROLE), AUTHORITY.issue("lead-2", tags=ROLE)
AMBER = AUTHORITY.issue("analyst-1", clearance=Label.AMBER)
ABROAD = AUTHORITY.issue("lead-4", organisation="msp", tags=ROLE)
OVER = AUTHORITY.issue("lead-5", not_after_ms=1)


class House:
    def __init__(self):
        self.core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"), ("mid",))
        self.recipients = Recipients(self.core, entropy("questions"))
        self.now_ms = T0
        self.asked = []
        self.drafts = 0

    def draft(self, *names, organisations=(), label=Label.RED):
        self.drafts += 1
        audience = Audience(tuple(organisations), (), names) if names or organisations else None
        stamp = Stamp(Kind.EVENT, "detections.x", Severity.LOW, Phase.NONE, 60_000, label, audience=audience)
        return Draft(stamp, {"n": self.drafts}, self.now_ms, None)

    def sort(self, *drafts):
        """Which can go, and the errors of those that never can."""
        before = set(self.recipients._asked)
        fit, failed = self.recipients.sort(drafts, self.now_ms, Ready())
        self.asked += [id_ for id_ in self.recipients._asked if id_ not in before]
        return list(fit), [(error.code, error.detail) for _, error in failed]

    def wanted(self):
        return list(self.recipients._asked.values())

    def answer(self, *members, of_role=(), unknown=()):
        raw = encode_found(of_role, [member.credential.raw for member in members], unknown)
        assert self.recipients.answered(Answered(self.asked.pop(0), None, raw), self.now_ms)

    def revoke(self, *ids):
        raw = issue_revocations(FABRIC, 2, self.now_ms, self.now_ms + 10**9, ids, AUTHORITY.signer)
        self.core.trust.take_revocations(verify_revocations(raw, AUTHORITY.key, FABRIC))


@pytest.fixture
def house():
    return House()


def test_what_is_not_red_does_not_wait(house):
    drafts = [house.draft(label=Label.AMBER), house.draft(organisations=("msp",), label=Label.AMBER)]
    assert house.sort(*drafts) == (drafts, []) and house.wanted() == []


def test_a_record_waits_until_it_is_known_who_that_is(house):
    draft, other = house.draft("lead-1"), house.draft(label=Label.GREEN)
    assert house.sort(draft, other) == ([other], [])
    assert house.wanted() == [Wanted(("lead-1",))] and len(house.recipients) == 1
    assert house.sort() == ([], []) and len(house.asked) == 1, "asked once"
    house.answer(LEAD)
    assert house.sort() == ([draft], []) and not house.recipients
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
    assert house.sort(other) == ([other], []) and len(house.recipients) == 1
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


def test_more_than_can_be_named_are_too_many(house):
    crowd = [AUTHORITY.issue(f"lead-{n:02}", tags=ROLE) for n in range(17)]
    for member in crowd:
        house.core.trust.introduce(member.credential.raw)
    house.sort(house.draft("role=lead"))
    house.answer(of_role=[member.id for member in crowd])
    assert house.sort()[1] == [(Code.BAD_AUDIENCE, "17 recipients, and at most 15 can be named")]
    fit, ((_, error),) = house.recipients.sort([house.draft("role=lead")], house.now_ms, Ready())
    assert fit == [] and error.next_step == "name those who are to read it by their ids, 15 at a time"


def test_where_no_relay_answers_it_ends_in_time(house):
    house.sort(house.draft("lead-1"))
    house.now_ms += ASK_MS
    (answered,) = [each for each in house.core.step(Tick(), house.now_ms).deliver if isinstance(each, Answered)]
    assert house.recipients.answered(answered, house.now_ms)
    assert house.sort()[1] == [(Code.RECIPIENT_UNKNOWN, "lead-1: no relay says who that is")]


def test_an_answer_that_is_none_ends_it(house):
    house.sort(house.draft("lead-1"))
    assert house.recipients.answered(Answered(house.asked[0], None, b"junk"), house.now_ms)
    assert house.sort()[1][0][0] is Code.RECIPIENT_UNKNOWN


def test_answers_that_nobody_asked_for_are_somebody_else_s(house):
    assert not house.recipients.answered(Answered(b"?" * 16, Reject(Code.NO_ISSUER), b""), house.now_ms)


def test_so_many_wait_and_no_more(house):
    drafts = [house.draft("lead-1") for _ in range(WAITING_MAX + 1)]
    assert [code for code, _ in house.sort(*drafts)[1]] == [Code.BUSY]
    assert len(house.recipients) == WAITING_MAX and len(house.wanted()) == 1


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
    assert house.recipients.end(FabricError(Code.CLOSED)) == [draft] and not house.recipients and house.wanted() == []


def test_what_is_asked_is_a_question_to_no_issuer(house):
    ready = Ready()
    house.recipients.sort([house.draft("lead-1")], house.now_ms, ready)
    (open_,) = house.core.questions._open.values()
    assert open_.frame.issuer == "" and decode_wanted(open_.frame.request) == Wanted(("lead-1",))


def test_of_a_renewed_credential_the_key_is_the_same(house):
    house.core.trust.introduce(LEAD.credential.raw)
    before = house.recipients.keys_of(("lead-1",))
    renewed = AUTHORITY.issue("lead-1", tags=ROLE, serial=2)
    house.core.trust.introduce(renewed.credential.raw)
    assert house.recipients.keys_of(("lead-1",)) == before


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
    house.recipients.when_known(action(), lambda *_: None, errors.append, house.now_ms, Ready())
    (question,) = house.recipients._asked
    found = encode_found([wall.id for wall in walls], [], ())
    assert house.recipients.answered(Answered(question, None, found), house.now_ms) and house.sort() == ([], [])
    (error,) = errors
    assert (error.code, error.detail) == (Code.BAD_AUDIENCE, "16 recipients, and at most 15 can be named")
    assert error.next_step.startswith("ask some of them at a time, by a narrower selector: ")


def ask(house, draft, told):
    before = set(house.recipients._asked)
    house.recipients.when_known(
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
    assert house.recipients.end(FabricError(Code.CLOSED)) == [] and told[1][0] is Code.CLOSED
