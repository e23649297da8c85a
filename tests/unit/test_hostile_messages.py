"""What somebody tries with the messages that he sends: as a control point, as a child, as a parent. In his words."""

import os

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ACTIONS_PER_S, POINT_QUOTA_BYTES, SKEW_MS
from fabric.protocol.core.ready import Delivery, Handled
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.dedup import Dedup
from fabric.protocol.custody.outbox import visit_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Bye, Data, Direction, Intro, Item, Nack, Ping, Pong, Role
from tests.conversation import Conversation
from tests.support import EVERYTHING, HOUR_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("hostile-messages")
UP, DOWN = Direction.UP, Direction.DOWN
HQ, ROOT, EAST, WEST, CELL = (
    AUTHORITY.issue(name, NodeKind.RELAY, Label.RED) for name in ("hq", "root", "east", "west", "cell")
)
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=(">",)))
SOAR, EVE = (
    AUTHORITY.issue(name, grants=Grants(request=(RequestGrant("deny *", "role=firewall"),))) for name in ("soar", "eve")
)
WALLS = [
    AUTHORITY.issue(f"fw-{n}", grants=Grants(execute=("deny ipv4_net",)), tags=[("role", "firewall")]) for n in range(3)
]


def hq(*parents):
    return Conversation(Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"h" * 16, entropy("hq"), parents))


def codes(talk, link):
    return [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]


def acked(talk, link):
    return [id_ for frame in talk.heard(link, Ack) for id_ in frame.ids]


