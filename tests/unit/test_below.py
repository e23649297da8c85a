"""What a relay believes of who is where, and whom it tells; who moves, drains, goes in a circle, or is there twice."""

import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CONFIRM_MS, HOPS_MAX, LINK_SILENCE_MS, MOVED_MAX
from fabric.protocol.core.ready import Drain, KeepSession, LinkUp, Note
from fabric.protocol.custody.outbox import visit_of
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import EPOCH_MAX, open_attachment, sign_attachment
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Bye,
    Data,
    Direction,
    Hello,
    Intro,
    Item,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
)
from tests.conversation import Conversation
from tests.simulation.disk import Disk
from tests.support import HOUR_MS, MINUTE_MS, T0, Authority, entropy, opened, verified

AUTHORITY = Authority("below")
UP, DOWN = Direction.UP, Direction.DOWN
ME, PARENT, EAST, WEST, CELL = (
    AUTHORITY.issue(name, NodeKind.RELAY, Label.RED) for name in ("mid", "hq", "east", "west", "cell")
)
ALONE = AUTHORITY.issue("alone", NodeKind.RELAY, Label.RED)
FEED = AUTHORITY.issue("feed", grants=Grants(publish=(PublishGrant("intel.>"), PublishGrant("detections.>"))))
READER = AUTHORITY.issue("reader", grants=Grants(subscribe=("intel.>",)))
WALL = AUTHORITY.issue("wall", grants=Grants(execute=("deny *",)))
SOAR = AUTHORITY.issue("soar", grants=Grants(request=(RequestGrant("deny *", "all"),)))


def relay(*parents):
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("below"), parents))


@pytest.fixture
def talk():
    """mid below hq; east and west are its children, cell is below east, and a reader at cell."""
    made = relay("hq")
    made.up = made.dial(PARENT, Role.CHILD)
    made.east = made.connect(EAST, Role.CHILD)
    made.place(made.east, EAST, "mid")
    made.west = made.connect(WEST, Role.CHILD)
    made.place(made.west, WEST, "mid")
    made.place(made.east, CELL, "east", session=b"c" * 16)
    made.attach(made.east, READER, "cell", "intel.>")
    settle(made, made.up)
    return made


def settle(talk, link):
    """Answer ROUTES until there are no more."""
    told = []
    while frames := talk.heard(link, Routes):
        told += frames
        talk.say(link, Routed(frames[-1].sequence, []))
    return told


def on_disk(talk):
    disk = Disk()
    disk.commit(talk.disk)
    disk.settle()
    return disk.load(talk.now_ms)


def names(talk, frames):
    known = {m.credential.digest: m.credential for m in (ME, EAST, WEST, CELL, READER)}
    return [open_attachment(raw, known).node for frame in frames for raw in frame.attachments]


def via(talk, node):
    return [talk.core.routes.via(a) for a in talk.core.routes.of_node(node)]


def intel(sequence=0, **fields):
    return verified(FEED, kind=Kind.INTEL, topic="intel.ipv4", sequence=sequence, ttl_ms=HOUR_MS, **fields)


# -- who is where -------------------------------------------------------------------------------------------------


def test_a_relay_says_itself_where_it_is_and_remembers_when():
    talk = relay("hq")
    up = talk.dial(PARENT, Role.CHILD)
    (frame,) = talk.heard(up, Routes)
    assert frame.first and names(talk, [frame]) == ["mid"]
    (kept,) = [op for op in talk.persisted(KeepSession) if op.destination == "^"]
    again = relay("hq")
    again.core.restore([kept], T0)
    again.now_ms = T0 - HOUR_MS  # a clock that was set back
    up = again.dial(PARENT, Role.CHILD)
    known = {ME.credential.digest: ME.credential}
    (raw,) = again.heard(up, Routes)[0].attachments
    assert open_attachment(raw, known).epoch > open_attachment(kept.attachment, known).epoch


def test_with_a_relay_that_moves_everybody_below_it_is_found_by_the_new_way(talk):
    assert via(talk, "reader") == ["relay:east"]
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=2)
    assert via(talk, "reader") == via(talk, "cell") == ["relay:west"]
    assert names(talk, settle(talk, talk.up)) == ["cell"], "those above have to learn one statement"
    assert names(talk, settle(talk, talk.east)) == ["cell"], "the child that had it is told"


