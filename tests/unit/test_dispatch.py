"""Actions at a relay: the component alone, with ports that only remember. Conversations: `test_relay_actions`."""

from collections import Counter
from dataclasses import replace

import pytest

from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SKEW_MS, TTL_MAX_MS
from fabric.protocol.core.ready import KeepDispatch, KeepOpen, Ready, SeenAction
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Held, Outbox, Row
from fabric.protocol.custody.sessions import AWAY, NOWHERE, child_relay, point_session
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.actions.action_reports import ActionReports
from fabric.protocol.relay.actions.answerers import Answerers
from fabric.protocol.relay.actions.approving import Approving
from fabric.protocol.relay.actions.asking import Asking
from fabric.protocol.relay.actions.cancelling import Cancelling
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.relay.actions.dispatches import Dispatches
from fabric.protocol.relay.actions.resolutions import Resolutions
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction, Item
from tests.support import HOUR_MS, T0, Authority, entropy, verified

AUTHORITY = Authority("dispatch")
ME, EAST, CELL = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "east", "cell"))
SOAR = AUTHORITY.issue("soar", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
LOCAL = AUTHORITY.issue("local", grants=Grants(request=(RequestGrant("deny *", "role=firewall", scope="hq"),)))
NEAR, FAR = (
    AUTHORITY.issue(name, grants=Grants(execute=("deny *",)), tags=[("role", "firewall")]) for name in ("near", "far")
)
CHIEF = AUTHORITY.issue("chief", grants=Grants(request=(RequestGrant("cancel command", "role=firewall"),)))
GONE = AUTHORITY.issue("gone", grants=Grants(execute=("deny *",)), tags=[("role", "firewall")])
WEAK = AUTHORITY.issue("weak", grants=Grants(execute=("scan *",)), tags=[("role", "firewall")])
UP, DOWN = Direction.UP, Direction.DOWN
AT_NEAR, AT_EAST = point_session("near", bytes(16)), child_relay("east")


class Stage:
    """near and weak are at this relay, far is below east."""

    def __init__(self, is_root=True):
        self.cut_off = set()
        self.held, self.routed, self.counted, self.ready = [], [], Counter(), Ready()
        self.routes = RouteTable("hq")
        for member, relay in ((EAST, "hq"), (NEAR, "hq"), (FAR, "east"), (WEAK, "hq")):
            self.attach(member, relay)
        self.custody = Custody(lambda name: Outbox(name, 1_000))
        signer = ReportSigner(ME.credential, ME.signer, entropy("x"), RootCache(), lambda now_ms: now_ms, lambda: False)
        time = Timekeeper(ME.credential, SKEW_MS, lambda *_: None, has_parents=not is_root)
        trust = TrustStore(ME.credential, AUTHORITY.key, SKEW_MS)
        self.roster = Roster(trust, time, self.routes, SKEW_MS, lambda *_: None)
        messages = MessagePort(
            lambda message, item, *_: self.routed.append((message, item.direction)), self.hold, None, None
        )
        self.resolutions = Resolutions(signer, time, messages, lambda *_: None)
        self.approving = Approving(
            Asking(signer, trust, time, self.routes, messages, lambda *_: True, lambda *_: None), trust, time,
            self.roster, RootCache(), lambda *_: None, lambda *_, **__: None, lambda *_: None, SKEW_MS,
        )
        def count(what, reason):
            self.counted.update([f"{what}:{reason}"])

        dispatches, router = Dispatches(), Router("hq", self.routes, is_root=is_root)
        self.action_reports = ActionReports(signer, messages, count)
        self.answerers = Answerers("hq", dispatches, self.routes, router, self.custody)
        cancelling = Cancelling(
            dispatches, self.custody, self.roster, self.approving, self.action_reports, messages
        )
        self.dispatch = Dispatch(
            "hq", dispatches, self.action_reports, self.custody, self.routes, router, self.roster, self.resolutions,
            self.approving, cancelling, messages, lambda: trust.policies,
            lambda way: way not in self.cut_off, count,
        )

    def attach(self, member, relay):
        self.routes.put(self.statement(member, relay))

    def statement(self, member, relay):
        raw = sign_attachment(
            member.credential, member.signer, bytes(16), relay, 1, executes=member not in (EAST, CELL), subscriptions=()
        )
        return open_attachment(raw, {member.credential.digest: member.credential})

    def has_left(self, member):
        """It executed here once."""
        self.roster.saw(self.statement(member, "hq"), T0, Ready())

    def hold(self, message, item, destinations, now_ms, ready, direction=None, *, moved=0):
        self.held.append((list(destinations), direction, moved))

    def turn(self, message):
        self.dispatch.turn(message, item(message), T0, self.ready)
        return message

    def hand_out(self, message, *targets, moved=0):
        self.dispatch.hand_out(message, item(message, DOWN, targets, moved), targets, T0, self.ready)

    def reports(self):
        """(end, targets, code) of each, and the directions in which they were routed."""
        told = [read_records(message.header, message.envelope.parts)[0].content for message, _ in self.routed]
        return [(each["end"], each["targets"], each.get("code")) for each in told]


@pytest.fixture
def stage():
    return Stage()


def action(member=SOAR, **fields):
    records = [{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}]
    return verified(
        member, **{"kind": Kind.ACTION, "topic": "deny.ipv4_net", "to": "all", "records": records, **fields}
    )


def answer(member, about, label=Label.GREEN):
    return verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=about.leaf, label=label,
                    records=[{"end": "completed", "targets": [member.id], "by": member.id}])


