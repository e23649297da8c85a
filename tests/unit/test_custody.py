from dataclasses import replace
from types import SimpleNamespace

from fabric.protocol.core.ready import Done, Put, Ready, Replace, Seen
from fabric.protocol.custody.asleep import OFFERED_MAX, Asleep
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction
from tests.support import T0, Authority, verified

ZEEK = Authority("custody").issue("zeek-1")
UP, DOWN = Direction.UP, Direction.DOWN
PLENTY = [2**40] * len(Lane)


class House:
    """A custody with its outboxes, and everything that it persisted."""

    def __init__(self, quota_bytes=2**30):
        self.outboxes = {}
        self.custody = Custody(self.outbox, quota_bytes)
        self.ready = Ready()

    def outbox(self, destination):
        return self.outboxes.setdefault(destination, Outbox(destination, 1_000))

    def put(self, *destinations, sequence=0, direction=UP, expires_at_ms=T0 + 60_000, **fields):
        message = verified(ZEEK, sequence=sequence, **fields)
        held = Held(message, direction, message.header.lane, 250, T0, expires_at_ms, ("ot-1",))
        self.custody.put(held, [(d, ()) for d in destinations], self.ready)
        return held


def test_a_message_is_persisted_with_all_its_rows_in_one_put():
    house = House()
    held = house.put("^", "point:a/1")
    assert house.ready.persist == [
        Put(
            held.message.id, UP, Lane.MEDIUM, held.message.raw, 250, T0, T0 + 60_000, ("ot-1",),
            (("^", ()), ("point:a/1", ())),
        )
    ]
    assert [len(box.rows()) for box in house.outboxes.values()] == [1, 1]


def test_what_is_held_is_known_as_seen():
    house = House()
    held = house.put("^")
    assert house.custody.dedup.seen(held.message.id, UP, T0)
    assert not house.custody.dedup.seen(held.message.id, DOWN, T0)


def test_a_message_goes_when_its_last_row_ends_and_not_before():
    house = House()
    held = house.put("^", "point:a/1")
    first, second = held.rows.values()
    assert house.custody.lane_bytes[Lane.MEDIUM] == held.size
    house.custody.end(first, house.ready)
    assert house.ready.persist[-1] == Done(held.message.id, UP, "^", last=False)
    # What only a reader waits for counts in no lane: it has a quota of its own, and stops nobody's transit.
    assert house.custody.get(held.message.id, UP) is held and house.custody.lane_bytes[Lane.MEDIUM] == 0
    house.custody.end(second, house.ready)
    assert house.ready.persist[-1] == Done(held.message.id, UP, "point:a/1", last=True)
    assert len(house.custody) == 0 and house.custody.lane_bytes == [0] * len(Lane)


def test_a_row_ends_once():
    house = House()
    (row,) = house.put("^").rows.values()
    house.custody.end(row, house.ready)
    house.custody.end(row, house.ready)
    assert sum(isinstance(op, Done) for op in house.ready.persist) == 1


def test_a_row_that_ended_is_not_sent_any_more():
    house = House()
    (row,) = house.put("^").rows.values()
    house.custody.end(row, house.ready)
    assert house.outbox("^").take(T0, PLENTY) is None


def test_the_two_directions_of_an_action_are_held_apart():
    house = House()
    up, down = house.put("^"), house.put("relay:ot-1", direction=DOWN)
    (row,) = up.rows.values()
    house.custody.end(row, house.ready)
    assert house.custody.get(down.message.id, UP) is None
    assert house.custody.get(down.message.id, DOWN) is down


def test_intake_is_full_by_lane_and_what_is_held_stays():
    house = House(quota_bytes=1_000)
    held = house.put("^")
    assert house.custody.full(Lane.MEDIUM, 1_001 - held.size)
    assert not house.custody.full(Lane.MEDIUM, 1_000 - held.size)
    assert not house.custody.full(Lane.HIGH, 1_000)
    assert len(house.custody) == 1


