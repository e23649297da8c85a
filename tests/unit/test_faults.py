"""A peer found out how to make this program fail: it loses its link, and nobody else loses anything."""

import pytest

from fabric.protocol.base.errors import Code, Fault
from fabric.protocol.base.limits import CONFIRM_MS
from fabric.protocol.base.signing import Signer
from fabric.protocol.core.faults import AGAIN_MS, FAULT, Faults, fault_of
from fabric.protocol.core.ready import LinkDown, LinkUp, Put, Tick
from fabric.protocol.links import node as node_module
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Hello, Item, Ping, Pong, Refused, Role, Routed
from tests.conversation import Conversation
from tests.support import EVERYTHING, FABRIC, T0, Authority, entropy, verified

AUTHORITY = Authority("faults")
ME, PARENT, BACKUP = (AUTHORITY.issue(name, NodeKind.RELAY, Label.RED) for name in ("mid", "hq", "spare"))
MOLE, HONEST = (AUTHORITY.issue(name, grants=EVERYTHING) for name in ("mole", "honest"))
SECRET = "10.1.0.7 was seen"


def relay(*parents):
    talk = Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("faults"), parents))
    talk.faults_planted = True
    return talk


@pytest.fixture
def talk():
    """A relay with a parent, somebody who found a fault, and somebody honest."""
    made = relay("hq")
    made.up = made.dial(PARENT, Role.CHILD)
    made.mole = made.connect(MOLE, Role.POINT)
    made.honest = made.connect(HONEST, Role.POINT)
    return made


def fail(*_args, **_fields):
    raise KeyError(SECRET)


def only_for(link, function):
    """Fails for one link, and does its work for all others."""

    def planted(*args, **fields):
        if any(getattr(arg, "number", None) == link for arg in args):
            raise KeyError(SECRET)
        return function(*args, **fields)

    return planted


def encode_routed():
    return encode_frame(Routed(1, []))


def faults(talk):
    return [note for note in talk.last.notes if note.event == FAULT]


def goes_on(talk):
    """The honest one publishes, and the parent gets it."""
    message = verified(HONEST, sequence=talk.now_ms - T0, issued_at_ms=talk.now_ms)
    talk.send(talk.honest, message)
    assert [id_ for frame in talk.heard(talk.honest, Ack) for id_ in frame.ids] == [message.id]
    assert [item.envelope for item in talk.items(talk.up)] == [message.raw]
    talk.say(talk.up, Ack([message.id]))


def test_a_frame_that_fails_while_it_is_applied_ends_its_link_only(talk, monkeypatch):
    monkeypatch.setattr(talk.core.route_exchange, "confirmed", fail)
    talk.say(talk.mole, encode_routed())
    (refused,) = talk.heard(talk.mole, Refused)
    assert refused[:2] == (Code.INTERNAL, ""), "and the peer hears no more than that"
    assert talk.mole in talk.closed and talk.mole not in talk.core.links
    assert talk.count("faults:KeyError") == 1
    monkeypatch.undo()
    goes_on(talk)


def test_the_log_says_what_and_where_and_never_with_what(talk, monkeypatch):
    monkeypatch.setattr(talk.core.route_exchange, "confirmed", fail)
    talk.say(talk.mole, encode_routed())
    (note,) = faults(talk)
    assert note.fields["type"] == "KeyError" and note.fields["peer"] == "mole" and not note.alarm
    assert note.fields["where"].startswith("fabric.protocol.relay.relay:")
    assert SECRET not in repr(talk.last)


def test_a_second_one_of_its_kind_within_a_minute_is_an_alarm(talk, monkeypatch):
    monkeypatch.setattr(talk.core.route_exchange, "confirmed", fail)
    links = [talk.mole, *(talk.connect(MOLE, Role.POINT, session=bytes([n]) * 16) for n in range(2))]
    talk.say(links[0], encode_routed())
    talk.wait(AGAIN_MS + 1_000, every_ms=2_000)
    again = [talk.connect(MOLE, Role.POINT, session=bytes([n]) * 16) for n in range(2, 4)]
    talk.say(again[0], encode_routed())
    assert not any(note.alarm for note in talk.last.notes), "the first was long ago"
    talk.say(again[1], encode_routed())
    (alarm,) = [note for note in talk.last.notes if note.alarm]
    assert alarm.fields["code"] == Code.INTERNAL.label and alarm.fields["next"] == Code.INTERNAL.next_step