def ended(member, about):
    return verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=about.leaf,
                    state=State.COMPLETED, records=[{"end": "completed", "targets": [member.id], "by": member.id}])


def item(message, direction=UP, targets=(), moved=0):
    return Item(direction, 0, [], list(targets), message.raw, moved)


def test_where_it_turns_its_targets_are_selected_said_and_handed_it(stage):
    message = stage.turn(action())
    assert stage.reports() == [("selected", ["near", "far"], None)] and stage.routed[0][1] is UP
    assert stage.held == [([(AT_NEAR, ("near",)), (AT_EAST, ("far",))], DOWN, 0)]
    assert stage.dispatch.turned(message) and stage.dispatch.ways(message, ["near", "far"]) == [AT_NEAR, AT_EAST]
    kept = [type(op) for op in stage.ready.persist]
    assert kept == [KeepDispatch, KeepOpen, SeenAction, KeepDispatch, KeepDispatch]


def test_the_relays_on_the_way_to_a_target_are_kept_with_who_was_handed_it(stage):
    stage.attach(CELL, "east")
    stage.attach(FAR, "cell")
    stage.turn(action())
    kept = {op.target: op.between for op in stage.ready.persist if isinstance(op, KeepDispatch)}
    assert kept == {"": "", "near": "", "far": "cell"}


def test_whom_it_selects_and_who_is_away_is_named_and_held_for(stage):
    """With three of four firewalls away `act` printed one `completed`, as if the block were everywhere."""
    for member in (GONE, NEAR, WEAK):
        stage.has_left(member)
    message = stage.turn(action())
    assert stage.reports() == [("selected", ["near", "far", "gone"], None), ("held", ["gone"], None)]
    assert stage.held == [
        ([(AT_NEAR, ("near",)), (AT_EAST, ("far",))], DOWN, 0), ([(AWAY, ("gone",))], DOWN, 1)
    ]
    assert stage.dispatch.ways(message, ["gone"]) == [AWAY]
    again = answer(GONE, message)
    assert stage.answerers.check(AT_NEAR, again, item(again), T0) is None, "it may answer when it is back"


def test_all_or_nobody_where_the_requester_says_so(stage):
    stage.has_left(GONE)
    stage.turn(action(terms=Terms(require_all=True)))
    assert stage.reports() == [
        ("selected", ["near", "far", "gone"], None), ("refused", ["gone"], Code.AWAY.label),
        ("refused", ["near", "far"], Code.NOT_ALL_HERE.label),
    ]
    assert stage.held == []


def test_where_all_are_here_it_is_for_all(stage):
    stage.turn(action(terms=Terms(require_all=True)))
    assert [end for end, _, _ in stage.reports()] == ["selected"]
    assert stage.held == [([(AT_NEAR, ("near",)), (AT_EAST, ("far",))], DOWN, 0)]


