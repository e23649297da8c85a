"""What a member says about links, credentials, routes and sessions stops nobody, fills nothing and lies to nobody."""

from dataclasses import replace

import pytest

from fabric.protocol.base import signing
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import (
    ADMISSIONS_PER_ID_PER_S,
    FORGED_MAX,
    INTRO_MAX,
    ROUTES_ENTRIES_MAX,
    SESSION_GRACE_MS,
    SESSIONS_AWAY_MAX,
    SESSIONS_OPEN_MAX,
    SESSIONS_PER_ID_MAX,
    SESSIONS_READING_MAX,
    WITHDRAWALS_MAX,
)
from fabric.protocol.base.signing import Signer
from fabric.protocol.core.ready import KeepCredential, Ready
from fabric.protocol.custody.sessions import point_session
from fabric.protocol.envelope import verify
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes import attachments
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust import store
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Grants, Issuing, NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Bye,
    Data,
    Direction,
    Hello,
    Intro,
    Item,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Welcome,
)
from tests.conversation import Conversation
from tests.support import DAY_MS, EVERYTHING, FABRIC, T0, Authority, Member, derive, entropy, verified

AUTHORITY = Authority("hostile links")
ME, PARENT, CHILD, OTHER_CHILD = (
    AUTHORITY.issue(name, NodeKind.RELAY, Label.RED) for name in ("mid", "hq", "low", "far")
)
MOLE, HONEST = (AUTHORITY.issue(name, grants=EVERYTHING) for name in ("mole", "honest"))


def relay(*parents):
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("hostile"), parents))


@pytest.fixture
def talk():
    made = relay("hq")
    made.up = made.dial(PARENT, Role.CHILD)
    return made


def session_of(number):
    return number.to_bytes(16, "big")


def hello(member, talk, **changed):
    said = Hello(1, 1, FABRIC, Role.POINT, member.credential.raw, b"s" * 16, b"n" * 16, talk.now_ms, 0, 0)
    return said._replace(**changed)


def attachment(member, relay_, number=0, epoch=1, patterns=(), **fields):
    return sign_attachment(
        member.credential, member.signer, session_of(number), relay_, epoch, False, tuple(patterns), **fields
    )


def open_session(talk, number, member=MOLE, *, attaches=True, patterns=("detections.>",)):
    talk.now_ms += 10  # so that it is let in at once
    link = talk.connect(member, Role.POINT, session=session_of(number))
    if attaches:
        talk.attach(link, member, "mid", *patterns, session=session_of(number), epoch=talk.now_ms)
    return link


def told_up(talk):
    """What the parent is told, each answered at once: of each frame, how many attachments and which withdrawals."""
    frames = []
    while heard := talk.heard(talk.up, Routes):
        for frame in heard:
            frames.append((len(frame.attachments), [name for name, _, _ in frame.withdrawals]))
            talk.say(talk.up, Routed(frame.sequence, []))
    return frames


# -- HELLO ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [{"version_min": 9, "version_max": 9}, {"version_max": 2}, {"role": Role.CHILD}, {"session": b"t" * 16},
     {"nonce": b"x" * 16}, {"fabric": "other"}, {"credential": HONEST.credential.raw}, {"credential": b""}],
    ids=str,
)
@pytest.mark.parametrize("waits", [False, True])
def test_a_second_hello_that_says_something_else_ends_the_link(talk, monkeypatch, changed, waits):
    if waits:
        monkeypatch.setattr(talk.core._admission, "due", lambda _now: [])
    link = talk.connect(MOLE, Role.POINT)
    talk.say(link, hello(MOLE, talk, **changed))
    assert link in talk.closed and talk.heard(link, Refused)[-1].code is Code.WRONG_ROLE


def test_the_same_hello_is_welcome_again(talk):
    link = talk.connect(MOLE, Role.POINT)
    talk.heard(link, Welcome)
    talk.now_ms += 1_000
    talk.say(link, hello(MOLE, talk, revocations_version=0))
    assert len(talk.heard(link, Welcome)) == 1 and link not in talk.closed


