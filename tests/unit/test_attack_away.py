"""Attacks on actions for those who are away, and what a clock, a restart and many of them must not bring about."""

import dataclasses
from contextlib import closing

import pytest
import structlog

from fabric.edge.acting.executing import Executing
from fabric.edge.handling.handlers import Handlers
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import MEMBER_KEEP_MS
from fabric.protocol.core.ready import KeepMember, Ready, Tick
from fabric.protocol.custody.outbox import visit_of
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.links.facts import ListTaken
from fabric.protocol.relay.below.facts import Executes
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Bye, Data, Item, Nack, Ping, Role
from fabric.spool import Spool
from tests.support import DAY_MS, HOUR_MS, T0, noise, opened, verified
from tests.unit import test_edge_executing
from tests.unit.test_relay_actions import (  # noqa: F401
    AUTHORITY,
    DMZ,
    DOWN,
    ME,
    PARENT,
    SOAR,
    UP,
    WALLS,
    Stage,
    action,
    come_back,
    leave,
    of,
    relay,
    restarted,
)

DENY = Grants(execute=("deny ipv4_net",))
TAGS = [("role", "firewall")]


def wall(name, serial=1, grants=DENY, tags=TAGS, **more):
    return AUTHORITY.issue(name, clearance=Label.AMBER, grants=grants, tags=tags, serial=serial, **more)


@pytest.fixture
def stage():
    return Stage()


# -- the roster forgets or is made to forget ----------------------------------------------------------------------


def test_who_stays_connected_for_a_month_is_not_forgotten(stage):
    talk = stage.talk
    ready = Ready()
    talk.core.roster.tick(T0 + MEMBER_KEEP_MS + HOUR_MS, ready)
    assert [op for op in ready.persist if isinstance(op, KeepMember) and not op.credential] == []
    assert len(talk.core.roster) == 3, "all three are connected and execute"


def test_an_older_statement_does_not_bring_back_an_older_credential(stage):
    """A child replays what fw-9 signed below it before it was renewed (and got its tag)."""
    talk = stage.talk
    old, new = wall("fw-9", 1, tags=()), wall("fw-9", 2)
    link = talk.connect(new, Role.POINT, session=b"n" * 16)
    talk.attach(link, new, "hq", executes=True, session=b"n" * 16, epoch=50)
    talk.attach(stage.dmz, old, "dmz", executes=True, session=b"o" * 16, epoch=3)  # the replay
    talk.withdraw(stage.dmz, old, session=b"o" * 16, epoch=3)
    talk.say(link, Bye(Code.CLOSED, ""))
    talk.lose(link)
    stage.ask(action())
    assert "fw-9" in stage.reports()[0]["targets"]


def test_an_older_statement_is_no_coming_back(stage):
    """fw-1 was at dmz once, then here, then away. The child replays what it signed then, and takes its action."""
    talk = stage.talk
    talk.attach(stage.walls[1], WALLS[1], "hq", executes=True, epoch=T0)
    leave(stage, 1)
    message = stage.ask(action())
    for _ in talk.items(stage.dmz):
        talk.say(stage.dmz, Ack([message.id]))
    talk.attach(stage.dmz, WALLS[1], "dmz", executes=True, session=b"o" * 16, epoch=3)
    talk.wait(500)
    stolen = talk.items(stage.dmz)
    real = talk.connect(WALLS[1], Role.POINT, session=b"t" * 16)
    talk.attach(real, WALLS[1], "hq", executes=True, session=b"t" * 16, epoch=T0 + 99)
    talk.wait(500)
    assert stolen == [] and len(talk.items(real)) == 1


@pytest.mark.parametrize("parent", ["root", ""])
@pytest.mark.parametrize("now_ms", [T0 + 40 * DAY_MS, T0 - 400 * DAY_MS])
def test_a_clock_that_is_wrong_at_the_start_wipes_nothing_from_disk(tmp_path, now_ms, parent):
    talk = relay()
    one = wall("fw-9", not_before_ms=T0 - DAY_MS, not_after_ms=T0 + 365 * DAY_MS)
    link = talk.connect(one, Role.POINT)
    talk.attach(link, one, "hq", executes=True)
    with closing(Spool(tmp_path / "hq.db")) as spool:
        spool.commit(talk.disk)
        ops = list(spool.load(now_ms))
        again = relay(parent)  # the time is told from above, in a moment, or never
        again.now_ms = now_ms
        again.core.restore(ops, now_ms)
        again.step(Tick())
        spool.commit(again.disk)
        left = [op.node for op in spool.load(T0 + HOUR_MS) if isinstance(op, KeepMember)]
    assert left == ["fw-9"]


