"""What follows who moved: the component alone, with a custody of its own. Conversations: `test_below`."""

from collections import Counter
from types import SimpleNamespace

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import MOVED_MAX, SESSION_GRACE_MS
from fabric.protocol.core.ready import Put, Ready
from fabric.protocol.custody.asleep import queue_of
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox
from fabric.protocol.custody.sessions import NOWHERE, child_relay, point_session
from fabric.protocol.custody.sleeping import Sleeping
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.messages.holding import Holding
from fabric.protocol.relay.messages.rerouting import Rerouting
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.vocabulary.fetching import SESSION_MARK
from fabric.protocol.wire.frames import Direction, Item
from tests.support import HOUR_MS, T0, Authority, verified

AUTHORITY = Authority("rerouting")
EAST, WEST, CELL = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("east", "west", "cell"))
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=("intel.>",)))
WALL = AUTHORITY.issue("wall", grants=Grants(execute=("deny *",)))
FEED = AUTHORITY.issue("feed")
UP, DOWN = Direction.UP, Direction.DOWN
TO_EAST, TO_WEST = child_relay("east"), child_relay("west")
HERE = point_session("reader", bytes(16))


class Asked:
    """A dispatch, and answers, that say what they are made to; it remembers what it is told."""

    def __init__(self):
        self.went, self.answers_turn, self.told, self.handed_out = {}, False, [], []
        self.were_between = []

    def ways(self, action, targets):
        return [self.went.get(target, "") for target in targets]

    def between(self, action, target):
        return self.were_between

    def turn_here(self, result):
        return self.answers_turn

    def handed(self, action, ways, now_ms, ready):
        self.told += ways

    def upwards(self, action):
        return self.router.upwards

    def ways_to(self, action, targets, now_ms):
        return self.router.to(targets)

    def hand_out(self, action, item, targets, now_ms, ready):
        self.handed_out.append(targets)


class Stage:
    """mid with east and west below it."""

    def __init__(self, is_root=False):
        self.held, self.settled, self.counters, self.epoch = [], [], Counter(), 0
        self.readdressed = 0
        self.routes, self.outboxes, self.dispatch = RouteTable("mid"), {}, Asked()
        self.dispatch.router = router = Router("mid", self.routes, is_root=is_root)
        self.custody = Custody(lambda name: self.outboxes.setdefault(name, Outbox(name, 1_000)))
        self.rerouting = Rerouting(
            "mid", self.routes, router, self.custody,
            Sleeping(self.custody, self.outboxes.get, lambda _: False, lambda _: None), self.outboxes.get,
            self.dispatch, self.dispatch,
            MessagePort(None, self.hold, self.readdress, self.settle), self.counters,
        )
        for relay in (EAST, WEST):
            self.place(relay, "mid")

    def place(self, member, relay):
        """It is at this relay from now on."""
        self.epoch += 1
        raw = sign_attachment(
            member.credential, member.signer, bytes(16), relay, self.epoch, member is WALL,
            ("intel.>",) if member is READER else (),
        )
        attachment = open_attachment(raw, {member.credential.digest: member.credential})
        self.routes.put(attachment)
        return attachment

    def hold(self, message, item, destinations, now_ms, ready, direction=None, *, moved=0):
        self.held.append((list(destinations), moved))

    def readdress(self, row, ways, left, now_ms, ready):
        Holding.readdress(SimpleNamespace(_custody=self.custody), row, ways, left, ready)
        self.rerouting.rows_changed(row.held, now_ms)
        self.readdressed += 1
        if row.held.message.header.kind is Kind.ACTION:
            self.dispatch.handed(row.held.message, ways, now_ms, ready)

    def settle(self, row, refused, now_ms, ready):
        self.settled.append((row.destination, refused and refused.code))
        self.custody.end(row, ready)
        self.rerouting.rows_changed(row.held, now_ms)

    def waits(self, message, destination, *targets, moved=0, direction=DOWN, restored=False):
        """Its only row is there."""
        held = Held(message, direction, message.header.lane, 0, T0, T0 + HOUR_MS, (), restored=restored)
        self.custody.put(held, [(destination, targets)], Ready(), [(destination, moved)] if moved else ())
        self.rerouting.rows_changed(held, T0)
        return held

    def tick(self, now_ms=T0):
        ready = Ready()
        self.rerouting.expire(now_ms, ready)
        self.rerouting.tick(now_ms, ready)
        return ready


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def root():
    return Stage(is_root=True)