def test_a_child_that_believes_an_older_statement_is_told_the_newer(talk):
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=5)
    settle(talk, talk.east)
    talk.place(talk.east, CELL, "east", session=b"c" * 16, epoch=4)
    assert via(talk, "cell") == ["relay:west"]
    assert names(talk, settle(talk, talk.east)) == ["cell"]


def test_the_parent_says_who_moved_away_and_nothing_else(talk):
    elsewhere = sign_attachment(CELL.credential, CELL.signer, b"c" * 16, "far", 9, False, ())
    stranger = sign_attachment(FEED.credential, FEED.signer, b"f" * 16, "far", 9, False, ())
    talk.say(talk.up, Intro([CELL.credential.raw, FEED.credential.raw]))
    talk.say(talk.up, Routes(1, False, [elsewhere, stranger], []))
    assert via(talk, "cell") == via(talk, "reader") == [""]
    assert via(talk, "feed") == [], "who never was here is nothing to this relay"
    assert names(talk, settle(talk, talk.east)) == ["cell"], "and the child below which it was is told"


def test_a_correction_that_leads_to_somebody_believed_to_be_below_is_asked_for_again(talk):
    """West may have moved too, and its parent only has yet to say so: what is let go now would never come again."""
    raw = sign_attachment(READER.credential, READER.signer, b"s" * 16, "west", 5, False, ("intel.>",))
    talk.say(talk.up, Intro([READER.credential.raw]))
    talk.say(talk.up, Routes(1, False, [raw], []))
    assert [code for _, code, _ in talk.heard(talk.up, Routed)[-1].refusals] == [Code.BUSY]
    assert via(talk, "reader") == ["relay:east"]
    west = sign_attachment(WEST.credential, WEST.signer, b"s" * 16, "elsewhere", 5, False, ())
    talk.say(talk.up, Intro([WEST.credential.raw]))
    talk.say(talk.up, Routes(2, False, [west, raw], []))
    assert talk.heard(talk.up, Routed)[-1].refusals == [] and via(talk, "reader") == [""]


@pytest.mark.parametrize("code", [Code.UNKNOWN_SIGNER, Code.BUSY])
def test_a_child_that_could_not_take_a_correction_is_told_what_is_true_by_then(talk, code):
    """Cell went from east to west, and restarted there under another session before east had taken that."""
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=2)
    (frame,) = talk.heard(talk.east, Routes)
    talk.place(talk.west, CELL, "west", session=b"d" * 16, epoch=3)
    talk.say(talk.east, Routed(frame.sequence, [(0, code, "cell")]))
    talk.wait(500)
    (frame,) = settle(talk, talk.east)
    said = [open_attachment(raw, {CELL.credential.digest: CELL.credential}) for raw in frame.attachments]
    assert [(each.node, each.relay, each.epoch) for each in said] == [("cell", "west", 3)]


@pytest.mark.parametrize("frame", [Routes(1, True, [], []), Routes(1, False, [], [("cell", b"c" * 16, 9)])])
def test_the_parent_neither_clears_nor_withdraws_what_is_below(talk, frame):
    talk.say(talk.up, frame)
    assert [refused.code for refused in talk.heard(talk.up, Refused)] == [Code.WRONG_ROLE]
    assert via(talk, "reader") == ["relay:east"]