def test_no_origin_takes_all_the_room_there_is():
    house = House(quota_bytes=20_000)
    n = 0
    while not house.custody.full(Lane.MEDIUM, 400, "zeek-1"):
        held = house.put("^", sequence=n)
        n += 1
    taken = house.custody.lane_bytes[Lane.MEDIUM]
    assert 0.7 * 20_000 < taken <= 0.8 * 20_000 + held.size
    assert not house.custody.full(Lane.MEDIUM, 400, "another"), "a fifth is left for whoever comes"
    assert not house.custody.full(Lane.MEDIUM, 400), "asked for nobody, only the room counts"


def test_what_sleeps_is_counted_for_its_origin_too():
    house, asleep = House(quota_bytes=20_000), Asleep()
    house.custody.sleeps(asleep)
    for _ in range(15):
        asleep.add(Lane.MEDIUM, b"zeek-1's", 1_000)
    assert house.custody.full(Lane.MEDIUM, 5_001, "zeek-1", b"zeek-1's") and not house.custody.full(Lane.HIGH, 5_001)
    house.put("^")
    assert not house.custody.full(Lane.MEDIUM, 1_000, "zeek-1", b"zeek-1's")
    asleep.add(Lane.MEDIUM, b"zeek-1's", 1_000)
    assert house.custody.full(Lane.MEDIUM, 1_000, "zeek-1", b"zeek-1's")
    assert not house.custody.full(Lane.MEDIUM, 1_000, "another", b"another's")
    for _ in range(16):
        asleep.remove(Lane.MEDIUM, b"zeek-1's", 1_000)
    assert sum(asleep.rows) == sum(asleep.bytes) == len(asleep.signer_bytes) == 0


def of_issuer(member, *issuers):
    return replace(member, credential=replace(member.credential, issuers=issuers))


def test_all_whom_one_issuer_vouches_for_leave_room_to_others_however_many_they_are():
    house = House(quota_bytes=100_000)
    members = [of_issuer(Authority("custody").issue(f"p1-{n}"), "p1-below", "p1") for n in range(40)]
    for n, member in enumerate(members):
        while not house.custody.no_room_for(made := verified(member, sequence=n)):
            n += len(members)
            held = Held(made, UP, made.header.lane, 0, T0, T0 + 60_000, ())
            house.custody.put(held, [("^", ())], house.ready)
    taken = house.custody.lane_bytes[Lane.MEDIUM]
    assert 0.9 * 100_000 < taken < 0.95 * 100_000, "four fifths are one member's, and some is left for the others"
    assert not house.custody.no_room_for(verified(ZEEK)), "nor does it count for whom the authority vouches"
    assert not house.custody.no_room_for(verified(of_issuer(ZEEK, "p2")))
    assert house.custody.no_room_for(verified(of_issuer(ZEEK, "p1")))
    for held in list(house.custody._held.values()):
        house.custody.end(*held.rows.values(), house.ready)
    assert not house.custody._voucher_bytes


def test_what_sleeps_is_counted_for_its_issuer_too():
    house, asleep = House(quota_bytes=100_000), Asleep()
    house.custody.sleeps(asleep)
    for n in range(90):
        asleep.add(Lane.MEDIUM, b"p1's %d" % (n % 40), 1_000)
    message = verified(of_issuer(ZEEK, "p1"))
    asleep.are_of(lambda signer: "p1" if signer.startswith(b"p1's") else "")
    asleep.add(Lane.MEDIUM, b"p1's 1", 5_000)
    assert house.custody.no_room_for(message) and not house.custody.no_room_for(verified(ZEEK))
    asleep.remove(Lane.MEDIUM, b"p1's 1", 5_000)
    assert not house.custody.no_room_for(message)
    for n in range(90):
        asleep.remove(Lane.MEDIUM, b"p1's %d" % (n % 40), 1_000)
    assert not asleep.voucher_bytes