def test_a_dry_run_goes_to_those_who_are_here_and_is_held_for_nobody(stage):
    stage.has_left(GONE)
    stage.turn(action(terms=Terms(dry_run=True)))
    assert [end for end, _, _ in stage.reports()] == ["selected", "held"]
    assert stage.held == [([(AT_NEAR, ("near",)), (AT_EAST, ("far",))], DOWN, 0)]


def test_when_all_are_away_they_are_selected_and_held_for(stage):
    stage.has_left(GONE)
    stage.turn(action(to="id=gone"))
    assert stage.reports() == [("selected", ["gone"], None), ("held", ["gone"], None)]
    assert stage.held == [([(AWAY, ("gone",))], DOWN, 1)]


def test_where_nobody_is_selected_that_is_said_and_nothing_held(stage):
    stage.turn(action(to="role=edr"))
    assert stage.reports() == [("nobody", [], None)] and stage.held == []


@pytest.mark.parametrize(("is_root", "member"), [(True, SOAR), (False, LOCAL)])
def test_where_it_turned_it_is_held_for_who_left_meanwhile_and_a_dry_run_is_not(is_root, member):
    stage = Stage(is_root)
    message, dry = stage.turn(action(member)), stage.turn(action(member, terms=Terms(dry_run=True), sequence=1))
    assert stage.dispatch.ways_to(message, ["near", "nobody"], T0) == [(AT_NEAR, ("near",)), (AWAY, ("nobody",))]
    assert stage.dispatch.ways_to(dry, ["near", "nobody"], T0) == [(AT_NEAR, ("near",))]
    other = action(WEAK, sequence=2)
    assert stage.dispatch.ways_to(other, ["nobody"], T0) == [(NOWHERE if is_root else UPLINK, ("nobody",))]


def test_what_followed_somebody_goes_to_nobody_who_has_had_it(stage):
    """A parent that grew a row names those who have it, and one more."""
    message = action()
    stage.hand_out(message, "near")
    stage.held.clear()
    stage.hand_out(message, "near", "far", moved=2)
    assert stage.held == [([(AT_EAST, ("far",))], DOWN, 3)]
    stage.held.clear()
    stage.hand_out(message, "near", moved=3)
    assert stage.held == [] and stage.reports() == []


def test_and_to_those_who_gave_it_back(stage):
    message = action()
    stage.hand_out(message, "nobody")
    late = AUTHORITY.issue("nobody", grants=Grants(execute=("deny *",)), tags=[("role", "firewall")])
    stage.attach(late, "hq")
    stage.held.clear()
    stage.hand_out(message, "nobody", moved=2)
    assert stage.held == [([(point_session("nobody", bytes(16)), ("nobody",))], DOWN, 3)]


@pytest.mark.parametrize(("is_root", "member", "turns"), [
    (True, SOAR, True), (False, SOAR, False), (False, LOCAL, True), (True, WEAK, False),
])
def test_it_turns_where_its_grant_says_so_or_at_the_root(is_root, member, turns):
    assert Stage(is_root).dispatch.turns(action(member)) is turns


def test_more_targets_than_a_frame_takes_are_refused_whole(stage, monkeypatch):
    monkeypatch.setattr("fabric.protocol.links.release.FRAME_BYTES_MAX", 4_096 + len(action().raw))
    stage.turn(action())
    assert stage.reports() == [("refused", [], Code.TOO_MANY_TARGETS.label)] and stage.held == []


def test_ten_thousand_targets_are_refused_whole_and_with_their_number(stage):
    like = stage.statement(NEAR, "hq")
    for n in range(10_000):
        credential = replace(like.credential, id=f"fw-{n}")
        stage.routes.put(replace(like, node=f"fw-{n}", credential=credential, raw=b"%d" % n))
    stage.turn(action())
    (message, _), = stage.routed
    said = read_records(message.header, message.envelope.parts)[0].content
    assert (said["end"], said["targets"], said["code"]) == ("refused", [], Code.TOO_MANY_TARGETS.label)
    assert "10,002 here and 0 away, of at most 4,096" in said["reason"] and stage.held == []
    assert not stage.dispatch.turned(message), "and of none of them anything is kept"