def test_what_a_new_full_table_does_not_say_again_is_gone_after_a_while_and_not_before(talk):
    talk.connect(EAST, Role.CHILD, session=b"2" * 16)
    east = sign_attachment(EAST.credential, EAST.signer, b"2" * 16, "mid", 2, False, ())
    talk.say(4, Routes(1, True, [east], []))
    assert via(talk, "reader") == ["relay:east"]
    for _ in range(CONFIRM_MS // 1_000 + 1):
        talk.wait(1_000)
        for link in (talk.up, 4, talk.west):
            talk.say(link, Ping(talk.now_ms))
    assert via(talk, "reader") == [] and via(talk, "east") == ["relay:east"]


def test_a_late_copy_of_an_older_table_changes_nothing(talk):
    """The child said these in order; a network may bring an old frame once more."""
    talk.say(talk.east, Routes(1, True, [], []))
    assert [routed.sequence for routed in talk.heard(talk.east, Routed)][-1] == 1, "it is answered"
    for _ in range(CONFIRM_MS // 1_000 + 1):
        talk.wait(1_000)
        for link in (talk.up, talk.east, talk.west):
            talk.say(link, Ping(talk.now_ms))
    assert via(talk, "reader") == ["relay:east"]


def test_a_control_point_attaches_itself_only(talk):
    point = talk.connect(READER, Role.POINT, session=b"r" * 16)
    talk.attach(point, CELL, "mid", session=b"c" * 16, epoch=99)
    assert [refusal[1] for frame in talk.heard(point, Routed) for refusal in frame.refusals] == [Code.WRONG_PEER]


# -- what follows ---------------------------------------------------------------------------------------------------


def test_what_was_not_handed_over_follows_and_is_answered_by_its_visit(talk):
    message = intel()
    talk.send(talk.up, message, DOWN)
    (item,) = talk.items(talk.east)
    assert (item.moved, item.targets) == (0, [])
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=2)
    talk.wait(250)
    (item,) = talk.items(talk.west)
    assert (item.direction, item.moved, item.targets) == (DOWN, 1, ["cell"])
    talk.say(talk.west, Ack([message.id]))
    assert len(talk.core.custody) == 1, "that is the answer to another item"
    talk.say(talk.west, Ack([visit_of(message.id, 1, ["cell"])]))
    talk.say(talk.east, Ack([message.id]))
    assert len(talk.core.custody) == 0 and talk.core.custody.lane_bytes == [0] * 5


def test_what_moved_is_taken_though_it_was_seen_and_once(talk):
    message = intel()
    talk.send(talk.up, message, DOWN)
    talk.say(talk.east, Ack([message.id]))
    talk.items(talk.east)
    item = Item(DOWN, 0, [], ["reader"], message.raw, 3)
    for _ in range(2):
        talk.say(talk.up, Data(message.header.lane, talk.now_ms, [item]))
    visit = visit_of(message.id, 3, ["reader"])
    assert [i for frame in talk.heard(talk.up, Ack) for i in frame.ids][-2:] == [visit, visit]
    (again,) = talk.items(talk.east)
    assert (again.targets, again.moved) == (["reader"], 4)


def test_an_action_follows_who_left_the_child_that_gave_it_back_past_us(talk):
    """east had it for the wall, is not below us any more, and gave it back to where it is now."""
    talk.attach(talk.east, WALL, "cell", executes=True, session=b"w" * 16)
    deny = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all")
    talk.send(talk.up, deny, DOWN, targets=("wall",))
    talk.say(talk.east, Ack([deny.id]))
    talk.items(talk.east)
    again = [Item(DOWN, 0, [], ["wall"], deny.raw, moved) for moved in (2, 4)]
    talk.say(talk.up, Data(deny.header.lane, talk.now_ms, again[:1]))
    assert talk.items(talk.east) == [], "who is still where it was sent has it"
    talk.attach(talk.west, WALL, "west", executes=True, session=b"x" * 16, epoch=2)
    talk.say(talk.up, Data(deny.header.lane, talk.now_ms, again[1:]))
    (item,) = talk.items(talk.west)
    assert (item.direction, item.targets, item.moved) == (DOWN, ["wall"], 5)


@pytest.mark.parametrize("restarts", [False, True])
def test_what_came_for_a_child_that_left_follows_when_its_new_parent_says_so_also_after_a_restart(talk, restarts):
    """It was handed over and parted from before it was known by which other way it is below: rows are made for it."""
    cell = talk.connect(CELL, Role.CHILD, session=b"c" * 16)
    talk.place(cell, CELL, "mid", session=b"c" * 16, epoch=2)
    talk.place(cell, CELL, "west", session=b"c" * 16, epoch=3)
    assert [code for frame in talk.heard(cell, Routed) for _, code, _ in frame.refusals] == [Code.BUSY]
    settle(talk, talk.up)
    talk.wait(500)
    assert talk.heard(cell, Bye) == [Bye(Code.CLOSED, "")]
    message = intel()
    talk.send(talk.up, message, DOWN)
    assert [row.destination for row in talk.core.custody.get(message.id, DOWN).rows.values()] == ["relay:cell"]
    if restarts:
        again = relay("hq")
        assert again.core.restore(on_disk(talk), again.now_ms) == []
        again.disk = talk.disk
        again.west = again.connect(WEST, Role.CHILD)
        again.place(again.west, WEST, "mid", epoch=2)
        talk = again
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=3)
    (item,) = talk.items(talk.west)
    assert (item.direction, item.moved, item.targets) == (DOWN, 1, ["cell"])
    talk.say(talk.west, Ack([visit_of(message.id, 1, ["cell"])]))
    assert len(talk.core.custody) == 0
    assert "relay:cell" not in [op.destination for op in on_disk(talk) if isinstance(op, KeepSession)]