def intel(sequence=0):
    return verified(FEED, kind=Kind.INTEL, topic="intel.x", sequence=sequence)


def action():
    return verified(FEED, kind=Kind.ACTION, topic="deny.ipv4_net", to="all")


def result(to="reader"):
    return verified(WALL, kind=Kind.RESULT, topic="deny.ipv4_net", to=to, correlation=bytes(32))


def item(message, *targets, moved=1, direction=UP):
    return Item(direction, 0, [], list(targets), message.raw, moved)


def rows(held):
    return {row.destination: (row.targets, row.moved) for row in held.rows.values()}


# -- what goes after somebody -----------------------------------------------------------------------------------


def test_what_waits_for_who_moved_goes_by_the_new_way_in_one_commit(stage):
    held = stage.waits(result(), TO_EAST)
    stage.rerouting.moved(TO_EAST, (stage.place(READER, "west"), []))
    assert rows(held) == {TO_EAST: ((), 0)}, "many that move together are looked through once"
    ready = stage.tick()
    assert rows(held) == {TO_WEST: (("reader",), 1)} and stage.readdressed == 1
    assert ready.persist[-1].destinations == ((TO_WEST, ("reader",)),)
    assert stage.tick().persist == [], "and once only"


def test_intel_that_is_for_others_behind_the_old_way_too_stays_and_follows(stage):
    held = stage.waits(intel(), TO_EAST)
    stage.rerouting.moved(TO_EAST, (stage.place(READER, "west"), []))
    stage.tick()
    assert rows(held) == {TO_EAST: ((), 0), TO_WEST: (("reader",), 1)}


def test_with_a_relay_go_those_who_were_below_it(stage):
    held = stage.waits(result(), TO_EAST)
    stage.rerouting.moved(TO_EAST, (stage.place(EAST, "west"), [stage.place(READER, "east")]))
    stage.tick()
    assert rows(held) == {TO_WEST: (("reader",), 1)}


def test_events_and_what_is_for_others_stay(stage):
    event, other = stage.waits(verified(FEED), TO_EAST), stage.waits(result("somebody"), TO_EAST)
    stage.rerouting.moved(TO_EAST, (stage.place(READER, "west"), []))
    stage.tick()
    assert list(event.rows) == list(other.rows) == [TO_EAST]


@pytest.mark.parametrize(("kind", "targets", "looks_for"), [
    (Kind.RESULT, (), ("reader",)), (Kind.INTEL, (), ("east",)), (Kind.ACTION, ("wall",), ("wall",)),
])
def test_what_waits_where_nobody_is_any_more_is_sent_up(stage, kind, targets, looks_for):
    message = {Kind.RESULT: result, Kind.INTEL: intel, Kind.ACTION: action}[kind]()
    held = stage.waits(message, TO_EAST, *targets)
    stage.routes.forget(next(iter(stage.routes.of_node("east"))))
    stage.rerouting.gone(TO_EAST, T0, Ready())
    assert rows(held) == {UPLINK: (looks_for, 1)}
    assert stage.dispatch.told == ([(UPLINK, ("wall",))] if kind is Kind.ACTION else [])


@pytest.mark.parametrize("field", ["tries", "unanswered"])
def test_an_action_that_may_have_got_there_stays(stage, field):
    held = stage.waits(action(), TO_EAST, "wall")
    setattr(held.rows[TO_EAST], field, True)
    stage.rerouting.gone(TO_EAST, T0, Ready())
    assert list(held.rows) == [TO_EAST] and stage.dispatch.told == []


def test_where_a_node_executes_no_more_only_actions_are_sent_after_it(stage):
    held, other = stage.waits(action(), TO_EAST, "wall", "other"), stage.waits(result("wall"), TO_EAST)
    stage.place(WALL, "west")
    stage.rerouting.executes_no_more("wall", TO_EAST)
    stage.tick()
    assert rows(held) == {TO_EAST: (("other",), 0), TO_WEST: (("wall",), 1)} and rows(other) == {TO_EAST: ((), 0)}
    assert stage.tick().persist == []


def test_when_a_session_is_over_its_actions_go_on_and_the_rest_ends_elsewhere(stage):
    held, other = stage.waits(action(), HERE, "wall"), stage.waits(intel(), HERE)
    stage.rerouting.session_ended(HERE, T0, Ready())
    assert rows(held) == {UPLINK: (("wall",), 1)} and rows(other) == {HERE: ((), 0)}