def test_a_selector_that_selects_more_than_may_be_says_how_many_are_here_and_away_and_what_to_do(stage, monkeypatch):
    """A requester with a hundred firewalls read that its message was too large, since thousands were away."""
    monkeypatch.setattr("fabric.protocol.links.release.TARGETS_MAX", 2)
    stage.has_left(GONE)
    stage.turn(action())
    (message, _), = stage.routed
    said = read_records(message.header, message.envelope.parts)[0].content
    assert said["reason"].startswith("too_many_targets: 2 here and 1 away, of at most") and "revoke" in said["reason"]
    assert len(said["reason"]) <= 256, "a requester reads no more"
    stage.routed.clear()
    stage.turn(action(to="not id=gone", sequence=1))
    assert stage.reports() == [("selected", ["near", "far"], None)]


def test_each_tier_asks_again_who_may_be_a_target(stage):
    stage.hand_out(action(), "near", "weak")
    assert stage.reports() == [("refused", ["weak"], Code.EXECUTE_DENIED.label)]
    assert stage.held == [([(AT_NEAR, ("near",))], DOWN, 0)]
    assert stage.counted["refused:execute_denied"] == 1


def test_thousands_who_are_nowhere_cost_a_few_reports_that_name_each(stage):
    """A parent's frame of 140 kB took its child a second: it signed a report for each name in it."""
    names = [f"nobody-{n:040}" for n in range(4_000)]
    message = stage.turn(action(terms=Terms(dry_run=True)))
    stage.routed.clear()
    stage.hand_out(message, *names)
    reports = stage.reports()
    assert len(reports) == 2 and [name for _, some, _ in reports for name in some] == names
    assert {(end, code) for end, _, code in reports} == {("unroutable", Code.UNROUTABLE.label)}


@pytest.mark.parametrize(("is_root", "upwards"), [(True, NOWHERE), (False, UPLINK)])
@pytest.mark.parametrize("moved", [0, 2])
def test_who_left_meanwhile_is_looked_for_further_up(is_root, upwards, moved):
    stage = Stage(is_root)
    message = action()
    stage.hand_out(message, "near", "nobody", moved=moved)
    assert stage.held == [
        ([(AT_NEAR, ("near",))], DOWN, moved and moved + 1), ([(upwards, ("nobody",))], DOWN, moved + 1)
    ]
    assert stage.dispatch.ways(message, ["nobody"]) == [upwards] and stage.reports() == []


@pytest.mark.parametrize(("direction", "targets", "moved", "entries"), [
    (UP, (), 0, 3), (UP, ("near",), 1, 0), (DOWN, ("near", "far"), 0, 2),
])
def test_room_is_asked_for_as_many_as_will_be_remembered(stage, monkeypatch, direction, targets, moved, entries):
    asked = []
    monkeypatch.setattr(Dispatches, "full", lambda _, requester, count: asked.append((requester, count)) or True)
    refused = stage.dispatch.no_room_for(action(), item(action(), direction, targets, moved), T0)
    assert refused.code is Code.BUSY and asked == [("soar", entries)]


def test_who_came_since_room_was_refused_is_selected(stage, monkeypatch):
    message = action()
    with monkeypatch.context() as patch:
        patch.setattr(Dispatches, "full", lambda *_: True)
        assert stage.dispatch.no_room_for(message, item(message), T0)
    late = AUTHORITY.issue("late", grants=Grants(execute=("deny *",)), tags=[("role", "firewall")])
    stage.attach(late, "hq")
    assert stage.dispatch.no_room_for(message, item(message), T0) is None
    stage.turn(message)
    assert stage.reports()[0][1] == ["near", "far", "late"]


