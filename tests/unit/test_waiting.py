"""A reader that waits loses nothing when it is full: what would go to it is not taken, and everything else goes on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import LANE_QUOTA_BYTES
from fabric.protocol.core.ready import Drain, Tick
from fabric.protocol.custody.sessions import Sessions
from fabric.protocol.custody.waiting import Waiting, reader_of, waits_for
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Grants, Keep, NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Lists, Nack, Role, Routed, Routes
from tests.conversation import Conversation
from tests.support import EVERYTHING, HOUR_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("waiting")
DAY = 24 * HOUR_MS
MID, HQ, EAST = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "east"))
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
ANNA = AUTHORITY.issue("anna", grants=Grants(subscribe=("detections.>", "intel.>"), keep=Keep(2**20, DAY, waits=True)))
BOB = AUTHORITY.issue("bob", grants=Grants(subscribe=(">",)))
SLOW, FAST = "detections.slow", "traffic.fast"
SHARE_BYTES = 12_000  # of who waits, so that a few messages fill it
SESSION = b"a" * 16


@pytest.fixture(autouse=True)
def small_shares(monkeypatch):
    monkeypatch.setattr(Sessions, "keep", lambda self, d: Keep(SHARE_BYTES, DAY, True) if "anna" in d else Keep())


class Talk(Conversation):
    """A relay: mid, below hq, or the root."""

    def __init__(self, *parents):
        super().__init__(Relay(MID.credential, MID.signer, AUTHORITY.key, b"m" * 16, entropy("mid"), parents))
        self.up = self.dial(HQ, Role.CHILD) if parents else 0
        self.sensor = self.connect(ZEEK, Role.POINT, session=b"z" * 16)
        self.say(self.sensor, Intro([ZEEK.credential.raw]))
        self.epoch = 0
        self.sent = 0

    def come(self, member, *patterns, keep_ms=DAY):
        self.epoch += 1
        link = self.connect(member, Role.POINT, session=SESSION)
        raw = sign_attachment(member.credential, member.signer, SESSION, "mid", self.epoch, False, patterns, keep_ms)
        self.say(link, Intro([member.credential.raw]))
        self.say(link, Routes(1, True, [raw], []))
        return link

    def publish(self, topic=SLOW, **fields):
        """The message, and why it was not taken."""
        self.sent += 1
        message = verified(ZEEK, sequence=self.sent, topic=topic, issued_at_ms=self.now_ms, ttl_ms=DAY, **fields)
        return message, self.offer(message)

    def offer(self, message):
        self.heard(self.sensor, Nack)
        self.say(self.sensor, Data(message.header.lane, self.now_ms, [Item(Direction.UP, 0, [], [], message.raw)]))
        refusals = [(code, detail) for nack in self.heard(self.sensor, Nack) for _, code, detail in nack.refusals]
        return refusals[0] if refusals else None

    def fill(self):
        """Publish until something is not taken: what was, and what was not."""
        taken = []
        while True:
            message, refused = self.publish()
            if refused:
                return taken, message, refused
            taken.append(message)

    def read(self, link):
        """Acknowledge all that comes: how many."""
        count = 0
        while items := self.items(link):
            count += len(items)
            self.say(link, Ack([open_id(self, item) for item in items]))
        return count

    def waiting_bytes(self):
        outbox = self.core.outboxes.get(f"point:anna/{SESSION.hex()}")
        return 0 if outbox is None else self.core.custody.waiting_bytes(outbox)


def open_id(talk, item):
    known = [row.held.message for outbox in talk.core.outboxes.values() for row in outbox.rows()]
    return next(message.id for message in known if message.raw == item.envelope)


def asked(talk):
    """What came up since the last look."""
    return [open_id(talk, item) for item in talk.items(talk.up)]


BUSY = (Code.BUSY, "anna waits")


def test_what_would_have_to_go_to_it_is_not_taken_and_other_topics_are():
    talk = Talk()
    anna = talk.come(ANNA, "detections.>")
    talk.lose(anna)
    taken, late, refused = talk.fill()
    assert refused == BUSY and SHARE_BYTES < talk.waiting_bytes() <= SHARE_BYTES + len(taken[0].raw) + 64
    assert talk.publish(FAST)[1] is None
    assert talk.publish(SLOW, kind=Kind.RESULT, to="bob")[1] != BUSY, "only events and intel wait"
    assert talk.count("waits:event") == 1 and talk.count("ended:subscriber_slow") == 0
    shown = talk.core.readers.waits_for(talk.now_ms)
    assert shown == {"anna": {"since_ms": talk.now_ms, "refused": 1, "held_back": 0}}
    talk.wait(1_000)
    anna = talk.come(ANNA, "detections.>")
    assert talk.read(anna) == len(taken) and talk.offer(late) is None
    assert talk.core.readers.waits_for(talk.now_ms) == {}


def test_what_others_read_of_the_same_topic_comes_late_and_of_others_in_time():
    talk = Talk()
    talk.lose(talk.come(ANNA, "detections.>"))
    bob = talk.come(BOB, ">")
    taken, _, _ = talk.fill()
    talk.publish(FAST)
    assert talk.read(bob) == len(taken) + 1


def test_it_takes_again_when_there_is_room_for_some_and_what_was_under_way_is_behind_what_was_refused():
    talk = Talk()
    anna = talk.come(ANNA, "detections.>")
    _, late, _ = talk.fill()
    talk.read(anna)
    assert talk.publish()[1] == BUSY, "a later one may not be before it"
    talk.now_ms += 200
    assert talk.offer(late) is None


@pytest.mark.parametrize("ends", ["revoked", "expired", "forgotten", "not durable", "away too long", "here too long"])
def test_it_is_waited_for_no_more(ends):
    talk = Talk()
    anna = talk.come(ANNA, "detections.>")
    _, late, refused = talk.fill()
    assert refused == BUSY
    destination = f"point:anna/{SESSION.hex()}"
    match ends:
        case "revoked":
            revoke(talk, talk.sensor, "anna")
        case "expired":
            talk.now_ms = ANNA.credential.not_after_ms + 60_000
            talk.core.links[talk.sensor].heard_at_ms = talk.now_ms
        case "forgotten":
            talk.core.session_keeper.forget(destination, talk.now_ms, talk.last)
        case "not durable":
            talk.lose(anna)
            talk.come(ANNA, "detections.>", keep_ms=0)
        case "away too long":
            talk.lose(anna)
            talk.now_ms += DAY - 1
            talk.core.links[talk.sensor].heard_at_ms = talk.now_ms
            talk.now_ms += 2
        case "here too long":
            talk.now_ms += DAY + 1
    outbox = talk.core.outboxes.get(destination)
    item = Item(Direction.UP, 0, [], [], late.raw)
    waits = talk.core.intake.waits(late, item, talk.now_ms)
    if ends == "away too long":
        assert talk.core.sessions.overdue(talk.now_ms) == [destination]
    else:
        assert waits is None
        assert outbox is None or not talk.core.readers._may_wait(destination, talk.now_ms)


def test_a_fuller_copy_finds_no_room_at_a_reader_that_is_full():
    talk = Talk()
    talk.come(ANNA, "detections.>")
    taken, _, _ = talk.fill()
    held = talk.core.custody.get(taken[0].id, Direction.UP)
    assert talk.core.readers.waits_to_grow(held, talk.now_ms)


def test_a_relay_below_holds_back_the_topic_names_the_reader_and_refuses_when_it_holds_much(monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.messages.readers.HELD_BACK_BYTES_MAX", 4_000)
    talk = Talk("hq")
    first, refused = talk.publish()
    assert refused is None
    talk.say(talk.up, Nack([(first.id, Code.BUSY, "anna-hq waits")]))
    while not refused:
        _, refused = talk.publish()
    assert refused == (Code.BUSY, "anna-hq waits")
    assert talk.publish(FAST)[1] is None
    assert talk.items(talk.up)[-1].envelope == talk.core.custody.get(
        next(row.held.message.id for row in talk.core.outboxes["^"].rows()
             if row.held.message.header.topic == FAST), Direction.UP
    ).message.raw
    assert talk.core.readers.waits_for(talk.now_ms)["anna-hq"]["held_back"] > 2


@pytest.mark.parametrize(("targets", "busy"), [
    (["mid"], True),  # it followed this relay, for whoever is below
    (["anna"], True),
    (["bob"], False),
    (["bob", "mid"], True),
])
def test_intel_that_followed_somebody_is_asked_for_room_too(targets, busy):
    talk = Talk("hq")
    talk.come(ANNA, "detections.>", "intel.>")
    talk.come(BOB, ">")
    talk.fill()
    message = verified(ZEEK, sequence=1_000, topic="intel.slow", kind=Kind.INTEL,
                       issued_at_ms=talk.now_ms, ttl_ms=DAY)
    item = Item(Direction.DOWN, 0, ["hq"], targets, message.raw, 1)
    talk.heard(talk.up, Nack)
    talk.say(talk.up, Intro([ZEEK.credential.raw]))
    talk.say(talk.up, Data(message.header.lane, talk.now_ms, [item]))
    refusals = [(code, detail) for nack in talk.heard(talk.up, Nack) for _, code, detail in nack.refusals]
    assert refusals == ([BUSY] if busy else [])
    assert talk.waiting_bytes() <= SHARE_BYTES + len(message.raw)


def test_where_its_lane_is_full_of_what_waits_its_origin_hears_for_whom(monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.messages.readers.HELD_BACK_BYTES_MAX", 1_000)
    talk = Talk("hq")
    sent = [talk.publish()[0] for _ in range(9)]
    talk.say(talk.up, Nack([(message.id, Code.BUSY, "anna-hq waits") for message in sent]))
    lane = sent[0].header.lane
    talk.core.custody.lane_bytes[lane] = LANE_QUOTA_BYTES
    assert talk.publish()[1] == (Code.BUSY, "anna-hq waits")
    assert talk.publish(FAST)[1] == (Code.BUSY, lane.name.lower())


def revoke(talk, link, *ids):
    raw = issue_revocations("acme", 2, talk.now_ms, talk.now_ms + DAY, list(ids), AUTHORITY.signer)
    talk.say(link, Lists(raw))


def test_a_relay_below_asks_at_once_when_somebody_is_revoked():
    """It may be that reader; by itself it would ask seconds later."""
    talk = Talk("hq")
    first, _ = talk.publish()
    late, _ = talk.publish()
    for _ in range(6):
        talk.say(talk.up, Nack([(item, Code.BUSY, "anna-hq waits") for item in asked(talk)]))
        talk.now_ms += 5_000
        for link in talk.core.links.values():
            link.heard_at_ms = talk.now_ms
        talk.step(Tick())
    talk.say(talk.up, Nack([(item, Code.BUSY, "anna-hq waits") for item in asked(talk)]))
    talk.now_ms += 250
    talk.step(Tick())
    assert asked(talk) == []
    revoke(talk, talk.up, "anna-hq")
    talk.now_ms += 250
    talk.step(Tick())
    assert asked(talk) == [first.id]
    talk.say(talk.up, Ack([first.id]))
    assert asked(talk) == [late.id] and talk.core.readers.waits_for(talk.now_ms) == {}


def test_a_relay_that_drains_has_not_gone_while_something_waits_for_a_reader_and_says_for_whom():
    """Its driver ends that: it has a time (`RelayLoop`)."""
    talk = Talk("hq")
    message, _ = talk.publish()
    talk.say(talk.up, Nack([(message.id, Code.BUSY, "anna-hq waits")]))
    talk.step(Drain())
    talk.lose(talk.sensor)
    talk.wait(1_000)
    for routes in talk.heard(talk.up, Routes):
        talk.say(talk.up, Routed(routes.sequence, []))
    assert not talk.core.drained and talk.core.readers.waits_for(talk.now_ms)["anna-hq"]["held_back"] == 1
    talk.say(talk.up, Ack([message.id]))
    talk.step(Tick())
    assert talk.core.drained and talk.core.readers.waits_for(talk.now_ms) == {}


def test_a_control_point_that_says_so_is_busy_and_nothing_else():
    talk = Talk()
    bob = talk.come(BOB, ">", keep_ms=0)
    message, _ = talk.publish()
    talk.say(bob, Nack([(message.id, Code.BUSY, "anna waits")]))
    assert talk.core.readers.waits_for(talk.now_ms) == {}


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["publish", "come", "lose", "read", "wait", "fast"]), max_size=40))
def test_whatever_happens_nothing_is_lost_and_it_has_no_more_than_its_share_and_one_message(deeds):
    patch = pytest.MonkeyPatch()
    patch.setattr(Sessions, "keep", lambda self, d: Keep(SHARE_BYTES, DAY, True) if "anna" in d else Keep())
    try:
        talk = Talk()
        anna, read, taken, largest = talk.come(ANNA, "detections.>"), 0, 0, 0
        for deed in deeds:
            match deed:
                case "publish":
                    for _ in range(9):
                        message, refused = talk.publish()
                        taken, largest = taken + (refused is None), max(largest, len(message.raw))
                case "fast":
                    assert talk.publish(FAST)[1] is None
                case "come" if anna is None:
                    anna = talk.come(ANNA, "detections.>")
                case "lose" if anna is not None:
                    anna = talk.lose(anna)
                case "read" if anna is not None:
                    read += talk.read(anna)
                case "wait":
                    talk.now_ms += 300
                    talk.step(Tick())
            assert talk.waiting_bytes() <= SHARE_BYTES + largest and talk.count("ended:subscriber_slow") == 0
        waiting = talk.core.outboxes[f"point:anna/{SESSION.hex()}"].rows()
        assert read + len(waiting) == taken
    finally:
        patch.undo()


@pytest.mark.parametrize(("detail", "reader"), [
    (waits_for("anna-1"), "anna-1"), ("anna-1", ""), (" waits", ""), ("", ""), ("a b waits", ""), ("\x1b[2J waits", ""),
    ("../x waits", ""), ("A waits", ""), ("x" * 64 + " waits", ""),
])
def test_only_a_name_is_taken_for_a_reader(detail, reader):
    assert reader_of(detail) == reader


def test_a_reader_that_takes_nothing_for_its_time_is_over_until_it_takes_something():
    waiting = Waiting()
    assert not waiting.is_over("d", 100, T0)
    waiting.filled("d", T0)
    waiting.refused("d")
    assert waiting.pauses("d", T0 + 199) and not waiting.pauses("d", T0 + 200)
    assert not waiting.is_over("d", 1_000, T0 + 1_000) and waiting.is_over("d", 1_000, T0 + 1_001)
    waiting.read("d", T0 + 1_001)
    assert not waiting.is_over("d", 1_000, T0 + 2_001)
    assert list(waiting.full()) == [("d", T0, 1)]
    waiting.forget("d")
    assert not waiting.is_full("d")