def test_faults_of_other_kinds_or_places_are_no_repetition():
    seen = Faults()
    for fault in (Fault("KeyError", "a:1"), Fault("KeyError", "a:2"), Fault("ValueError", "a:1")):
        assert [note.alarm for note in seen.note(fault, "mole", T0)] == [False]
    for line in range(1_000):
        seen.note(Fault("KeyError", f"b:{line}"), "mole", T0)
    assert len(seen._seen) <= 64


def test_a_fault_in_code_of_others_is_placed_where_it_was_called():
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        Signer(b"no seed")
    assert fault_of(caught.value).where.startswith("fabric.protocol.base.signing:")


def test_a_frame_that_fails_while_it_is_read(talk, monkeypatch):
    monkeypatch.setattr(node_module, "decode_frame", fail)
    arrived = talk.core.read(talk.mole, b"anything")
    monkeypatch.undo()
    talk.step(arrived)
    assert talk.mole in talk.closed and talk.heard(talk.mole, Refused)[0].code is Code.INTERNAL
    goes_on(talk)


def test_an_envelope_that_fails_while_it_is_opened(talk, monkeypatch):
    message = verified(MOLE)
    monkeypatch.setattr(node_module, "open_envelope", fail)
    arrived = talk.core.read(talk.mole, encode_frame(
        Data(message.header.lane, T0, [Item(Direction.UP, 0, [], [], message.raw)])
    ))
    monkeypatch.undo()
    talk.step(arrived)
    assert talk.mole in talk.closed
    goes_on(talk)


def test_the_first_frame_of_a_stranger(talk, monkeypatch):
    monkeypatch.setattr(talk.core.time, "clocks_in_handshake", fail)
    link = talk.connect(MOLE, Role.POINT, session=b"x" * 16)
    assert link in talk.closed and link not in talk.core.links
    monkeypatch.undo()
    goes_on(talk)


def test_what_was_decided_before_the_fault_is_on_disk(talk, monkeypatch):
    """Two messages in one frame, and the second fails: the first is held, in memory and on disk alike."""
    first, second = verified(MOLE, sequence=1), verified(MOLE, sequence=2)
    talk.send(talk.mole, verified(MOLE))
    examine = talk.core.intake.examine

    def planted(link, item, message, now_ms):
        return fail() if message.id == second.id else examine(link, item, message, now_ms)

    monkeypatch.setattr(talk.core.intake, "examine", planted)
    talk.say(talk.mole, Data(first.header.lane, T0, [Item(Direction.UP, 0, [], [], m.raw) for m in (first, second)]))
    assert talk.mole in talk.closed
    assert talk.core.custody.get(first.id, Direction.UP) is not None
    assert first.id in [put.id for put in talk.persisted(Put)]
    assert second.id not in [put.id for put in talk.persisted(Put)]


PER_LINK = [
    (lambda core: core, "make_routes"), (lambda core: core.transfer, "_pump"), (lambda core: core.transfer, "_answer"),
    (lambda core: core.liveness, "_look_after"),
]


@pytest.mark.parametrize(("owner", "place"), PER_LINK, ids=lambda value: value if isinstance(value, str) else "")
def test_work_for_a_link_at_the_end_of_a_turn(talk, monkeypatch, owner, place):
    component = owner(talk.core)
    monkeypatch.setattr(component, place, only_for(talk.mole, getattr(component, place)))
    talk.core.touch(talk.core.links[talk.mole].destination)
    talk.core.transfer.answer_later(talk.core.links[talk.mole])
    talk.now_ms += 1_000
    talk.step(Tick())
    assert talk.mole in talk.closed and talk.honest not in talk.closed and talk.up not in talk.closed
    goes_on(talk)


def test_who_waits_to_be_let_in(talk, monkeypatch):
    monkeypatch.setattr(talk.core._admission, "ask", lambda _link, _now: False)
    link = talk.connect(MOLE, Role.POINT, session=b"x" * 16)
    monkeypatch.setattr(talk.core._admission, "due", lambda _now: [link])
    monkeypatch.setattr(talk.core.opening, "_accept", fail)
    talk.step(Tick())
    assert link in talk.closed
    monkeypatch.undo()
    goes_on(talk)