def deny(member=SOAR, **fields):
    record = {"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}
    return verified(member, **{
        "kind": Kind.ACTION, "topic": "deny.ipv4_net", "to": "role=firewall", "records": [record], **fields,
    })


def answer(wall, action, **fields):
    record = {"end": "completed", "targets": [wall.id], "by": wall.id}
    return verified(wall, kind=Kind.RESULT, topic="deny.ipv4_net", to=action.header.origin, correlation=action.leaf,
                    records=[record], **fields)


def give(talk, link, message, *, moved=0, targets=(), hops=(), direction=UP):
    talk.say(link, Intro([message.credential.raw]))
    item = Item(direction, 0, list(hops), list(targets), message.raw, moved)
    talk.say(link, Data(message.header.lane, talk.now_ms, [item]))


class Stage:
    """A root with the requester, two firewalls and two children; a third firewall is below east."""

    def __init__(self, *parents):
        self.talk = talk = hq(*parents)
        self.up = talk.dial(ROOT, Role.CHILD) if parents else 0
        self.soar = talk.connect(SOAR, Role.POINT)
        talk.attach(self.soar, SOAR, "hq")
        self.walls = [talk.connect(wall, Role.POINT) for wall in WALLS[:2]]
        for link, wall in zip(self.walls, WALLS, strict=False):
            talk.attach(link, wall, "hq", executes=True)
        self.east, self.west = talk.connect(EAST, Role.CHILD), talk.connect(WEST, Role.CHILD)
        talk.place(self.east, EAST, "hq")
        talk.place(self.west, WEST, "hq")
        talk.attach(self.east, WALLS[2], "east", executes=True)

    def settle(self):
        """Past the time in which a relay that has just started takes no answers for whom it does not know."""
        self.talk.wait(100)

    def targets(self, link):
        return [target for item in self.talk.items(link) for target in item.targets]


@pytest.fixture
def stage():
    return Stage()


# -- "I may publish" --------------------------------------------------------------------------------------------


def test_i_send_a_message_without_its_parts_and_then_in_full():
    """An empty message takes next to nothing of the quota, and a repeat was not counted."""
    talk = hq("root")
    talk.core.custody._quota_bytes = 100_000
    me = talk.connect(ZEEK, Role.POINT)
    talk.say(me, Intro([ZEEK.credential.raw]))
    for n in range(40):
        whole = verified(ZEEK, sequence=n, records=[{"x": os.urandom(10_000).hex()}], label=Label.GREEN)
        empty = whole.with_parts_of(whole.envelope._replace(parts=tuple(None for _ in whole.envelope.parts)))
        for copy in (empty, whole):
            talk.say(me, Data(whole.header.lane, talk.now_ms, [Item(UP, 0, [], [], copy.raw)]))
    held = [held.message for held in talk.core.custody._held.values()]
    assert sum(talk.core.custody.lane_bytes) == sum(len(message.raw) for message in held) <= 100_000
    assert talk.count("upgraded") == 7 and talk.count("refused:busy") > 0


def test_i_do_it_to_a_reader_who_does_not_keep_up():
    talk = hq()
    reader, me = talk.connect(READER, Role.POINT), talk.connect(ZEEK, Role.POINT)
    talk.attach(reader, READER, "hq", "detections.>")
    talk.say(me, Intro([ZEEK.credential.raw]))
    for n in range(120):
        whole = verified(ZEEK, sequence=n, records=[{"x": os.urandom(160_000)}], label=Label.GREEN)
        empty = whole.with_parts_of(whole.envelope._replace(parts=tuple(None for _ in whole.envelope.parts)))
        for copy in (empty, whole):
            talk.say(me, Data(whole.header.lane, talk.now_ms, [Item(UP, 0, [], [], copy.raw)]))
    (outbox,) = [box for name, box in talk.core.outboxes.items() if name.startswith("point:reader")]
    assert outbox.bytes == sum(len(row.held.message.raw) for row in outbox.rows()) <= POINT_QUOTA_BYTES
    assert talk.count("ended:subscriber_slow") > 0


@pytest.mark.parametrize(
    "claim", [{"moved": 1, "targets": ["reader"]}, {"targets": ["reader"]}, {"hops": ["hq"]}, {"hops": ["elsewhere"]}]
)
def test_i_say_whom_my_message_is_for_and_where_it_has_been(claim):
    """Past the root and every other reader, straight to one."""
    talk = hq("root")
    up = talk.dial(ROOT, Role.CHILD)
    reader, me = talk.connect(READER, Role.POINT), talk.connect(ZEEK, Role.POINT)
    talk.attach(reader, READER, "hq", "intel.>")
    give(talk, me, verified(ZEEK, kind=Kind.INTEL, topic="intel.fake"), **claim)
    assert codes(talk, me) == [Code.WRONG_DIRECTION]
    assert talk.items(reader) == [] and talk.items(up) == []


def test_i_have_a_generous_grant_for_little_and_a_tight_one_for_much():
    grants = Grants(publish=(PublishGrant("d.>", Severity.LOW), PublishGrant("d.>", Severity.CRITICAL, 1)))
    member = AUTHORITY.issue("guest", grants=grants)
    talk = hq()
    me = talk.connect(member, Role.POINT)
    for n in range(50):
        talk.send(me, verified(member, topic="d.x", severity=Severity.CRITICAL, sequence=n))
    assert codes(talk, me) == [Code.RATE_EXCEEDED] * 40
    for n in range(50, 100):
        talk.send(me, verified(member, topic="d.x", severity=Severity.LOW, sequence=n))
    assert codes(talk, me) == []


def test_what_is_not_taken_in_costs_an_origin_nothing_of_its_rate():
    grants = Grants(publish=(PublishGrant("d.>", rate_per_s=1),))
    member = AUTHORITY.issue("guest", grants=grants)
    talk = hq()
    me = talk.connect(member, Role.POINT)
    talk.core.custody.open_intake(False)
    for _ in range(50):
        talk.send(me, verified(member, topic="d.x"))
    assert codes(talk, me) == [Code.BUSY] * 50
    talk.core.custody.open_intake(True)
    for n in range(10):
        talk.send(me, verified(member, topic="d.x", sequence=n))
    assert codes(talk, me) == []


# -- "I may request actions" ------------------------------------------------------------------------------------


def test_i_request_so_much_that_another_s_result_is_nobody_s(stage):
    """His action went out before mine. When its target answers, the relay shall have forgotten it."""
    talk = stage.talk
    talk.core.dispatches._entries_max = 1_000
    his = deny()
    talk.send(stage.soar, his)
    me = talk.connect(EVE, Role.POINT)
    talk.attach(me, EVE, "hq")
    told = []
    for n in range(3_000):
        talk.now_ms += 50  # as fast as anybody may
        for link in (stage.soar, me, stage.east, stage.west, *stage.walls):
            talk.core.links[link].heard_at_ms = talk.now_ms
        give(talk, me, deny(EVE, sequence=n, issued_at_ms=talk.now_ms, ttl_ms=HOUR_MS))
        told += codes(talk, me)
        if told:
            break
    assert told == [Code.BUSY], "my row waits until what I asked for is over"
    assert len(talk.core.dispatches) < 0.81 * 1_000
    talk.send(stage.walls[0], answer(WALLS[0], his, issued_at_ms=talk.now_ms))
    assert codes(talk, stage.walls[0]) == [] and acked(talk, stage.walls[0])
    another = deny(sequence=7, issued_at_ms=talk.now_ms)
    talk.send(stage.soar, another)
    assert codes(talk, stage.soar) == [] and his.id != another.id


def test_i_request_faster_than_anybody_needs(stage):
    me = stage.talk.connect(EVE, Role.POINT)
    for n in range(ACTIONS_PER_S * 10 + 30):
        stage.talk.send(me, deny(EVE, sequence=n))
    assert codes(stage.talk, me) == [Code.RATE_EXCEEDED] * 30
    stage.talk.send(stage.soar, deny())
    assert codes(stage.talk, stage.soar) == [], "others have a rate of their own"


# -- "I have the keys of a relay below" -------------------------------------------------------------------------


def test_i_give_back_what_i_was_never_handed_and_it_is_executed_again(stage):
    """I saw it climb. Its target has restarted since, and remembers nothing."""
    talk, action = stage.talk, deny(to="id=fw-0")
    give(talk, stage.west, action)
    assert stage.targets(stage.walls[0]) == ["fw-0"]
    talk.say(stage.walls[0], Ack([action.id]))
    talk.say(stage.walls[0], Bye(Code.CLOSED, ""))
    anew = talk.connect(WALLS[0], Role.POINT, session=b"2" * 16)
    talk.attach(anew, WALLS[0], "hq", executes=True, session=b"2" * 16, epoch=2)
    for moved in (1, 2, 3):
        give(talk, stage.west, action, moved=moved, targets=["fw-0"])
    assert codes(talk, stage.west) == [Code.WRONG_DIRECTION] * 3 and talk.items(anew) == []


@pytest.mark.parametrize("hops", [["hq"], ["hq", "west"], ["west", "hq", "east"]])
def test_i_say_that_it_made_a_circle(stage, hops):
    """What comes by again because a relay moved is known by the way it came: I invent ways."""
    talk, action = stage.talk, deny(to="id=fw-0")
    give(talk, stage.west, action, hops=["west"])
    assert stage.targets(stage.walls[0]) == ["fw-0"]
    talk.say(stage.walls[0], Ack([action.id]))
    give(talk, stage.west, action, hops=hops)
    assert talk.items(stage.walls[0]) == [] and talk.count("repeats") == 1


def test_what_i_was_handed_i_may_give_back_once(stage):
    """The third firewall moves from east to west before east could hand it over."""
    talk, action = stage.talk, deny(to="id=fw-2")
    talk.send(stage.soar, action)
    assert stage.targets(stage.east) == ["fw-2"]
    talk.say(stage.east, Ack([action.id]))
    talk.attach(stage.west, WALLS[2], "west", executes=True, epoch=2)
    give(talk, stage.east, action, moved=1, targets=["fw-2"])
    assert stage.targets(stage.west) == ["fw-2"] and codes(talk, stage.east) == []
    talk.say(stage.west, Ack([visit_of(action.id, 2, ["fw-2"])]))
    # The answer was lost, and it comes again: known, and nothing more.
    give(talk, stage.east, action, moved=1, targets=["fw-2"])
    # It was handed on to west: now only west can give it back.
    give(talk, stage.east, action, moved=2, targets=["fw-2"])
    assert codes(talk, stage.east) == [Code.WRONG_DIRECTION] and stage.targets(stage.west) == []
    # And not for others than those for whom it was.
    give(talk, stage.west, action, moved=3, targets=["fw-2", "fw-0"])
    assert codes(talk, stage.west) == [Code.WRONG_DIRECTION]


def test_a_relay_that_has_moved_itself_gives_back_what_it_was_handed(stage):
    talk, action = stage.talk, deny(to="id=fw-2")
    talk.send(stage.soar, action)
    talk.say(stage.east, Ack([action.id]))
    talk.items(stage.east)
    talk.say(stage.east, Bye(Code.CLOSED, ""))
    talk.place(stage.west, EAST, "west", epoch=2)
    talk.attach(stage.west, WALLS[2], "west", executes=True, epoch=2)
    give(talk, stage.west, action, moved=2, targets=["fw-2"])
    assert codes(talk, stage.west) in ([], [Code.BUSY]), "it is west's to hand over, and no fault"


def test_after_a_restart_it_is_known_what_went_where(stage):
    talk, action = stage.talk, deny(to="id=fw-2")
    talk.send(stage.soar, action)
    again = hq()
    order = ["KeepCredential", "KeepSession", "KeepDispatch", "Seen", "SeenAction", "Put"]
    ops = sorted((op for op in talk.disk if type(op).__name__ in order), key=lambda op: order.index(type(op).__name__))
    again.core.restore(ops, again.now_ms)
    east, west = again.connect(EAST, Role.CHILD), again.connect(WEST, Role.CHILD)
    again.place(east, EAST, "hq")
    again.place(west, WEST, "hq")
    give(again, west, action, moved=1, targets=["fw-2"])
    assert codes(again, west) == [Code.WRONG_DIRECTION]
    assert again.core.dispatch.ways(action, ["fw-2"]) == ["relay:east"]


@pytest.mark.parametrize("kind", [Kind.INTEL, Kind.RESULT, Kind.ACTION])
def test_i_give_back_what_nobody_above_has_seen(kind):
    """So that it goes down from where I like, past whoever would have asked questions."""
    stage = Stage()
    talk, action = stage.talk, deny()
    message, target, *code = {
        Kind.INTEL: (verified(ZEEK, kind=Kind.INTEL, topic="intel.fake"), "soar"),
        Kind.RESULT: (answer(WALLS[0], action), "soar", Code.NOT_A_TARGET),
        Kind.ACTION: (action, "fw-0", Code.WRONG_DIRECTION),
    }[kind]
    give(talk, stage.west, message, moved=1, targets=[target])
    assert codes(talk, stage.west) == code
    assert talk.items(stage.soar) == talk.items(stage.walls[0]) == []


def test_i_give_back_intel_for_one_that_nobody_above_has_seen_and_everybody_gets_it(stage):
    talk = stage.talk
    readers = [talk.connect(READER, Role.POINT, session=session) for session in (b"1" * 16, b"2" * 16)]
    for reader, session in zip(readers, (b"1" * 16, b"2" * 16), strict=True):
        talk.attach(reader, READER, "hq", "intel.>", session=session)
    talk.attach(stage.east, READER, "east", "intel.>", session=b"3" * 16)
    give(talk, stage.west, verified(ZEEK, kind=Kind.INTEL, topic="intel.fake"), moved=1, targets=["east"])
    assert [len(talk.items(link)) for link in (*readers, stage.east)] == [1, 1, 1]


def test_intel_that_waited_for_a_reader_follows_it_though_the_root_has_forgotten_it(stage):
    """Nobody attacks: it waited for days at a relay, and the root sees thousands a second."""
    talk = stage.talk
    talk.core.custody.dedup = Dedup(seen_max=10)
    talk.attach(stage.west, READER, "west", "intel.>", session=b"d" * 16)
    intel = verified(ZEEK, kind=Kind.INTEL, topic="intel.bad", ttl_ms=24 * HOUR_MS)
    give(talk, stage.east, intel)
    assert [item.targets for item in talk.items(stage.west)] == [[]]
    talk.say(stage.west, Ack([intel.id]))
    for n in range(20):
        give(talk, stage.east, verified(ZEEK, sequence=n))
    talk.attach(stage.east, READER, "east", "intel.>", session=b"d" * 16, epoch=2)
    talk.items(stage.east)
    acked(talk, stage.west)
    give(talk, stage.west, intel, moved=1, targets=["reader"], hops=["east", "hq", "west"])
    assert codes(talk, stage.west) == [] and acked(talk, stage.west) == [visit_of(intel.id, 1, ["reader"])]
    assert [(item.envelope, item.hops) for item in talk.items(stage.east)] == [(intel.raw, ["east", "hq"])]


@pytest.mark.parametrize("kind", [Kind.INTEL, Kind.RESULT, Kind.ACTION])
def test_below_the_root_what_did_not_go_down_there_climbs_further(kind):
    stage = Stage("root")
    talk, action = stage.talk, deny()
    message, target = {
        Kind.INTEL: (verified(ZEEK, kind=Kind.INTEL, topic="intel.fake"), "soar"),
        Kind.RESULT: (answer(WALLS[0], action), "soar"), Kind.ACTION: (action, "fw-0"),
    }[kind]
    give(talk, stage.west, message, moved=1, targets=[target])
    assert [(item.direction, item.targets, item.moved) for item in talk.items(stage.up)] == [(UP, [target], 2)]
    assert talk.items(stage.soar) == talk.items(stage.walls[0]) == []


def test_i_answer_for_somebody_and_send_it_after_somebody_else(stage):
    talk, action = stage.talk, deny()
    talk.send(stage.soar, action)
    talk.items(stage.soar)
    give(talk, stage.east, answer(WALLS[2], action), moved=1, targets=["fw-0"])
    assert codes(talk, stage.east) == [Code.WRONG_DIRECTION] and talk.items(stage.soar) == []
    low = answer(WALLS[2], action, label=Label.CLEAR, sequence=1)
    give(talk, stage.east, low, moved=1, targets=["soar"])
    assert codes(talk, stage.east) == [Code.LABEL_TOO_LOW] and talk.items(stage.soar) == []


def test_a_relay_s_report_finds_a_requester_who_moved(stage):
    """The word of an honest relay about an end is no other than before."""
    talk = stage.talk
    action = deny()
    report = verified(EAST, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=action.leaf,
                      records=[{"end": "expired", "targets": ["fw-2"], "by": "east"}])
    give(talk, stage.east, report, moved=1, targets=["soar"])
    assert codes(talk, stage.east) == [] and [item.envelope for item in talk.items(stage.soar)] == [report.raw]


@pytest.mark.parametrize("targets", [["fw-2"], []])
def test_i_say_of_an_action_that_never_went_by_me_how_it_ended(stage, targets):
    """One that was executed was `refused` to its requester, in its resolution and for good: who signed was a relay."""
    talk, action = stage.talk, deny()
    talk.send(stage.soar, action)
    talk.items(stage.soar)
    lie, word = [
        verified(relay, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=action.leaf,
                 state=State.REFUSED, records=[{"end": "refused", "targets": names, "by": relay.id}])
        for relay, names in ((WEST, targets), (EAST, ["fw-2"]))
    ]
    talk.send(stage.west, lie)
    assert codes(talk, stage.west) == [Code.NOT_A_TARGET] and talk.items(stage.soar) == []
    assert "fw-2" in talk.core.resolutions.awaited(action.leaf)
    talk.send(stage.east, word)
    assert codes(talk, stage.east) == [] and [item.envelope for item in talk.items(stage.soar)] == [word.raw]
    assert "fw-2" not in talk.core.resolutions.awaited(action.leaf)


# -- "I have the keys of the relay above" -----------------------------------------------------------------------


@pytest.fixture
def wall():
    made = Conversation(Point(WALLS[0].credential, WALLS[0].signer, AUTHORITY.key, b"w" * 16, entropy("w"), ("hq",)))
    made.link = made.dial(HQ, Role.POINT)
    return made


@pytest.fixture
def reader():
    made = Conversation(Point(READER.credential, READER.signer, AUTHORITY.key, b"r" * 16, entropy("r"), ("hq",)))
    made.link = made.dial(HQ, Role.POINT)
    return made


def test_i_flush_what_it_remembers_and_give_it_the_action_again(wall):
    wall.core.custody = Custody(lambda name: wall.core.outboxes[name])
    wall.core.custody.dedup = Dedup(seen_max=20)
    action = deny(ttl_ms=HOUR_MS)
    wall.send(wall.link, action, DOWN, targets=("fw-0",))
    assert len(wall.told(Delivery)) == 1
    for n in range(100):
        flood = verified(HQ, kind=Kind.RESULT, topic="x.y", to="fw-0", records=[{}], sequence=n, ttl_ms=HOUR_MS)
        wall.send(wall.link, flood, DOWN)
        wall.step(Handled(flood.id))
    assert len(wall.told(Delivery)) == 100
    wall.send(wall.link, action, DOWN, targets=("fw-0",))
    assert wall.told(Delivery) == []


@pytest.mark.parametrize("ahead_ms", [0, 2_000, SKEW_MS])
@pytest.mark.parametrize("told_ms", [0, -SKEW_MS])
def test_i_wait_until_it_has_forgotten_and_the_signed_bound_has_not_passed(wall, ahead_ms, told_ms):
    """Of the age I may say what I like, of the time what is within the skew; and the requester's clock may be ahead."""
    action = deny(ttl_ms=60_000, issued_at_ms=T0 + ahead_ms)
    wall.say(wall.link, Pong(T0, T0 + SKEW_MS, ()))
    wall.send(wall.link, action, DOWN, targets=("fw-0",))
    assert len(wall.told(Delivery)) == 1
    for _ in range(240):
        wall.now_ms += 1_000
        wall.say(wall.link, Pong(wall.now_ms, wall.now_ms + told_ms, ()))
        wall.send(wall.link, action, DOWN, targets=("fw-0",))
    assert wall.told(Delivery) == [] and not wall.core.time.suspect


@pytest.mark.parametrize("ahead_ms", [0, 2_000, SKEW_MS])
def test_i_make_it_old_and_then_young_again(stage, ahead_ms):
    """As a child: the relay counts my age to know when the action is over, and takes it again afterwards."""
    talk, action = stage.talk, deny(ttl_ms=60_000, issued_at_ms=T0 + ahead_ms)
    talk.say(stage.west, Intro([SOAR.credential.raw]))
    for age_ms in (59_999, *[0] * 240):
        item = Item(UP, age_ms, [], [], action.raw)
        talk.say(stage.west, Data(action.header.lane, talk.now_ms, [item]))
        talk.now_ms += 1_000
        for link in (stage.east, stage.west, stage.soar, *stage.walls):
            talk.say(link, Ping(talk.now_ms))
    assert stage.targets(stage.east) == ["fw-2"] and talk.count("reported:selected") == 1


def test_i_give_it_so_many_of_one_requester_that_it_forgets(wall):
    wall.core.custody.dedup = Dedup(actions_max=10)
    for n in range(20):
        wall.send(wall.link, deny(EVE, sequence=n, ttl_ms=HOUR_MS), DOWN, targets=("fw-0",))
    assert len(wall.told(Delivery)) == 8 and codes(wall, wall.link) == [Code.BUSY] * 12
    wall.send(wall.link, deny(EVE, sequence=0, ttl_ms=HOUR_MS), DOWN, targets=("fw-0",))
    wall.send(wall.link, deny(ttl_ms=HOUR_MS), DOWN, targets=("fw-0",))
    assert [d.message.header.origin for d in wall.told(Delivery)] == ["soar"], "others' actions find room"


@pytest.mark.parametrize(
    ("member", "fields", "code"),
    [
        (AUTHORITY.issue("mole", clearance=Label.GREEN), {}, Code.PUBLISH_DENIED),
        (AUTHORITY.issue("low", clearance=Label.CLEAR, grants=EVERYTHING), {"label": Label.GREEN},
         Code.CLEARANCE_DENIED),
        (AUTHORITY.issue("mild", grants=Grants(publish=(PublishGrant(">", Severity.LOW),))),
         {"severity": Severity.CRITICAL}, Code.SEVERITY_DENIED),
        (HQ, {}, Code.PUBLISH_DENIED),
        (AUTHORITY.issue("no-wall"), {"kind": Kind.RESULT, "topic": "deny.ipv4_net", "to": "reader"},
         Code.EXECUTE_DENIED),
    ],
)
def test_i_hand_out_what_its_origin_may_not_say(reader, member, fields, code):
    reader.send(reader.link, verified(member, **fields), DOWN)
    assert reader.told(Delivery) == [] and codes(reader, reader.link) == [code]


def test_i_say_that_those_below_it_are_above_it():
    """So that it turns them away, and none of them comes back."""
    talk = hq("root")
    up = talk.dial(ROOT, Role.CHILD)
    talk.say(up, Pong(talk.now_ms, talk.now_ms, ("root", "zeek-1", "soar", "east")))
    opened = [talk.connect(member, Role.POINT) for member in (ZEEK, SOAR)] + [talk.connect(EAST, Role.CHILD)]
    assert all(talk.core.links[link].is_open for link in opened)


def test_what_a_relay_says_itself_is_taken(reader):
    reader.send(reader.link, verified(HQ, kind=Kind.RESULT, topic="fabric.gap", to="reader", label=Label.CLEAR), DOWN)
    assert len(reader.told(Delivery)) == 1 and codes(reader, reader.link) == []


def test_i_send_without_end_and_without_credit(reader):
    """Its program is slow, and what it was given and has not handled waits in its memory."""
    big = "x" * 150_000
    for n in range(150):
        reader.send(reader.link, verified(ZEEK, sequence=n, records=[{"x": os.urandom(75_000).hex() or big}]), DOWN)
    taken = reader.told(Delivery)
    assert sum(len(d.message.raw) for d in taken) <= POINT_QUOTA_BYTES
    assert codes(reader, reader.link) == [Code.BUSY] * (150 - len(taken))
    for delivery in taken[:20]:
        reader.step(Handled(delivery.message.id))
    reader.send(reader.link, verified(ZEEK, sequence=1_000), DOWN)
    assert len(reader.told(Delivery)) == 1


def test_nothing_is_kept_of_what_was_handled(reader):
    for n in range(5):
        message = verified(ZEEK, sequence=n, issued_at_ms=T0)
        reader.send(reader.link, message, DOWN)
        reader.step(Handled(message.id))
    assert reader.core._handling == {} and reader.core._handling_bytes == 0