def test_it_goes_back_up_when_nobody_here_knows_where_to(talk):
    message = intel()
    talk.send(talk.up, message, DOWN)
    talk.items(talk.up)
    talk.say(talk.up, Data(message.header.lane, talk.now_ms, [Item(DOWN, 0, [], ["gone"], message.raw, 1)]))
    (item,) = talk.items(talk.up)
    assert (item.direction, item.targets, item.moved) == (UP, ["gone"], 2)


def test_what_a_child_gives_back_waits_until_the_two_agree_on_where_to(talk):
    message = intel()
    talk.send(talk.up, message, DOWN)
    assert len(talk.items(talk.east)) == 1
    talk.say(talk.east, Ack([message.id]))
    given_back = Item(UP, 0, ["east"], ["reader"], message.raw, 1)
    talk.say(talk.east, Intro([FEED.credential.raw]))
    talk.say(talk.east, Data(message.header.lane, talk.now_ms, [given_back]))
    assert [code for frame in talk.heard(talk.east, Nack) for _, code, _ in frame.refusals] == [Code.BUSY]
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=2)
    talk.say(talk.east, Data(message.header.lane, talk.now_ms, [given_back]))
    assert [frame.ids for frame in talk.heard(talk.east, Ack)] == [[visit_of(message.id, 1, ["reader"])]]
    (item,) = talk.items(talk.west)
    assert (item.targets, item.moved) == (["reader"], 2)


def test_what_follows_somebody_waits_while_it_is_under_way_to_others_by_the_same_way(talk):
    """One row holds what is for all of them: grown, it would go again to those who have it, under another name."""
    gate = AUTHORITY.issue("gate", grants=Grants(execute=("deny *",)))
    talk.attach(talk.east, WALL, "cell", executes=True, session=b"w" * 16)
    talk.attach(talk.west, gate, "west", executes=True, session=b"g" * 16)
    deny = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all")
    talk.send(talk.up, deny, DOWN, targets=("wall", "gate"))
    (first,), (_,) = talk.items(talk.east), talk.items(talk.west)
    talk.attach(talk.east, gate, "cell", executes=True, session=b"g" * 16, epoch=2)
    follows = Data(deny.header.lane, talk.now_ms, [Item(UP, 0, ["west"], ["gate"], deny.raw, 1)])
    talk.say(talk.west, follows)
    assert [code for frame in talk.heard(talk.west, Nack) for _, code, _ in frame.refusals] == [Code.BUSY]
    talk.say(talk.east, Ack([visit_of(deny.id, first.moved, first.targets)]))
    talk.say(talk.west, follows)
    assert [item.targets for item in talk.items(talk.east)] == [["gate"]]


def revoke(talk, *ids):
    talk.say(talk.up, Lists(issue_revocations("acme", 1, T0, T0 + HOUR_MS, list(ids), AUTHORITY.signer)))


def test_what_waits_below_a_revoked_relay_goes_after_everybody_who_was_there(talk):
    message = intel()
    talk.send(talk.up, message, DOWN)
    talk.items(talk.east), talk.items(talk.up)
    revoke(talk, "east")
    assert via(talk, "east") == [] and via(talk, "reader") == [""]
    (item,) = talk.items(talk.up)
    assert (item.direction, item.moved, item.targets) == (UP, 1, ["reader"])
    talk.place(talk.west, CELL, "west", session=b"c" * 16, epoch=2)
    talk.wait(250)
    (item,) = talk.items(talk.west)
    assert item.targets == ["reader"]


def test_what_was_for_a_revoked_relay_and_nobody_below_it_ends(talk):
    alone = talk.connect(ALONE, Role.CHILD, session=b"a" * 16)
    talk.place(alone, ALONE, "mid", session=b"a" * 16)
    talk.attach(alone, READER, "alone", "intel.>", epoch=2)
    talk.send(talk.up, intel(), DOWN)
    assert len(talk.items(alone)) == 1
    talk.attach(talk.east, READER, "cell", "intel.>", epoch=3)  # it has moved, and what is on its way here is late
    revoke(talk, "alone")
    assert talk.count("ended:revoked") == 1 and via(talk, "alone") == []