# -- INTRO ----------------------------------------------------------------------------------------------------


def many_of(id_, count=8):
    return [AUTHORITY.issue(id_, grants=Grants(execute=("deny *",)), serial=serial) for serial in range(1, count + 1)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_many_credentials_of_one_id_in_any_order(talk, newest_first):
    every = many_of("fw-1")
    link = talk.connect(every[-1], Role.POINT)
    said = reversed(every) if newest_first else every
    talk.say(link, Intro([member.credential.raw for member in said]))
    assert talk.core.trust.credentials.newest("fw-1").serial == 8 and link not in talk.closed


def test_the_same_at_a_control_point(talk):
    point = Conversation(Point(MOLE.credential, MOLE.signer, AUTHORITY.key, b"a" * 16, entropy("p"), ("mid",)))
    link = point.dial(ME, Role.POINT)
    point.say(link, Intro([member.credential.raw for member in reversed(many_of("fw-1"))]))
    assert link not in point.closed


@pytest.mark.parametrize("turn", range(8))
def test_what_is_on_disk_is_read_back_in_any_order(turn):
    every = many_of("fw-1")
    kept = [KeepCredential(m.credential.digest, m.credential.raw) for m in (*every[turn:], *every[:turn])]
    core = relay("hq").core
    core.restore([*kept[::2], *kept[1::2]], T0)
    assert core.trust.credentials.newest("fw-1").serial == 8 and len(core.trust.credentials) == 1 + 4


def issuer_of(*patterns, name="plant"):
    signer = Signer(derive(name))
    made = AUTHORITY.issue(name).credential
    issuing = Issuing(ids=patterns, kinds=(NodeKind.POINT,), segments=("hq",), organisations=("acme",),
                      clearance=Label.GREEN, grants=Grants(subscribe=(">",)))
    raw = issue(replace(made, kind=NodeKind.ISSUER, sign_key=signer.public, grants=Grants(), raw=b"", digest=b"",
                        issuing=issuing), AUTHORITY.signer)
    return Member(verify_credential(raw, AUTHORITY.key, FABRIC), signer, made.curve_key)


def vouched(member, issuer, serial, **fields):
    """Somebody's own keys, as an issuer vouches for them."""
    fields = {"clearance": Label.GREEN, "grants": Grants(), **fields}
    raw = issue(replace(member.credential, serial=serial, raw=b"", digest=b"", issuers=(), **fields),
                issuer.signer, issuer.credential)
    credential = verify_credential(raw, AUTHORITY.key, FABRIC)
    assert credential.issuers == (issuer.id,)
    return replace(member, credential=credential)


def test_an_issuer_that_turned_takes_nothing_from_whom_the_authority_vouches_for(talk):
    issuer = issuer_of("p1-*")
    victim = AUTHORITY.issue("p1-zeek", grants=EVERYTHING)
    link = talk.connect(victim, Role.POINT)
    mole = talk.connect(issuer, Role.POINT, session=b"i" * 16)
    talk.say(mole, Intro([vouched(victim, issuer, serial).credential.raw for serial in range(2, 14)]))
    assert talk.core.trust.credentials.newest("p1-zeek") == victim.credential
    for n in range(3):
        message = verified(victim, sequence=n)
        talk.send(link, message)
        assert [id_ for frame in talk.heard(link, Ack) for id_ in frame.ids] == [message.id]
    assert not talk.heard(link, Nack)


def test_nor_does_it_change_what_somebody_may_who_introduces_it_himself(talk):
    issuer = issuer_of("p1-*")
    victim = AUTHORITY.issue("p1-zeek", grants=EVERYTHING)
    link = talk.connect(victim, Role.POINT)
    talk.say(link, Intro([vouched(victim, issuer, 99).credential.raw]))
    assert talk.core.links[link].peer == victim.credential
    newer = AUTHORITY.issue("p1-zeek", grants=EVERYTHING, serial=2)
    talk.say(link, Intro([newer.credential.raw]))
    assert talk.core.links[link].peer == newer.credential, "the authority's own newer one does"


def test_too_many_credentials_in_one_frame_are_no_introduction(talk):
    link = talk.connect(MOLE, Role.POINT)
    talk.say(link, Intro([MOLE.credential.raw] * INTRO_MAX))
    assert link not in talk.closed
    talk.say(link, Intro([MOLE.credential.raw] * (INTRO_MAX + 1)))
    assert link in talk.closed and talk.heard(link, Refused)[-1].code is Code.TOO_LARGE


class Counting:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args):
        self.calls += 1
        return self.function(*args)