@pytest.mark.parametrize(("destination", "code", "fields", "end"), [
    (AT_NEAR, Code.EXPIRED, {}, End.EXPIRED),
    (AT_NEAR, Code.EXPIRED, {"tries": 1}, End.UNKNOWN),
    (AWAY, Code.EXPIRED, {}, End.EXPIRED),
    (AWAY, Code.EXPIRED, {"unanswered": True}, End.EXPIRED),
    (AT_NEAR, Code.SUBSCRIBER_GONE, {}, End.UNROUTABLE),
    (AT_NEAR, Code.SUBSCRIBER_GONE, {"unanswered": True}, End.UNKNOWN),
    (AT_NEAR, Code.EXECUTE_DENIED, {"tries": 1}, End.REFUSED),
    (UPLINK, Code.EXPIRED, {}, End.EXPIRED),
    (UPLINK, Code.EXPIRED, {"tries": 1}, End.UNKNOWN),  # its parent may have taken it, and a target may execute it
    (UPLINK, Code.EXPIRED, {"unanswered": True}, End.UNKNOWN),
    (UPLINK, Code.REQUEST_DENIED, {"unanswered": True}, End.REFUSED),
    (UPLINK, Code.REQUEST_DENIED, {"unanswered": True, "moved": 1}, End.UNKNOWN),
    (NOWHERE, Code.UNROUTABLE, {"moved": 1}, End.UNROUTABLE),
])
def test_of_an_end_as_much_is_said_as_can_be_known(stage, destination, code, fields, end):
    held = Held(action(), UP if destination == UPLINK else DOWN, 1, 0, T0, T0 + HOUR_MS, ())
    stage.action_reports.row_ended(Row(held, destination, ("near",), **fields), Reject(code), T0, stage.ready)
    assert stage.reports() == [(str(end), ["near"], code.label)] and stage.counted[f"reported:{end}"] == 1
    assert stage.routed[0][1] is (DOWN if destination == UPLINK else UP), "towards the requester"


def test_what_was_kept_is_known_again_and_forgotten_when_it_is_over(stage):
    message, again = stage.turn(action()), Stage()
    for op in stage.ready.persist:
        again.dispatch.restored(op, T0)
    assert again.dispatch.turned(message) and again.dispatch.ways(message, ["far"]) == [AT_EAST]
    again.dispatch.tick(T0 + TTL_MAX_MS["action"] + HOUR_MS, Ready())
    assert not again.dispatch.turned(message)


# -- cancelling ----------------------------------------------------------------------------------------------------


def cancel(about, member=SOAR, **fields):
    records = [{"action": "cancel", "target": {"command": about.id.hex()}, "args": {}}]
    return action(member, topic=CANCEL, correlation=about.leaf, records=records, sequence=9, **fields)


def test_what_cancels_an_action_is_for_whoever_got_it_and_for_nobody_else(stage):
    for member in (GONE, NEAR, WEAK):
        stage.has_left(member)
    message = stage.turn(action())
    stage.held.clear()
    stage.routed.clear()
    stage.turn(cancel(message))
    assert stage.reports() == [("selected", ["near", "far"], None)], "weak never got it, and gone did not yet"
    assert stage.held == [([(AT_NEAR, ("near",)), (AT_EAST, ("far",))], DOWN, 0)]


def test_what_has_ended_everywhere_is_for_its_targets_to_say_and_nobody_away_is_waited_for(stage):
    """Cancelled too late: its end stays what it was."""
    for member in (NEAR, FAR):
        stage.has_left(member)
    message = stage.turn(action())
    for member in (NEAR, FAR):
        stage.resolutions.heard(ended(member, message), T0, stage.ready)
    stage.routes.forget(stage.routes.executor("far"))  # it left since
    stage.held.clear()
    stage.routed.clear()
    stage.turn(cancel(message))
    assert stage.reports() == [("selected", ["near"], None)]
    assert stage.held == [([(AT_NEAR, ("near",))], DOWN, 0)]


def test_what_nobody_knows_is_not_open(stage):
    stage.turn(cancel(action()))
    assert stage.reports() == [("refused", [], "E724")] and not stage.held


def test_only_its_requester_cancels_it_or_who_may_cancel_others(stage):
    message = stage.turn(action())
    stage.routed.clear()
    stage.turn(cancel(message, LOCAL))
    assert stage.reports() == [("refused", [], Code.REQUEST_DENIED.label)] and stage.held[1:] == []
    stage.routed.clear()
    stage.turn(cancel(message, CHIEF))
    assert stage.reports() == [("selected", ["near", "far"], None)]


def test_what_cancels_turns_where_its_action_did_whatever_its_own_grant_says():
    stage = Stage(is_root=False)
    message = action(LOCAL)
    stage.turn(message)
    assert stage.dispatch.turns(cancel(message, CHIEF)), "its grant has no scope, so that it would turn at the root"
    assert not stage.dispatch.turns(cancel(action(sequence=4), LOCAL)), "nobody here knows of that one"