@pytest.mark.parametrize("parents", [(), ("hq",)])
def test_an_action_goes_down_again_only_from_where_it_went_down_before(parents):
    talk = relay(*parents)
    up = talk.dial(PARENT, Role.CHILD) if parents else 0
    east, wall = talk.connect(EAST, Role.CHILD), talk.connect(WALL, Role.POINT, session=b"w" * 16)
    talk.place(east, EAST, "mid")
    talk.attach(wall, WALL, "mid", executes=True, session=b"w" * 16)
    action = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all",
                      records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}])
    talk.say(east, Intro([SOAR.credential.raw]))
    talk.say(east, Data(action.header.lane, talk.now_ms, [Item(UP, 0, ["east"], ["wall"], action.raw, 1)]))
    assert talk.items(wall) == []
    if parents:
        (item,) = talk.items(up)
        assert (item.direction, item.targets, item.moved) == (UP, ["wall"], 2)
    else:
        assert [c for f in talk.heard(east, Nack) for _, c, _ in f.refusals] == [Code.WRONG_DIRECTION]


@pytest.mark.parametrize("answered", [True, False])
def test_what_the_next_parent_refuses_the_one_before_may_have_taken(answered):
    """An action that follows a target who moved: its end is `refused` only where nobody else can have it."""
    talk = relay("hq", "west")
    hq = talk.dial(PARENT, Role.CHILD)
    east = talk.connect(EAST, Role.CHILD)
    talk.place(east, EAST, "mid")
    action = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", ttl_ms=MINUTE_MS,
                      records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}])
    talk.say(east, Intro([SOAR.credential.raw]))
    talk.say(east, Data(action.header.lane, talk.now_ms, [Item(UP, 0, ["east"], ["wall"], action.raw, 1)]))
    (item,) = talk.items(hq)
    visit = visit_of(action.id, item.moved, item.targets)
    if answered:
        talk.say(hq, Nack([(visit, Code.BUSY, "later")]))
    talk.lose(hq)
    talk.wait(5_000)
    west = talk.dial(WEST, Role.CHILD)
    talk.wait(2_000)
    assert action.raw in [each.envelope for each in talk.items(west)]
    talk.say(west, Nack([(visit, Code.WRONG_DIRECTION, "it went down another way")]))
    reports = [each for each in talk.items(west) if each.envelope != action.raw]
    report = opened(reports[0].envelope, ME)
    (reading,) = read_records(report.header, report.envelope.parts)
    assert (reading.content["end"], reading.content["targets"]) == ("refused" if answered else "unknown", ["wall"])


def test_who_moves_too_often_is_not_followed_for_ever(talk):
    message = intel()
    talk.say(talk.up, Intro([FEED.credential.raw]))
    talk.say(talk.up, Data(message.header.lane, talk.now_ms, [Item(DOWN, 0, [], ["reader"], message.raw, MOVED_MAX)]))
    assert [c for f in talk.heard(talk.up, Nack) for _, c, _ in f.refusals] == [Code.UNROUTABLE]


def test_events_never_come_back_down(talk):
    event = verified(FEED, sequence=7)
    talk.send(talk.east, event)
    for direction, link in ((UP, talk.east), (DOWN, talk.up)):
        item = Item(direction, 0, [], ["reader"], event.raw, 1)
        talk.say(link, Data(event.header.lane, talk.now_ms, [item]))
        assert [c for f in talk.heard(link, Nack) for _, c, _ in f.refusals] == [Code.WRONG_DIRECTION]


# -- draining -------------------------------------------------------------------------------------------------------


def test_who_drains_says_so_and_takes_nobody_new(talk):
    talk.step(Drain())
    told = [frame for link in (talk.east, talk.west) for frame in talk.heard(link, Bye)]
    assert told == [Bye(Code.DRAINING, "hq")] * 2
    assert talk.heard(talk.up, Bye) == [] and not talk.core.drained
    late = talk.connect(READER, Role.POINT, session=b"l" * 16)
    assert [refused.code for refused in talk.heard(late, Refused)] == [Code.DRAINING]
    for link in (talk.east, talk.west):
        talk.lose(link)
    settle(talk, talk.up)
    assert talk.core.drained