def test_what_was_verified_once_costs_no_signature_more(talk, monkeypatch):
    link = talk.connect(MOLE, Role.POINT)
    counting = Counting(store.verify_credential)
    monkeypatch.setattr(store, "verify_credential", counting)
    forged = Authority("nobody").issue("nobody")
    for _ in range(20):
        talk.say(link, Intro([MOLE.credential.raw, HONEST.credential.raw, forged.credential.raw]))
    assert counting.calls == 2, "the mole's own was seen in its HELLO"


def test_three_credentials_that_nobody_vouched_for_end_the_link(talk, monkeypatch):
    nobody = Authority("nobody")
    link = talk.connect(MOLE, Role.POINT)
    counting = Counting(store.verify_credential)
    monkeypatch.setattr(store, "verify_credential", counting)
    talk.say(link, Intro([nobody.issue(f"nobody-{n}").credential.raw for n in range(INTRO_MAX)]))
    assert counting.calls == FORGED_MAX
    assert link in talk.closed and talk.heard(link, Refused)[-1].code is Code.BAD_CREDENTIAL


# -- DATA -----------------------------------------------------------------------------------------------------


def forged_items(count):
    items = []
    for n in range(count):
        message = verified(MOLE, sequence=n)
        envelope = decode_envelope(message.raw)
        bad = encode_envelope(envelope._replace(signature=bytes([n]) * 64))
        items.append(Item(Direction.UP, 0, [], [], bad))
    return message.header.lane, items


def test_reading_stops_at_the_third_forged_message_of_a_frame(talk, monkeypatch):
    link = talk.connect(MOLE, Role.POINT)
    lane, items = forged_items(40)
    counting = Counting(signing.verify)
    monkeypatch.setattr(verify.signing, "verify", counting)
    talk.say(link, Data(lane, talk.now_ms, items))
    assert counting.calls == FORGED_MAX
    assert link in talk.closed and talk.heard(link, Refused)[-1].code is Code.BAD_SIGNATURE


def test_one_forged_message_is_refused_and_its_link_goes_on(talk):
    link = talk.connect(MOLE, Role.POINT)
    lane, items = forged_items(FORGED_MAX - 1)
    talk.say(link, Data(lane, talk.now_ms, items))
    assert [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals] == [Code.BAD_SIGNATURE] * 2
    assert link not in talk.closed


# -- ROUTES ---------------------------------------------------------------------------------------------------


def child(talk, member=CHILD):
    link = talk.connect(member, Role.CHILD)
    talk.place(link, member, "mid")
    return link


def routes(sequence, attachments=(), withdrawals=(), first=False):
    return Routes(sequence, first, list(attachments), list(withdrawals))