def test_who_could_not_be_believed_by_a_wrong_clock_is_known_when_it_is_right(tmp_path):
    talk = relay()
    one = wall("fw-9", not_before_ms=T0 - DAY_MS, not_after_ms=T0 + 365 * DAY_MS)
    link = talk.connect(one, Role.POINT)
    talk.attach(link, one, "hq", executes=True)
    again = relay(parent="root")
    again.now_ms = T0 - 400 * DAY_MS
    again.core.restore([op for op in talk.disk if isinstance(op, KeepMember)], again.now_ms)
    assert again.core.time.unknown and len(again.core.roster) == 1


def test_a_member_is_renewed_also_where_its_source_may_have_no_more(monkeypatch):
    monkeypatch.setattr("fabric.protocol.relay.below.roster.MEMBERS_MAX", 4)
    talk = relay()
    roster = talk.core.roster

    def saw(member, now_ms, voucher=None):
        raw = sign_attachment(member.credential, member.signer, bytes(16), "hq", 1, executes=True, subscriptions=())
        said = open_attachment(raw, {member.credential.digest: member.credential})
        if voucher:
            said = dataclasses.replace(said, credential=dataclasses.replace(said.credential, issuers=(voucher,)))
        roster.saw(said, now_ms, Ready())

    saw(wall("a"), T0)
    saw(wall("b"), T0)
    saw(wall("x"), T0, "iss")
    saw(wall("y"), T0, "other")
    before = talk.count("roster:no_room")
    saw(wall("a", 2), T0 + DAY_MS)
    assert talk.count("roster:no_room") == before
    assert {c.id: c.serial for c in roster.members(T0)}["a"] == 2


# -- held, sent, ended ------------------------------------------------------------------------------------------


def test_it_goes_to_who_was_back_when_the_relay_ended_before_its_next_look(stage, tmp_path):
    leave(stage, 1)
    message = stage.ask(action())
    talk = stage.talk
    # Between two looks: frames are taken, and the timers have not run. What is on disk is what was committed.
    link = talk.connect(WALLS[1], Role.POINT, session=b"t" * 16)
    talk.attach(link, WALLS[1], "hq", executes=True, session=b"t" * 16, epoch=9)
    assert talk.items(link) == []
    again = restarted(talk, tmp_path)
    link = again.connect(WALLS[1], Role.POINT, session=b"t" * 16)
    again.attach(link, WALLS[1], "hq", executes=True, session=b"t" * 16, epoch=9)  # it says the same again
    again.wait(1_000)
    assert [item.envelope for item in again.items(link)] == [message.raw]


def test_what_may_have_been_sent_before_a_restart_is_not_sent_again_with_one_more(stage, tmp_path):
    """All of it was sent to dmz for fw-2 when the relay ended. fw-0 is back below dmz before all was offered again."""
    leave(stage, 0)
    talk = stage.talk

    def large(n):
        return verified(
            SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.HIGH, sequence=n,
            ttl_ms=600_000, issued_at_ms=talk.now_ms,
            records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {"note": noise(n, 9_000)}}],
        )

    for n in range(40):
        stage.ask(large(n))
    for _ in range(20):  # it answers, and more may be under way to it from then on
        items = talk.items(stage.dmz)
        talk.wait(2, 2)
        talk.say(stage.dmz, Ack([opened(item.envelope, SOAR).id for item in items]))
    for n in range(40, 52):
        stage.ask(large(n))
    had = {item.envelope for item in talk.items(stage.dmz)}
    again = restarted(talk, tmp_path)
    dmz = again.connect(DMZ, Role.CHILD)
    again.attach(dmz, WALLS[2], "dmz", executes=True)
    again.attach(dmz, WALLS[0], "dmz", executes=True, epoch=3)
    again.wait(500)
    items = again.items(dmz)
    for _ in range(20):
        again.say(dmz, Ack([visit_of(opened(i.envelope, SOAR).id, i.moved, i.targets) for i in items]))
        again.wait(250)
        items += again.items(dmz)
    twice = [item for item in items if "fw-2" in item.targets and item.moved and item.envelope in had]
    assert twice == [], f"{len(twice)} go to fw-2 again, under a visit that dmz has not seen"