@pytest.mark.parametrize(("to", "place", "left"), [
    ("reader", "east", {TO_EAST: (("reader",), 1)}),
    ("reader", "", {HERE: ((), 0)}),
    (f"reader{SESSION_MARK}{bytes(16).hex()}", "", {HERE: ((), 0)}),
    (f"reader{SESSION_MARK}{(b'x' * 16).hex()}", "east", {HERE: ((), 0)}),
])
def test_a_result_for_a_session_that_is_over_goes_to_where_its_node_is_now(stage, to, place, left):
    """Whoever crashed came back in another session. What is for one session only is for no other."""
    held = stage.waits(result(to), HERE)
    if place:
        stage.place(READER, place)
    stage.rerouting.session_ended(HERE, T0, Ready())
    assert rows(held) == left


def test_where_it_is_under_way_to_others_it_waits_for_an_answer(stage):
    """Grown, it would go again to those who have it."""
    held = stage.waits(action(), HERE, "wall")
    stage.custody.readdress(held, [], [(TO_EAST, ("other",))], Ready())
    held.rows[TO_EAST].tries = 1
    stage.place(WALL, "east")
    stage.rerouting.session_ended(HERE, T0, Ready())
    assert rows(held) == {TO_EAST: (("other",), 1), NOWHERE: (("wall",), 1)}
    stage.tick(T0 + 1_000)
    assert held.rows[TO_EAST].targets == ("other",)
    stage.custody.end(held.rows[TO_EAST], Ready())
    stage.tick(T0 + 2_000)
    assert rows(held) == {TO_EAST: (("wall",), 2)}


@pytest.mark.parametrize(("tries", "targets", "left"), [
    (0, ("wall", "other"), {TO_EAST: (("other",), 0)}), (1, ("wall", "other"), {}), (0, ("wall",), {}),
    (1, ("other",), {TO_EAST: (("other",), 0)}),
])
def test_who_gives_it_back_had_it_though_it_did_not_say_so(stage, tries, targets, left):
    """Else it would go there again, or end as unknown, beside the one that is given back."""
    held = stage.waits(action(), TO_EAST, *targets)
    held.rows[TO_EAST].tries = tries
    stage.dispatch.went = {"wall": TO_EAST}
    stage.rerouting.route(action(), item(action(), "wall"), T0, Ready())
    assert rows(held) == left and stage.dispatch.handed_out == [["wall"]]


def test_an_action_whose_target_moves_too_often_is_not_sent_after_it(stage):
    held = stage.waits(action(), HERE, "wall", moved=MOVED_MAX)
    stage.rerouting.session_ended(HERE, T0, Ready())
    assert list(held.rows) == [HERE]


def test_of_a_row_for_several_only_what_is_for_who_moved_goes(stage):
    held = stage.waits(intel(), TO_EAST, "reader", "other")
    stage.rerouting.moved(TO_EAST, (stage.place(READER, "west"), []))
    stage.tick()
    assert rows(held) == {TO_EAST: (("other",), 0), TO_WEST: (("reader",), 1)}


def test_who_is_still_to_be_reached_by_the_same_way_is_not_followed(stage):
    held = stage.waits(result(), TO_EAST)
    stage.rerouting.moved(TO_EAST, (stage.place(READER, "east"), []))
    assert stage.tick().persist == [] and rows(held) == {TO_EAST: ((), 0)}


def test_what_slept_for_a_reader_that_is_elsewhere_follows_when_it_wakes(stage):
    queue = queue_of(intel().header.lane, Kind.INTEL)
    stage.custody.readers_asleep.add(HERE, queue, 100, 1)
    stage.rerouting.gone(HERE, T0, Ready())
    awake = stage.waits(intel(), HERE)
    stage.tick()
    assert rows(awake) == {UPLINK: (("reader",), 1)}


def test_of_a_revoked_child_what_was_for_all_below_goes_after_each_or_ends(stage):
    wanted, unwanted = stage.waits(intel(), TO_EAST), stage.waits(intel(1), TO_WEST)
    readers = [stage.place(READER, "east")]
    for child in ("east", "west"):
        stage.routes.forget(next(iter(stage.routes.of_node(child))))
    stage.rerouting.revoked(TO_EAST, readers, T0, Ready())
    assert rows(wanted) == {UPLINK: (("reader",), 1)}
    stage.rerouting.revoked(TO_WEST, [], T0, Ready())
    assert stage.settled == [(TO_WEST, Code.REVOKED)] and not unwanted.rows