def test_a_control_point_withdraws_itself_only(talk):
    low = child(talk)
    talk.attach(low, HONEST, "low", session=session_of(0))
    for sequence, key in enumerate([("honest", session_of(0)), ("mole", b"t" * 16), ("nobody", bytes(16))]):
        link = talk.connect(MOLE, Role.POINT)
        talk.say(link, routes(sequence + 1, withdrawals=[(*key, 2**50)]))
        assert link in talk.closed and talk.heard(link, Refused)[-1].code is Code.WRONG_PEER
    assert talk.core.routes.get(("honest", session_of(0))) is not None
    link = talk.connect(MOLE, Role.POINT)
    talk.attach(link, MOLE, "mid", "detections.>")
    talk.say(link, routes(5, withdrawals=[("mole", b"s" * 16, 2**50)]))
    assert link not in talk.closed and not talk.core.routes.of_node("mole")


def test_a_child_that_invents_withdrawals_keeps_no_newcomer_waiting_and_fills_nothing(talk):
    told_up(talk)
    low, far = child(talk), child(talk, OTHER_CHILD)
    told_up(talk)
    sequence = 10
    # The parent answers nothing meanwhile, so all of it waits.
    for _ in range(400):
        sequence += 1
        made_up = [(f"nobody-{sequence}-{n}", bytes(16), 1) for n in range(ROUTES_ENTRIES_MAX)]
        talk.say(low, routes(sequence, withdrawals=made_up))
    link = talk.core.links[talk.up]
    assert len(link.routes_out.changes) <= WITHDRAWALS_MAX
    assert len(talk.core.route_exchange._withdrawn) <= WITHDRAWALS_MAX
    talk.attach(far, HONEST, "far", session=session_of(0))
    frames = told_up(talk)
    assert 1 in [attached for attached, _ in frames[:2]], "in the frame after the one that was under way"


def test_what_an_honest_child_withdrew_is_not_pushed_out_by_what_another_invents(talk):
    low, far = child(talk), child(talk, OTHER_CHILD)
    talk.attach(far, HONEST, "far", session=session_of(0))
    talk.say(far, routes(50, withdrawals=[("honest", session_of(0), 1)]))
    for sequence in range(100, 400):
        made_up = [(f"nobody-{sequence}-{n}", bytes(16), 1) for n in range(ROUTES_ENTRIES_MAX)]
        talk.say(low, routes(sequence, withdrawals=made_up))
    assert ("honest", session_of(0)) in talk.core.route_exchange._withdrawn


def test_more_entries_than_anybody_says_in_one_frame(talk):
    low = child(talk)
    talk.say(low, routes(10, withdrawals=[("x", bytes(16), 1)] * ROUTES_ENTRIES_MAX))
    assert low not in talk.closed
    talk.say(low, routes(11, withdrawals=[("x", bytes(16), 1)] * (ROUTES_ENTRIES_MAX + 1)))
    assert low in talk.closed and talk.heard(low, Refused)[-1].code is Code.TOO_LARGE


def test_what_is_known_already_costs_no_signature(talk, monkeypatch):
    low = child(talk)
    talk.say(low, Intro([MOLE.credential.raw]))
    said = [attachment(MOLE, "low", n) for n in range(40)]
    talk.say(low, routes(10, said))
    counting = Counting(signing.verify)
    monkeypatch.setattr(attachments.signing, "verify", counting)
    for sequence in range(11, 20):
        talk.say(low, routes(sequence, said))
    again = attachment(MOLE, "low", 50)
    talk.say(low, routes(30, [again] * ROUTES_ENTRIES_MAX))
    assert counting.calls == 1 and len(talk.core.routes.of_node("mole")) == 41


def test_three_forged_attachments_end_the_link(talk, monkeypatch):
    low = child(talk)
    talk.say(low, Intro([MOLE.credential.raw]))
    counting = Counting(signing.verify)
    monkeypatch.setattr(attachments.signing, "verify", counting)
    talk.say(low, routes(10, [attachment(MOLE, "low", n)[:-1] + bytes([n]) for n in range(40, 80)]))
    assert counting.calls <= FORGED_MAX + 1
    assert low in talk.closed and talk.heard(low, Refused)[-1].code is Code.BAD_SIGNATURE