def test_a_copy_is_offered_to_what_sleeps_once_and_again_with_more_parts():
    whole = verified(ZEEK, rules={"src_ip": Label.AMBER})
    first, second = whole.envelope.parts
    left, right = (whole.with_parts_of(whole.envelope._replace(parts=p)) for p in ((first, None), (None, second)))
    asleep = Asleep()
    assert [asleep.offer(copy, UP) for copy in (left, left, right, left, right, whole)] == [
        True, False, True, False, False, False
    ]
    assert asleep.offer(left, DOWN)
    for n in range(OFFERED_MAX):
        assert asleep.offer(SimpleNamespace(id=n.to_bytes(16), envelope=left.envelope), UP)
    assert len(asleep._offered) == OFFERED_MAX and asleep.offer(whole, UP), "forgotten: the row is read once more"


def test_what_ended_is_no_share_of_anybody():
    house = House(quota_bytes=20_000)
    held = house.put("^", "relay:ot-1")
    for row in list(held.rows.values()):
        house.custody.end(row, house.ready)
    assert house.custody._origin_bytes == {} and house.custody.lane_bytes == [0] * len(Lane)


def test_the_driver_closes_intake_when_its_disk_is_nearly_full():
    house = House()
    house.custody.open_intake(False)
    assert all(house.custody.full(lane, 0) for lane in Lane)


def test_a_fuller_copy_is_persisted_and_sent_and_counted():
    house = House()
    whole = verified(ZEEK, rules={"src_ip": Label.AMBER})
    stripped = whole.with_parts_of(whole.envelope._replace(parts=(whole.envelope.parts[0], None)))
    held = Held(stripped, UP, Lane.MEDIUM, 0, T0, T0 + 60_000, ())
    house.custody.put(held, [("^", ())], house.ready)
    assert held.size == len(stripped.raw)
    assert house.custody.replace(held, whole, house.ready)
    assert house.ready.persist[-1] == Replace(whole.id, UP, whole.raw)
    assert house.custody.lane_bytes[Lane.MEDIUM] == house.outbox("^").bytes == held.size == len(whole.raw)
    assert house.outbox("^").take(T0, PLENTY).held.message is whole
    (row,) = held.rows.values()
    house.custody.end(row, house.ready)
    assert house.custody.lane_bytes == [0] * len(Lane)


def test_a_fuller_copy_is_refused_where_there_is_no_room_for_what_it_adds():
    whole = verified(ZEEK, rules={"src_ip": Label.AMBER})
    stripped = whole.with_parts_of(whole.envelope._replace(parts=(whole.envelope.parts[0], None)))
    house = House(quota_bytes=len(whole.raw) - 1)
    held = Held(stripped, UP, Lane.MEDIUM, 0, T0, T0 + 60_000, ())
    house.custody.put(held, [("^", ())], house.ready)
    assert not house.custody.replace(held, whole, house.ready)
    assert held.message is stripped and house.custody.lane_bytes[Lane.MEDIUM] == held.size == len(stripped.raw)
    assert not any(isinstance(op, Replace) for op in house.ready.persist)


def test_a_message_without_a_destination_is_remembered_only():
    house = House()
    message = verified(ZEEK)
    house.custody.saw(message.id, UP, T0 + 5, house.ready, message.header)
    assert house.ready.persist == [Seen(message.id, UP, T0 + 5)]
    assert house.custody.dedup.seen(message.id, UP, T0) and len(house.custody) == 0


def test_what_is_overdue_is_offered_once_and_again_when_it_was_too_early():
    house = House()
    early = house.put("^", sequence=0, expires_at_ms=T0 + 10)
    house.put("^", sequence=1, expires_at_ms=T0 + 20)
    assert house.custody.overdue(T0 + 9) == []
    assert house.custody.overdue(T0 + 10) == [early]
    assert house.custody.overdue(T0 + 10) == []
    house.custody.later(early, T0 + 15)
    assert house.custody.overdue(T0 + 15) == [early]