def test_a_child_that_has_another_parent_is_handed_what_is_left_and_then_parted_from(talk):
    message = intel()
    talk.send(talk.up, message, DOWN)
    talk.place(talk.east, EAST, "west", epoch=2)
    talk.wait(500)
    assert talk.heard(talk.east, Bye) == [], "it has not acknowledged what it was sent"
    settle(talk, talk.up)
    talk.say(talk.east, Ack([message.id]))
    talk.wait(500)
    settle(talk, talk.up)
    talk.wait(500)
    assert talk.heard(talk.east, Bye) == [Bye(Code.CLOSED, "")]


# -- circles and twins ----------------------------------------------------------------------------------------------


def test_what_went_up_by_who_is_below_now_goes_up_again(talk):
    """east was the parent, and took it; now it is the other way round."""
    event = verified(FEED, sequence=8)
    talk.send(talk.west, event)
    talk.say(talk.up, Ack([event.id]))
    talk.items(talk.up)
    for _ in range(2):
        talk.send(talk.east, event, hops=("mid", "east"))
    assert [i for frame in talk.heard(talk.east, Ack) for i in frame.ids] == [event.id, event.id]
    assert [item.hops for item in talk.items(talk.up)] == [["mid"]], "once for each way that it came"


def test_what_goes_in_a_circle_stays_where_it_is(talk):
    talk.say(talk.up, Pong(talk.now_ms, talk.now_ms, ("east", "hq")))
    event = verified(FEED, sequence=8)
    talk.send(talk.east, event, hops=("mid", "hq", "east"))
    assert [c for f in talk.heard(talk.east, Nack) for _, c, _ in f.refusals] == [Code.BUSY]
    assert talk.count("refused:loop") == 1 and talk.items(talk.up) == []


def test_a_goodbye_before_hello_says_nothing_of_anybody(talk):
    """A child that is dialled answers HELLO with BYE."""
    talk._links += 1
    talk.step(LinkUp(talk._links, CELL.curve_key, b"n" * 16, Role.PARENT, "cell"))
    before = list(talk.core.routes.all())
    talk.say(talk._links, Bye(Code.CLOSED, ""))
    assert list(talk.core.routes.all()) == before and talk.closed[-1] == talk._links


def test_a_connection_has_one_role():
    talk = relay("far", "hq")
    talk.dial(AUTHORITY.issue("far", NodeKind.RELAY), Role.CHILD)
    talk.step(LinkUp(9, PARENT.curve_key, b""))
    hello = Hello(1, 1, "acme", Role.PARENT, PARENT.credential.raw, b"p" * 16, b"a" * 16, T0, 0, 0)
    talk.say(9, hello)
    assert talk.heard(9, Refused) == [], "a backup waits until it is wanted"
    talk.say(9, hello._replace(role=Role.CHILD, nonce=b"b" * 16))
    assert [refused.code for refused in talk.heard(9, Refused)] == [Code.WRONG_ROLE]
    talk.lose(1)
    talk.wait(10_000)
    assert not talk.core.by_destination


def test_nobody_is_below_its_own_child(talk):
    other = talk.connect(PARENT, Role.CHILD)
    assert [refused.code for refused in talk.heard(other, Refused)] == [Code.LOOP]


def test_a_parent_that_turns_out_to_be_below_is_left(talk):
    """Its word alone is not enough: who is between must have said where it is."""
    talk.say(talk.up, Pong(talk.now_ms, talk.now_ms, ("mid", "east", "hq")))
    assert talk.heard(talk.up, Refused) == []
    talk.place(talk.east, PARENT, "east")
    talk.say(talk.up, Pong(talk.now_ms, talk.now_ms, ("mid", "east", "hq")))
    assert [refused.code for refused in talk.heard(talk.up, Refused)] == [Code.LOOP]
    assert talk.core.ancestors == ()


def test_a_parent_that_lies_about_who_is_above_parts_nobody(talk):
    """Neither this relay from it, nor the relay's own children from the relay, whatever names and however many."""
    lie = ("west", "mid", *(f"r{n}" for n in range(HOPS_MAX - 3)), "hq")
    assert len(lie) == HOPS_MAX
    talk.say(talk.up, Pong(talk.now_ms, talk.now_ms, lie))
    assert talk.heard(talk.up, Refused) == []
    assert not talk.heard(talk.connect(WEST, Role.CHILD, session=b"2" * 16), Refused)
    talk.say(talk.east, Ping(talk.now_ms))
    told = talk.heard(talk.east, Pong)[-1]
    assert told.path == (*lie[1:], "mid") and decode_frame(encode_frame(told)) == told