def test_what_is_known_is_believed_no_longer_than_who_signed_it(talk):
    low = child(talk)
    former = AUTHORITY.issue("mole", grants=EVERYTHING)
    talk.say(low, Intro([former.credential.raw]))
    said = attachment(former, "low", 1)
    talk.say(low, routes(10, [said]))
    talk.core.trust.credentials._displace("mole")
    talk.heard(low, Routed)
    talk.say(low, routes(11, [said]))
    assert [code for _, code, _ in talk.heard(low, Routed)[-1].refusals] == [Code.REUSED_ID]


def test_a_relay_moves_once_in_a_frame(talk):
    low = child(talk)
    talk.say(low, Intro([OTHER_CHILD.credential.raw]))
    moves = [
        sign_attachment(OTHER_CHILD.credential, OTHER_CHILD.signer, b"f" * 16, relay_, epoch, False, ())
        for epoch, relay_ in enumerate(["low", "mid"] * 10, 1)
    ]
    talk.heard(low, Routed)
    talk.say(low, routes(10, moves))
    (routed,) = talk.heard(low, Routed)
    assert [code for _, code, _ in routed.refusals] == [Code.BUSY] * 19


# -- sessions -------------------------------------------------------------------------------------------------


def test_ghosts_of_one_identity_are_few(talk):
    """A daemon's loop connects, subscribes and vanishes, thousands of times."""
    for n in range(300):
        talk.lose(open_session(talk, n))
        talk.now_ms += 1_000 // ADMISSIONS_PER_ID_PER_S
    assert len(talk.core.routes.of_node("mole")) <= SESSIONS_AWAY_MAX
    assert len([d for d in talk.core.outboxes if d.startswith("point:mole/")]) <= SESSIONS_AWAY_MAX
    honest = talk.connect(HONEST, Role.POINT)
    message = verified(HONEST)
    talk.send(honest, message)
    assert len(talk.core.custody.get(message.id, Direction.UP).rows) <= 1 + SESSIONS_AWAY_MAX
    assert ("mole", session_of(299)) in [a.key for a in talk.core.routes.of_node("mole")], "the longest away went"


def test_who_leaves_much_behind_holds_up_nobody(talk):
    """A session that never reads gets thousands of messages, and leaves: what waited for it ends a part a turn."""
    honest, silent = talk.connect(HONEST, Role.POINT), open_session(talk, 0)
    waited = [verified(HONEST, sequence=n) for n in range(2_100)]
    talk.say(honest, Intro([HONEST.credential.raw]))
    for message in waited:
        talk.send(honest, message, introduce=False)
    destination = point_session("mole", session_of(0))

    def rows_of():
        return len(talk.core.outboxes[destination].rows()) if destination in talk.core.outboxes else 0

    assert rows_of() == len(waited)
    talk.say(silent, Bye(Code.CLOSED, ""))
    left, turns = rows_of(), 0
    assert len(waited) - left <= len(waited) // 8
    while rows_of():
        before = rows_of()
        talk.send(honest, verified(HONEST, sequence=len(waited) + turns), introduce=False)
        assert before - rows_of() <= len(waited) // 8
        turns += 1
    assert 4 < turns < 20 and destination not in talk.core.outboxes
    assert talk.core.counters["ended:no_interest"] >= len(waited)
    assert talk.core.counters["ended:subscriber_gone"] == 0


def test_those_that_say_nothing_of_themselves_too(talk):
    for n in range(300):
        talk.lose(open_session(talk, n, attaches=False))
    assert len([d for d in talk.core.outboxes if d.startswith("point:mole/")]) <= SESSIONS_AWAY_MAX
    talk.wait(SESSION_GRACE_MS + 1_000, every_ms=5_000)
    assert not [d for d in talk.core.outboxes if d.startswith("point:mole/")]