def test_who_comes_and_goes_below_a_child_has_it_until_the_time_is_over(stage):
    """dmz gives it back, since fw-9 left again before it came: an hour is left, and it ends as unroutable."""
    talk = stage.talk
    other = wall("fw-9")
    talk.attach(stage.dmz, other, "dmz", executes=True, session=b"a" * 16)
    talk.withdraw(stage.dmz, other, session=b"a" * 16)
    message = stage.ask(action(ttl_ms=600_000))
    told = stage.reports()
    (item,) = talk.items(stage.dmz)
    talk.say(stage.dmz, Ack([message.id]))
    talk.attach(stage.dmz, other, "dmz", executes=True, session=b"b" * 16, epoch=3)
    talk.wait(500)
    (item,) = talk.items(stage.dmz)
    talk.say(stage.dmz, Ack([visit_of(message.id, item.moved, item.targets)]))
    talk.withdraw(stage.dmz, other, session=b"b" * 16, epoch=3)
    back = Item(UP, 0, ["dmz"], ["fw-9"], message.raw, item.moved + 1)
    talk.say(stage.dmz, Data(message.header.lane, talk.now_ms, [back]))
    for _ in range(40):
        talk.wait(2_000)
        for link in (stage.soar, *stage.walls, stage.dmz):
            talk.say(link, Ping(talk.now_ms))
        told += stage.reports()
    ends = [(r["end"], r["code"]) for r in told if r["targets"] == ["fw-9"] and r["end"] not in ("held", "dispatched")]
    assert ends == [], ends


# -- revoked ----------------------------------------------------------------------------------------------------


def test_the_end_when_the_requester_is_revoked(stage):
    leave(stage, 1)
    stage.ask(action())
    talk = stage.talk
    raw = issue_revocations("acme", 1, T0, T0 + DAY_MS, ["soar-1"], AUTHORITY.signer)
    talk.core.trust.take_revocations(talk.core.trust.read_revocations(raw))
    ready = Ready()
    talk.core.holding.list_changed(talk.now_ms, ready)
    talk.core.session_keeper.list_changed(talk.now_ms, ready)
    absent = talk.core.absent
    assert not absent._targets and not absent._held_for
    assert talk.items(come_back(stage, 1)) == []


def revoke(talk, *ids):
    raw = issue_revocations("acme", 1, T0, T0 + DAY_MS, ids, AUTHORITY.signer)
    talk.core.trust.take_revocations(talk.core.trust.read_revocations(raw))
    talk.core.hear(ListTaken(), talk.now_ms, Ready())
    talk.wait(500)


@pytest.mark.parametrize("left", [True, False])
def test_the_end_when_a_target_is_revoked_whom_it_waits_for(stage, left):
    """It is known at once, and not an hour later."""
    leave(stage, 1) if left else stage.talk.lose(stage.walls[1])
    stage.ask(action(ttl_ms=600_000))
    stage.reports()
    revoke(stage.talk, "fw-1")
    told = [(r["end"], r["targets"], r["code"]) for r in stage.reports()]
    assert told == [("refused", ["fw-1"], Code.REVOKED.label)]
    assert not stage.talk.core.absent.actions


def test_and_when_its_child_is_revoked_that_may_have_it_nobody_else_gets_it(stage):
    stage.ask(action(ttl_ms=600_000))
    stage.reports()
    revoke(stage.talk, "dmz")
    wall = stage.talk.connect(WALLS[2], Role.POINT, session=b"t" * 16)
    stage.talk.attach(wall, WALLS[2], "hq", executes=True, session=b"t" * 16, epoch=T0 + 1)
    stage.talk.wait(500)
    assert stage.talk.items(wall) == []


# -- two that claim the same node, and what is given back -------------------------------------------------------


LAN = AUTHORITY.issue("lan", NodeKind.RELAY)