# -- what looks for somebody ------------------------------------------------------------------------------------


def test_what_looks_for_a_node_goes_there_as_soon_as_it_is_found(root):
    held = root.waits(result(), NOWHERE, "reader", moved=1)
    root.rerouting.found(root.place(READER, "east"))
    root.tick()
    assert rows(held) == {TO_EAST: (("reader",), 2)}
    assert root.rerouting._homing == {}


def test_an_action_that_looked_for_its_target_before_a_restart_may_go_there(root):
    held = root.waits(action(), NOWHERE, "wall", moved=1, restored=True)
    root.rerouting.found(root.place(WALL, "east"))
    root.tick()
    assert rows(held) == {TO_EAST: (("wall",), 2)} and root.dispatch.told == [(TO_EAST, ("wall",))]


def test_and_within_a_second_where_nobody_said_so(root):
    root.tick(T0)
    held = root.waits(result(), NOWHERE, "reader", moved=1)
    root.place(READER, "east")
    root.tick(T0 + 250)
    assert list(held.rows) == [NOWHERE]
    root.tick(T0 + 1_000)
    assert list(held.rows) == [TO_EAST]


def test_a_node_that_nothing_looks_for_is_not_remembered(stage):
    stage.rerouting.found(stage.place(READER, "east"))
    assert stage.rerouting._finds == {}


def test_at_the_root_it_looks_for_a_minute_also_after_a_restart(root):
    held = root.waits(result(), NOWHERE, "reader", moved=1)
    root.tick(T0 + SESSION_GRACE_MS)
    assert root.settled == []
    again = Stage(is_root=True)
    kept = Put(held.message.id, DOWN, held.lane, b"", 0, T0, T0, (), ((NOWHERE, ("reader",)),), ((NOWHERE, 1),))
    again.rerouting.restored(kept, T0 + 5_000)
    again.custody.adopt(Held(held.message, DOWN, held.lane, 0, T0, T0 + HOUR_MS, ()), *kept[8:])
    for stage, since_ms in ((root, T0), (again, T0 + 5_000)):
        stage.tick(since_ms + SESSION_GRACE_MS)
        assert stage.settled == []
        stage.tick(since_ms + SESSION_GRACE_MS + 1)
        assert stage.settled == [(NOWHERE, Code.UNROUTABLE)] and stage.rerouting._homing == {}


# -- what comes after somebody ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("message", "targets", "moved", "code"), [
    (verified(FEED), ("reader",), 1, Code.WRONG_DIRECTION),
    (intel(), (), 1, Code.WRONG_DIRECTION),
    (result(), ("somebody",), 1, Code.WRONG_DIRECTION),
    (intel(), ("reader",), MOVED_MAX, Code.UNROUTABLE),
])
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_nothing_gets_a_new_direction_or_moves_for_ever(stage, message, targets, moved, code, direction):
    refused = stage.rerouting.check(TO_EAST, message, item(message, *targets, moved=moved, direction=direction), T0)
    assert refused.code is code


@pytest.mark.parametrize("is_root", [False, True])
def test_what_is_given_back_goes_down_again_only_where_it_went_down(is_root):
    stage, message = Stage(is_root), intel()
    refused = stage.rerouting.check(TO_EAST, message, item(message, "reader"), T0)
    assert (refused is not None) is is_root and not stage.rerouting.goes_down_here(message, T0)
    stage.rerouting.route(message, item(message, "reader"), T0, Ready())
    assert stage.held == [([(UPLINK, ("reader",))], 2)]
    stage.waits(message, TO_EAST, "reader")
    assert stage.rerouting.goes_down_here(message, T0)
    assert stage.rerouting.check(TO_EAST, message, item(message, "reader"), T0) is None


def test_a_result_goes_down_where_it_turns(stage):
    assert not stage.rerouting.goes_down_here(result(), T0)
    stage.dispatch.answers_turn = True
    assert stage.rerouting.goes_down_here(result(), T0)