def test_a_durable_reader_that_is_away_is_not_pushed_out_by_calls_that_vanish(talk):
    durable = talk.connect(MOLE, Role.POINT, session=session_of(1_000))
    raw = attachment(MOLE, "mid", 1_000, patterns=("detections.>",), keep_ms=DAY_MS)
    talk.say(durable, Intro([MOLE.credential.raw]))
    talk.say(durable, routes(1, [raw], first=True))
    talk.lose(durable)
    for n in range(100):
        talk.lose(open_session(talk, n))
    assert point_session("mole", session_of(1_000)) in talk.core.outboxes


def test_one_more_open_session_than_one_may_have_is_refused(talk):
    links = [open_session(talk, n, attaches=False) for n in range(SESSIONS_OPEN_MAX)]
    one_more = open_session(talk, 999, attaches=False)
    assert one_more in talk.closed and talk.heard(one_more, Refused)[-1].code is Code.TOO_MANY_SESSIONS
    assert not set(links) & set(talk.closed)
    again = open_session(talk, 0, attaches=False)
    assert again not in talk.closed, "one of them that comes again is no other"
    talk.say(links[1], Bye(Code.CLOSED, ""))
    assert open_session(talk, 999, attaches=False) not in talk.closed


def test_one_more_session_that_subscribes_than_one_may_have_is_refused(talk):
    """Each costs its relay a copy of every message."""
    links = [open_session(talk, n) for n in range(SESSIONS_READING_MAX)]
    one_more = open_session(talk, 999)
    (refused,) = talk.heard(one_more, Refused)
    assert refused.code is Code.TOO_MANY_SESSIONS and one_more in talk.closed and not set(links) & set(talk.closed)
    assert point_session("mole", session_of(999)) not in talk.core.outboxes
    assert ("mole", session_of(999)) not in [a.key for a in talk.core.routes.of_node("mole")]
    publishes = open_session(talk, 1_000, patterns=())
    assert publishes not in talk.closed, "who reads nothing costs nothing"
    talk.attach(publishes, MOLE, "mid", "detections.>", session=session_of(1_000), epoch=talk.now_ms + 1)
    assert publishes in talk.closed
    talk.attach(links[0], MOLE, "mid", session=session_of(0), epoch=talk.now_ms + 1)
    assert open_session(talk, 2_000) not in talk.closed, "another one stopped reading"


def test_after_a_restart_all_who_were_here_may_come_back(talk):
    for n in range(SESSIONS_OPEN_MAX):
        open_session(talk, n, patterns=("detections.>",) if n < SESSIONS_READING_MAX else ())
    again = relay("hq")
    again.now_ms = talk.now_ms
    again.core.restore(talk.disk, again.now_ms)
    again.lose(open_session(again, 0))
    assert len(again.core.routes.of_node("mole")) == SESSIONS_OPEN_MAX


def test_below_a_child_one_identity_has_no_more(talk):
    low = child(talk)
    told_up(talk)
    talk.say(low, Intro([MOLE.credential.raw]))
    for sequence in range(20):
        numbers = range(sequence * 50, sequence * 50 + 50)
        talk.say(low, routes(10 + sequence, [attachment(MOLE, "low", n, epoch=n + 1) for n in numbers]))
    known = talk.core.routes.of_node("mole")
    assert len(known) == SESSIONS_PER_ID_MAX and min(a.epoch for a in known) == 1_000 - SESSIONS_PER_ID_MAX + 1
    withdrawn = [name for _, names in told_up(talk) for name in names]
    assert withdrawn, "those above are told of who went"
    talk.heard(low, Routed)
    talk.say(low, routes(90, [attachment(MOLE, "low", 5_000, epoch=1)]))
    assert [code for _, code, _ in talk.heard(low, Routed)[-1].refusals] == [Code.TOO_MANY_SESSIONS]