def test_who_has_moved_away_and_who_did_not_say_everything_again(talk, monkeypatch):
    talk.core.links[talk.mole].leaving_at_ms = talk.now_ms
    monkeypatch.setattr(talk.core.departures, "_is_handed_over", fail)
    talk.now_ms += 1_000
    talk.step(Tick())
    assert talk.mole in talk.closed
    other = talk.connect(MOLE, Role.POINT, session=b"x" * 16)
    link = talk.core.links[other]
    link.routes_in.unconfirmed, link.routes_in.unconfirmed_at_ms = {("mole", bytes(16)): 1}, talk.now_ms - CONFIRM_MS
    monkeypatch.setattr(talk.core.routes, "below", fail)
    talk.now_ms += 1_000
    talk.step(Tick())
    assert other in talk.closed and talk.honest not in talk.closed


def test_a_link_that_begins_and_one_that_is_gone(talk, monkeypatch):
    monkeypatch.setattr(talk.core.opening, "_is_candidate", fail)
    talk.step(LinkUp(77, PARENT.curve_key, b"n" * 16, Role.CHILD, "hq"))
    assert 77 in talk.closed and 77 not in talk.core.links
    monkeypatch.setattr(talk.core.session_keeper, "lost", fail)
    talk.step(LinkDown(talk.mole))
    assert talk.mole not in talk.core.links
    monkeypatch.undo()
    goes_on(talk)


def test_where_even_the_end_of_a_link_fails(talk, monkeypatch):
    monkeypatch.setattr(talk.core.route_exchange, "confirmed", fail)
    monkeypatch.setattr(talk.core.session_keeper, "lost", fail)
    destination = talk.core.links[talk.mole].destination
    talk.say(talk.mole, encode_routed())
    assert talk.mole not in talk.core.links and destination not in talk.core.by_destination
    assert talk.closed.count(talk.mole) == 1 and talk.count("faults:KeyError") == 2
    monkeypatch.undo()
    goes_on(talk)


@pytest.mark.parametrize("also_at_the_end", [False, True])
def test_a_parent_that_makes_it_fail_is_left_for_the_next(monkeypatch, also_at_the_end):
    talk = relay("hq", "spare")
    up = talk.dial(PARENT, Role.CHILD)
    monkeypatch.setattr(talk.core.time, "hear", fail)
    if also_at_the_end:
        monkeypatch.setattr(talk.core.session_keeper, "lost", fail)
    talk.say(up, Pong(talk.now_ms, talk.now_ms, ("hq",)))
    assert up in talk.closed and talk.core.uplink.current == ""
    monkeypatch.undo()
    talk.wait(10_000)
    assert "spare" in talk.core.parents_wanted(talk.now_ms)
    assert talk.dial(BACKUP, Role.CHILD) and talk.core.uplink.current == "spare"


@pytest.mark.parametrize("where", [
    ("custody", "overdue"), ("ending", "turn"), ("readers", "tick"), ("reporter", "tick"),
])
def test_what_no_link_is_to_blame_for_is_noted_and_whatever_is_next_is_done(talk, monkeypatch, where):
    """What a peer sent may fail when it runs out: to end for that, and again after each restart, would be its doing."""
    ticked = []
    monkeypatch.setattr(talk.core.list_reach, "tick", lambda now_ms, _: ticked.append(now_ms))
    monkeypatch.setattr(getattr(talk.core, where[0]), where[1], fail)
    talk.now_ms += 1_000
    ready = talk.core.step(Tick(), talk.now_ms)
    assert [note.event for note in ready.notes] == [FAULT] and talk.core.counters["faults:KeyError"] == 1
    assert ticked == [talk.now_ms]
    talk.now_ms += 1_000
    assert any(note.alarm for note in talk.core.step(Tick(), talk.now_ms).notes), "and told aloud when it comes again"


def test_a_conversation_of_tests_fails_on_a_fault_that_it_did_not_plant(talk, monkeypatch):
    talk.faults_planted = False
    monkeypatch.setattr(talk.core.route_exchange, "confirmed", fail)
    with pytest.raises(AssertionError):
        talk.say(talk.mole, encode_routed())


def test_who_is_cut_may_come_again(talk, monkeypatch):
    monkeypatch.setattr(talk.core.route_exchange, "confirmed", fail)
    talk.say(talk.mole, encode_routed())
    monkeypatch.undo()
    talk.core.step(LinkUp(90, MOLE.curve_key, b""), talk.now_ms)
    talk.say(90, Hello(1, 1, FABRIC, Role.POINT, MOLE.credential.raw, b"s" * 16, b"n" * 16, talk.now_ms, 0, 0))
    talk.say(90, Ping(talk.now_ms))
    assert talk.heard(90, Pong)