def test_two_children_that_claim_a_node_do_not_both_get_it(stage):
    talk = stage.talk
    lan = talk.connect(LAN, Role.CHILD)
    talk.place(lan, LAN, "hq")
    leave(stage, 1)
    message = stage.ask(action(to="id=fw-1"))
    talk.attach(stage.dmz, WALLS[1], "dmz", executes=True, session=b"a" * 16, epoch=T0 + 1)
    talk.attach(lan, WALLS[1], "lan", executes=True, session=b"b" * 16, epoch=T0 + 2)
    talk.wait(500)
    (item,) = talk.items(lan)
    assert item.envelope == message.raw and talk.items(stage.dmz) == []
    talk.say(lan, Ack([visit_of(message.id, item.moved, item.targets)]))
    talk.withdraw(lan, WALLS[1], session=b"b" * 16, epoch=T0 + 2)  # and keeps it
    for _ in range(6):
        talk.wait(2_000)
        talk.say(stage.dmz, Ping(talk.now_ms))
    assert talk.items(stage.dmz) == []
    back = Item(UP, 0, ["dmz"], ["fw-1"], message.raw, 3)
    talk.say(stage.dmz, Data(message.header.lane, talk.now_ms, [back]))  # what it never had
    assert [code for frame in talk.heard(stage.dmz, Nack) for _, code, _ in frame.refusals] == [Code.WRONG_DIRECTION]


def test_what_came_back_below_a_relay_and_left_unsent_is_not_taken_there_for_a_repeat(stage):
    """How often it moved is counted on at a control point too: else it came to the relay again under the same visit."""
    talk = stage.talk
    leave(stage, 1)
    message = stage.ask(action(to="id=fw-1"))
    visits = []
    for n in range(3):
        session = bytes([n]) * 16
        talk.attach(stage.dmz, WALLS[1], "dmz", executes=True, session=session, epoch=T0 + 10 * n + 1)
        talk.wait(500)
        (item,) = talk.items(stage.dmz)
        visits.append(visit_of(message.id, item.moved, item.targets))
        talk.say(stage.dmz, Ack([visits[-1]]))
        talk.withdraw(stage.dmz, WALLS[1], session=session, epoch=T0 + 10 * n + 1)
        back = Item(UP, 0, ["dmz"], ["fw-1"], message.raw, item.moved + 1)
        talk.say(stage.dmz, Data(message.header.lane, talk.now_ms, [back]))
        # It comes here and is lost before the relay looks: the action waits for that session, and for the next one.
        raw = sign_attachment(WALLS[1].credential, WALLS[1].signer, b"t" * 16, "hq", T0 + 10 * n + 2, True, ())
        here = open_attachment(raw, {WALLS[1].credential.digest: WALLS[1].credential})
        talk.core.routes.put(here)
        talk.core.hear(Executes(here), talk.now_ms, Ready())
        talk.wait(500)
        talk.core.session_keeper.forget(f"point:fw-1/{(b't' * 16).hex()}", talk.now_ms, Ready())
    assert len(set(visits)) == 3


def test_what_moved_too_often_ends_and_does_not_end_the_link(stage):
    talk = stage.talk
    leave(stage, 1)
    message = stage.ask(action(to="id=fw-1"))
    talk.core.custody.get(message.id, DOWN).rows["away"].moved = 64
    talk.attach(stage.dmz, WALLS[1], "dmz", executes=True, session=b"a" * 16, epoch=T0 + 1)
    talk.wait(500)
    (item,) = talk.items(stage.dmz)
    assert item.moved == 64, "more is malformed; the child refuses this as unroutable"


def test_nothing_is_left_when_all_is_over(stage):
    leave(stage, 1)
    stage.ask(action(ttl_ms=4_000))
    for _ in range(10):
        stage.talk.wait(1_000)
    absent = stage.talk.core.absent
    assert not absent._targets and not absent._held_for and not absent._back
    outbox = stage.talk.core.outboxes["away"]
    assert outbox.empty and outbox.bytes == 0


def test_a_dry_run_is_held_for_nobody(stage):
    leave(stage, 1)
    stage.ask(action(terms=Terms(dry_run=True)))
    assert not stage.talk.core.absent._targets
    assert stage.talk.items(come_back(stage, 1)) == []


# -- terms -------------------------------------------------------------------------------------------------------