def test_an_open_session_that_is_one_too_many_is_told_so(talk):
    here = talk.connect(MOLE, Role.POINT, session=session_of(0))
    talk.attach(here, MOLE, "mid", "detections.>", session=session_of(0))
    low = child(talk)
    talk.say(low, Intro([MOLE.credential.raw]))
    for sequence in range(2):
        numbers = range(1 + sequence * 50, 51 + sequence * 50)
        talk.say(low, routes(10 + sequence, [attachment(MOLE, "low", n, epoch=n + 1) for n in numbers]))
    assert here in talk.closed and talk.heard(here, Refused)[-1].code is Code.TOO_MANY_SESSIONS
    assert point_session("mole", session_of(0)) not in talk.core.outboxes


def test_the_cost_of_a_frame_does_not_grow_with_the_table(monkeypatch):
    """Whoever is below another child is not walked over, however many there are."""
    talk = relay()
    low, far = child(talk), child(talk, OTHER_CHILD)
    members = [AUTHORITY.issue(f"many-{n}") for n in range(20)]
    talk.say(low, Intro([member.credential.raw for member in members[:INTRO_MAX]]))
    talk.say(low, Intro([member.credential.raw for member in members[INTRO_MAX:]]))
    sequence = 10
    for n in range(0, 1_200, 60):
        sequence += 1
        said = [attachment(members[(n + k) % 20], "low", (n + k) // 20) for k in range(60)]
        talk.say(low, routes(sequence, said))
    assert len(talk.core.routes) == 1_200
    counting = Counting(talk.core.routes.via)
    monkeypatch.setattr(talk.core.routes, "via", counting)
    talk.say(far, Intro([HONEST.credential.raw]))
    talk.say(far, routes(50, [attachment(HONEST, "far", 1)], first=True))
    moved = sign_attachment(
        OTHER_CHILD.credential, OTHER_CHILD.signer, b"s" * 16, "mid", 9, False, ()
    )
    talk.say(far, routes(51, [moved]))
    assert counting.calls < 30


# -- revocations ----------------------------------------------------------------------------------------------


def test_an_open_link_ends_before_its_session_is_forgotten():
    """Open under the authority's credential, attached under an issuer's, and then the issuer is revoked."""
    issuer = issuer_of("p1-*")
    authority_s = AUTHORITY.issue("p1-x", clearance=Label.GREEN, grants=Grants(subscribe=(">",)), serial=2)
    by_issuer = vouched(authority_s, issuer, 1, grants=Grants(subscribe=(">",)))
    talk = relay()
    link = talk.connect(authority_s, Role.POINT)
    talk.say(link, Intro([by_issuer.credential.raw]))
    talk.attach(link, by_issuer, "mid", "detections.>")
    raw = issue_revocations(FABRIC, 1, T0, T0 + DAY_MS, ["plant"], AUTHORITY.signer)
    ready = Ready()
    assert talk.core.apply_lists(raw, talk.now_ms, ready) is None
    assert link in [number for number, _ in ready.close] and not talk.core.outboxes
    talk.wait(1_000)
    talk.step(talk.core.read(link, encode_frame(Ack([b"0" * 16]))))
    again = talk.connect(authority_s, Role.POINT)
    talk.say(again, Ping(talk.now_ms))
    assert talk.heard(again, Pong), "who is not revoked comes again"


def test_a_session_that_is_open_is_not_one_that_is_away_since_a_message_woke_for_it(talk):
    """What slept on disk is read back while its reader is here: it is not taken for one that vanished."""
    reader = talk.connect(HONEST, Role.POINT)
    talk.attach(reader, HONEST, "mid", "detections.>")
    mole = talk.connect(MOLE, Role.POINT)
    message = verified(MOLE)
    talk.send(mole, message)
    destination = talk.core.links[reader].destination
    put = next(op for op in talk.disk if getattr(op, "id", b"") == message.id and hasattr(op, "destinations"))
    talk.core.restore([put], talk.now_ms)
    for _ in range(40):
        talk.wait(2_000)
        talk.say(reader, Ping(talk.now_ms))
    assert destination in talk.core.outboxes and reader not in talk.closed