def test_the_path_is_told_to_children(talk):
    talk.say(talk.up, Pong(talk.now_ms, talk.now_ms, ("far", "hq")))
    talk.say(talk.east, Ping(talk.now_ms))
    assert talk.heard(talk.east, Pong)[-1].path == ("far", "hq", "mid")


def test_a_child_that_is_elsewhere_too_in_another_process_is_named(talk):
    twin = sign_attachment(EAST.credential, EAST.signer, b"t" * 16, "far", 9, False, ())
    talk.say(talk.up, Routes(1, False, [twin], []))
    assert [refused.code for refused in talk.heard(talk.east, Refused)] == [Code.TWIN]
    assert talk.count("twins:child") == 1


def test_a_relay_hears_of_its_own_twin(talk):
    twin = sign_attachment(ME.credential, ME.signer, b"t" * 16, "far", 2**45, False, ())
    ready = talk.say(talk.up, Routes(1, False, [twin], []))
    assert talk.count("twins:self") == 1
    assert any(isinstance(note, Note) and note.fields.get("code") == "E212" for note in ready.notes)


@pytest.mark.parametrize(
    ("epoch", "said"),
    [(T0 + 1_000, []), (T0 + 2 * HOUR_MS, [T0 + 2 * HOUR_MS + 1]), (EPOCH_MAX - 1, [EPOCH_MAX]), (EPOCH_MAX, [])],
)
def test_a_relay_outdoes_what_it_said_by_a_clock_that_was_ahead_before_its_disk_was_lost(talk, epoch, said):
    """Whoever knows that would believe nothing that it says until then. A twin by the same clock is left alone."""
    before = sign_attachment(ME.credential, ME.signer, b"t" * 16, "far", epoch, False, ())
    talk.say(talk.up, Routes(1, False, [before], []))
    talk.wait(250)
    known = {ME.credential.digest: ME.credential}
    own = [open_attachment(raw, known) for frame in settle(talk, talk.up) for raw in frame.attachments]
    assert [each.epoch for each in own] == said
    talk.lose(talk.up)
    (first, *_) = settle(talk, talk.dial(PARENT, Role.CHILD))
    assert open_attachment(first.attachments[0], known).epoch >= max(said, default=0), "nothing comes after the last"


def test_a_child_that_is_refused_as_a_twin_is_told_first_what_it_has_to_outdo(talk):
    twin = sign_attachment(EAST.credential, EAST.signer, b"t" * 16, "far", 2**45, False, ())
    settle(talk, talk.east)
    ready = talk.say(talk.up, Routes(1, False, [twin], []))
    to_east = [decode_frame(payload) for link, payload in [*ready.early, *ready.send] if link == talk.east]
    (routes, refused) = [frame for frame in to_east if isinstance(frame, Routes | Refused)]
    assert routes.attachments == [twin] and refused.code is Code.TWIN


def test_a_reject_says_only_names(talk):
    assert str(Reject(Code.LOOP, "east is above mid")) == "E211 a relay would be its own ancestor: east is above mid"


# -- a parent that says nothing -------------------------------------------------------------------------------


def test_a_parent_that_never_answers_a_greeting_is_given_up_and_may_be_dialled_again():
    """Its host is gone, or its process hangs; the connection alone would say so after a quarter of an hour."""
    talk = relay("hq")
    talk.step(LinkUp(1, PARENT.curve_key, b"n" * 16, Role.CHILD, "hq"))
    talk.wait(LINK_SILENCE_MS - 500)
    assert len(talk.heard(1, Hello)) >= 5 and talk.closed == []
    talk.wait(1_000)
    assert talk.closed == [1] and talk.count("links_silent:unanswered") == 1
    talk._links = 1
    talk.dial(PARENT, Role.CHILD)
    assert [link.peer.id for link in talk.core.by_destination.values()] == ["hq"]


def test_a_child_that_was_dialled_and_never_answers_is_given_up_too():
    talk = relay()
    talk.step(LinkUp(1, EAST.curve_key, b"n" * 16, Role.PARENT, "east"))
    talk.wait(LINK_SILENCE_MS + 500)
    assert talk.closed == [1]