def test_what_ended_is_never_overdue():
    house = House()
    held = house.put("^", expires_at_ms=T0 + 10)
    (row,) = held.rows.values()
    house.custody.end(row, house.ready)
    assert house.custody.overdue(T0 + 10) == []


def test_age_only_ever_grows():
    held = House().put("^")
    assert [held.age_at(T0 + ms) for ms in (-500, 0, 500)] == [250, 250, 750]


def test_what_is_on_disk_already_is_not_persisted_again():
    house = House()
    message = verified(ZEEK)
    house.custody.adopt(Held(message, UP, Lane.MEDIUM, 0, T0, T0 + 60_000, ()), [("^", ("fw-7",))])
    assert house.ready.persist == []
    assert house.outbox("^").rows()[0].targets == ("fw-7",)


def moved(house):
    return {row.destination: (row.targets, row.moved, row.tries) for row in house.rows.values()}


def test_readdressed_rows_are_on_disk_as_they_are_in_memory_and_counted_once():
    house = House()
    held = house.put("relay:east", "relay:west", direction=DOWN)
    house.ready.persist.clear()
    house.custody.readdress(held, [held.rows["relay:east"]], [("^", ("fw-7",))], house.ready)
    done, put = house.ready.persist
    assert done == Done(held.message.id, DOWN, "", last=True)
    assert (put.destinations, put.moved) == ((("relay:west", ()), ("^", ("fw-7",))), (("^", 1),))
    assert house.outbox("relay:east").empty and house.custody.lane_bytes[Lane.MEDIUM] == held.size
    for row in list(held.rows.values()):
        house.custody.end(row, house.ready)
    assert house.custody.lane_bytes == [0] * len(Lane) and len(house.custody) == 0


def test_who_joins_a_row_that_was_sent_changes_nothing_of_that():
    house = House()
    held = house.put("relay:east", direction=DOWN)
    box = house.outbox("relay:east")
    box.sent(box.take(T0, PLENTY), T0, 1)
    house.custody.readdress(held, [], [("relay:east", ("fw-7",))], house.ready, moved=2)
    assert moved(held) == {"relay:east": (("fw-7",), 2, 1)}
    assert box.take(T0, PLENTY) is held.rows["relay:east"], "and it is sent again"
    house.custody.readdress(held, [], [("relay:east", ("fw-8",)), ("relay:west", ("fw-9",))], house.ready)
    assert moved(held) == {"relay:east": (("fw-7", "fw-8"), 3, 1), "relay:west": (("fw-9",), 1, 0)}


def test_intel_for_everybody_below_a_child_stays_that_when_somebody_joins():
    house = House()
    feed = verified(ZEEK, kind=Kind.INTEL, topic="intel.ipv4")
    held = Held(feed, DOWN, Lane.MEDIUM, 0, T0, T0 + 60_000, ())
    house.custody.put(held, [("relay:east", ())], house.ready)
    house.custody.readdress(held, [], [("relay:east", ("reader",))], house.ready)
    assert held.rows["relay:east"].targets == ("east", "reader")


def test_to_a_control_point_it_is_a_message_like_any_other():
    house = House()
    held = house.put("relay:east", direction=DOWN)
    house.custody.readdress(held, list(held.rows.values()), [("point:a/1", ("a",))], house.ready, moved=3)
    row = held.rows["point:a/1"]
    assert (row.moved, row.said_moved, row.visit) == (3, 0, held.message.id)


def test_however_often_it_moved_it_says_no_more_than_a_frame_may():
    house = House()
    held = house.put("relay:east", direction=DOWN)
    house.custody.readdress(held, list(held.rows.values()), [("relay:b", ("a",))], house.ready, moved=65)
    assert held.rows["relay:b"].said_moved == 64