@pytest.mark.parametrize(("went", "source", "taken"), [
    ({"wall": TO_EAST}, TO_EAST, True), ({"wall": TO_EAST}, TO_WEST, False), ({}, TO_EAST, False),
    ({"wall": TO_EAST, "gate": TO_WEST}, TO_EAST, False), ({"wall": TO_EAST, "gate": UPLINK}, TO_EAST, True),
    ({"wall": TO_WEST, "gate": UPLINK}, TO_EAST, False),
])
def test_an_action_is_taken_back_only_from_where_it_went(stage, went, source, taken):
    stage.waits(action(), TO_EAST, "wall")
    stage.dispatch.went = went
    refused = stage.rerouting.check(source, action(), item(action(), *(went or ["wall"])), T0)
    assert (refused is None) is taken


def test_what_was_given_back_upwards_from_here_before_climbs_on_for_these_targets(stage):
    """Others handed it out since. It was refused, and its target reported as one that it is not for."""
    stage.waits(action(), TO_EAST, "wall")
    stage.place(WALL, "west")
    stage.dispatch.went = {"wall": UPLINK, "gate": TO_EAST}
    assert stage.rerouting.not_yet(TO_EAST, action(), item(action(), "wall"), T0) is None
    stage.rerouting.route(action(), item(action(), "wall", "gate"), T0, Ready())
    assert stage.held == [([(UPLINK, ("wall",))], 2)] and stage.dispatch.handed_out == [["gate"]]


def test_it_is_taken_back_from_where_a_relay_is_now_that_was_on_its_way(stage):
    stage.waits(action(), TO_EAST, "wall")
    stage.dispatch.went, stage.dispatch.were_between = {"wall": TO_EAST}, ["cell"]
    refused = stage.rerouting.check(TO_WEST, action(), item(action(), "wall"), T0)
    assert refused is not None and refused.code is Code.WRONG_DIRECTION
    stage.place(CELL, "west")
    assert stage.rerouting.check(TO_WEST, action(), item(action(), "wall"), T0) is None


def test_or_from_where_that_child_is_now(stage):
    stage.waits(action(), TO_EAST, "wall")
    stage.dispatch.went = {"wall": TO_EAST}
    stage.place(EAST, "west")
    assert stage.rerouting.check(TO_WEST, action(), item(action(), "wall"), T0) is None


def test_only_a_root_forgets_and_only_of_intel(stage, root):
    given_back = item(intel(), "reader")
    assert root.rerouting.is_forgotten(intel(), given_back, T0)
    assert not root.rerouting.is_forgotten(intel(), given_back._replace(moved=0), T0)
    assert not root.rerouting.is_forgotten(result(), item(result(), "reader"), T0)
    assert not stage.rerouting.is_forgotten(intel(), given_back, T0)
    root.custody.dedup.add(intel().id, UP, T0 + HOUR_MS)
    assert not root.rerouting.is_forgotten(intel(), given_back, T0)


def test_what_would_go_back_to_who_sends_it_waits_until_the_ways_are_known(root):
    message = intel()
    root.custody.dedup.add(message.id, UP, T0 + HOUR_MS)
    root.place(READER, "east")
    assert root.rerouting.not_yet(TO_EAST, message, item(message, "reader"), T0).code is Code.BUSY
    assert root.rerouting.not_yet(TO_WEST, message, item(message, "reader"), T0) is None


def test_what_is_under_way_there_to_others_does_not_grow(root):
    message = intel()
    root.place(READER, "east")
    held = root.waits(message, TO_EAST, "somebody")
    assert root.rerouting.not_yet(TO_WEST, message, item(message, "reader"), T0) is None
    held.rows[TO_EAST].tries = 1
    assert root.rerouting.not_yet(TO_WEST, message, item(message, "reader"), T0).code is Code.BUSY


def test_what_followed_this_relay_is_for_whoever_is_below_it_and_the_rest_goes_on(root):
    message = intel()
    root.waits(message, TO_WEST)
    root.place(READER, "mid")
    root.rerouting.route(message, item(message, "mid", "nobody"), T0, Ready())
    assert root.held == [([(HERE, ())], 0), ([(NOWHERE, ("nobody",))], 2)] and root.counters["followed"] == 1


def test_an_action_that_followed_somebody_is_handed_out_anew(stage):
    stage.waits(action(), TO_EAST, "wall")
    stage.rerouting.route(action(), item(action(), "wall"), T0, Ready())
    assert stage.dispatch.handed_out == [["wall"]] and stage.held == []