def test_require_all_is_for_nobody_while_a_link_to_a_target_is_lost(stage):
    stage.talk.lose(stage.walls[1])
    stage.ask(action(terms=Terms(require_all=True)))
    assert stage.talk.items(stage.walls[0]) == [], [(r["end"], r["targets"]) for r in stage.reports()]


def test_require_all_is_for_nobody_while_a_child_has_been_gone_for_long(stage):
    talk = stage.talk
    talk.lose(stage.dmz)
    for _ in range(300):
        talk.wait(2_000, 2_000)
        for link in (stage.soar, *stage.walls):
            talk.say(link, Ping(talk.now_ms))
    stage.reports()
    stage.ask(action(terms=Terms(require_all=True), issued_at_ms=talk.now_ms))
    told = [(r["end"], r["targets"]) for r in stage.reports()]
    assert talk.items(stage.walls[0]) == [], told


def test_a_dry_run_is_held_for_whom_the_turn_relay_selected():
    """Any relay's word counts: with `held` for all it says that nothing is awaited, and nobody was asked."""
    tracker = Tracker(action().leaf, T0, T0 + 5_000, dry_run=True)

    def said(end, *targets):
        return verified(PARENT, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=tracker.digest,
                        records=[{"end": end, "targets": list(targets)}]), {"end": end, "targets": list(targets)}

    tracker.take(*said("selected", "fw-0", "fw-1"), T0)
    tracker.take(*said("held", "fw-1", "never-selected"), T0)
    assert set(tracker.held) <= set(tracker.targets)


def test_what_was_revoked_while_the_relay_was_off_leaves_the_disk(tmp_path):
    talk = relay()
    one = wall("fw-9")
    link = talk.connect(one, Role.POINT)
    talk.attach(link, one, "hq", executes=True)
    short = [op._replace(credential=wall("fw-9", not_after_ms=T0 + DAY_MS).credential.raw)
             if isinstance(op, KeepMember) else op for op in talk.disk]
    with closing(Spool(tmp_path / "hq.db")) as spool:
        spool.commit(short)
        again = relay()
        again.now_ms = T0 + 3 * DAY_MS
        again.core.restore(list(spool.load(again.now_ms)), again.now_ms)
        for _ in range(26):  # a day, in which it might have been told that its own clock is wrong
            again.now_ms += HOUR_MS
            again.step(Tick())
        spool.commit(again.disk)
        assert [op.node for op in spool.load(again.now_ms) if isinstance(op, KeepMember)] == []


def test_what_comes_back_looks_only_at_who_is_back():
    """Hundreds away for 20 actions: each look at one who is back goes through all of them, for every action."""
    here = Stage()
    talk = here.talk
    for n in range(400):
        one = wall(f"gw-{n:05}")
        raw = sign_attachment(one.credential, one.signer, bytes(16), "hq", 1, executes=True, subscriptions=())
        talk.core.roster.saw(open_attachment(raw, {one.credential.digest: one.credential}), T0, Ready())
    for n in range(20):
        here.ask(action(sequence=n, ttl_ms=600_000))
    talk.wait(300)
    # dmz answers nothing, so each look until the time is over asks of everybody whether he is there.
    talk.attach(here.dmz, wall("gw-00000"), "dmz", executes=True, epoch=9)
    asked = []
    executor = talk.core.routes.executor
    talk.core.routes.executor = lambda node: asked.append(node) or executor(node)
    talk.core.absent.tick(talk.now_ms, Ready())
    assert len(asked) <= 3 * 20, f"{len(asked)} questions in one look, for one target"


def test_a_dry_run_is_not_ready_where_nothing_begins_any_more():
    loop = test_edge_executing.Loop()
    handlers = Handlers(["deny ipv4_net"])
    handlers.add("deny", "ipv4_net", lambda _: {})
    one = Executing(loop, loop.publish, handlers, lambda call, given: call(given), structlog.get_logger(), 1)
    one.take(test_edge_executing.action(1, terms=Terms(dry_run=True)))
    loop.wait(1)
    one.finish(1.0)
    one.take(test_edge_executing.action(2, terms=Terms(dry_run=True)))
    told = loop.wait(2)[1]
    one.abandon()
    assert told["end"] == "refused", "an action would be refused now (STOPPING)"
