"""Who may answer an action: its targets, and relays for those to whom it went by them."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import KeepDispatch, Ready
from fabric.protocol.custody.custody import Custody
from fabric.protocol.custody.outbox import Outbox
from fabric.protocol.custody.sessions import AWAY, NOWHERE, child_relay, point_session
from fabric.protocol.envelope.header import Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.relay.actions.answerers import Answerers
from fabric.protocol.relay.actions.dispatches import Dispatches
from fabric.protocol.relay.router import Router
from fabric.protocol.routes.attachments import open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.lifecycle import BY_RELAY, BY_TARGET, State
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Direction, Item
from tests.support import HOUR_MS, T0, Authority, verified

AUTHORITY = Authority("answers")
ME, EAST, EAST_2, WEST = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "east", "east-2", "west"))
SOAR = AUTHORITY.issue("soar", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
WALL, OTHER = (AUTHORITY.issue(name, grants=Grants(execute=("deny *",))) for name in ("wall", "other"))
UP, DOWN = Direction.UP, Direction.DOWN
AT_EAST, AT_WEST, AT_WALL = child_relay("east"), child_relay("west"), point_session("wall", bytes(16))


class Stage:
    """hq, with east and west below it, and east-2 below east."""

    def __init__(self, is_root=True):
        self.is_root = is_root
        self.routes = RouteTable("hq")
        for member, relay in ((EAST, "hq"), (WEST, "hq"), (EAST_2, "east")):
            self.attach(member, relay)
        self.custody = Custody(lambda name: Outbox(name, 1_000))
        self.begin()

    def begin(self):
        self.dispatches = Dispatches()
        router = Router("hq", self.routes, is_root=self.is_root)
        self.answerers = Answerers("hq", self.dispatches, self.routes, router, self.custody)

    def attach(self, member, relay, epoch=1):
        raw = sign_attachment(
            member.credential, member.signer, bytes(16), relay, epoch, executes=False, subscriptions=()
        )
        self.routes.put(open_attachment(raw, {member.credential.digest: member.credential}))

    def handed(self, message, ready=None, *, turned=True, between="", **ways):
        ready = ready or Ready()
        if turned:
            self.dispatches.turned(message.leaf, message.header, T0, ready)
        for target, way in ways.items():
            self.dispatches.handed(message.leaf, target, way, message.header, T0, ready, between)
        return message

    def check(self, source, message, direction=UP, moved=0):
        """The code of the refusal, if it is one."""
        problem = self.answerers.check(source, message, Item(direction, 0, [], [], message.raw, moved), T0)
        return problem.code if problem is not None else None


@pytest.fixture
def stage():
    return Stage()


def action(label=Label.GREEN, sequence=0):
    records = [{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}]
    return verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", records=records, label=label,
                    sequence=sequence)


def answer(member, about, label=Label.GREEN, to="soar", **more):
    return verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to=to, correlation=about.leaf, label=label, **more,
                    records=[{"end": "completed", "targets": [member.id], "by": member.id}])


def report(member, about, *targets, state=State.REFUSED, **record):
    said = {"end": state.word, "targets": list(targets), "by": member.id, **record}
    return verified(member, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar", correlation=about.leaf, state=state,
                    records=[said])


def test_a_result_is_taken_from_a_target_with_at_least_the_action_s_label(stage):
    message = stage.handed(action(Label.AMBER), wall=AT_WALL)
    assert stage.check(AT_WALL, answer(WALL, message, Label.AMBER)) is None
    assert stage.check(AT_WALL, answer(WALL, message, Label.GREEN)) is Code.LABEL_TOO_LOW
    assert stage.check(AT_WALL, answer(OTHER, message, Label.AMBER)) is Code.NOT_A_TARGET
    assert stage.check(AT_EAST, answer(WALL, message, Label.AMBER)) is None, "it has another relay by now"


@pytest.mark.parametrize("turned", [True, False])
def test_an_answer_is_for_who_asked_and_for_nobody_for_whom_the_action_was_not(turned):
    """Else whoever executes anything would address whom it likes, without a grant, and whomever it likes."""
    stage = Stage(is_root=turned)
    ready = Ready()
    message = stage.handed(action(), ready, wall=AT_WALL, turned=turned)
    for _ in range(2):
        wider = {"organisations": ("acme", "bank")}
        assert stage.check(AT_WALL, answer(WALL, message, **wider)) is Code.AUDIENCE_DENIED
        assert stage.check(AT_WALL, answer(WALL, message, communities=("isac",))) is Code.AUDIENCE_DENIED
        assert stage.check(AT_WALL, answer(WALL, message, to="other")) is Code.NOT_A_TARGET
        assert stage.check(AT_WALL, answer(WALL, message, to="soar/73737373")) is None
        stage.begin()  # after a restart
        for op in ready.persist:
            stage.dispatches.restore(op, T0)


def test_what_an_earlier_version_kept_of_an_action_says_nothing_of_its_audience(stage):
    message = action()
    stage.dispatches.restore(KeepDispatch(message.leaf, "wall", 1, T0 + HOUR_MS), T0)
    assert stage.check(AT_WALL, answer(WALL, message, organisations=("acme", "bank"))) is None


def test_between_the_turn_relay_and_the_target_nobody_knows_who_is_one():
    stage = Stage(is_root=False)
    assert stage.check(AT_EAST, answer(WALL, action())) is None
    assert not stage.answerers.turn_here(answer(WALL, action()).header)
    message = stage.handed(action(), wall=AT_EAST)
    assert stage.answerers.turn_here(answer(WALL, message).header)
    assert stage.check(AT_EAST, answer(OTHER, message)) is Code.NOT_A_TARGET


@pytest.mark.parametrize(("by", "source", "way", "refused"), [
    (EAST, AT_EAST, AT_EAST, False),
    (EAST_2, AT_EAST, AT_EAST, False),
    (WEST, AT_WEST, AT_EAST, True),
    (EAST, AT_WEST, AT_EAST, False),  # who was handed it says so itself, wherever it is by now
    (EAST_2, AT_WEST, AT_EAST, True),  # nobody here knows whether it went by that one
    (EAST, UPLINK, AT_EAST, False),
    (EAST_2, UPLINK, AT_EAST, True),
    (EAST, AT_EAST, AT_WALL, True),  # it is connected to this relay, which knows itself
    (EAST, AT_EAST, AWAY, True),
    (EAST, AT_EAST, NOWHERE, True),
    (ME, AT_WEST, AT_EAST, False),  # this relay's own word, back after a requester who moved
])
def test_a_relay_speaks_of_those_only_to_whom_the_action_went_by_it(stage, by, source, way, refused):
    """Whatever any relay signed ended any target, in the resolution and at the requester."""
    message = stage.handed(action(), wall=way)
    expected = Code.NOT_A_TARGET if refused else None
    assert stage.check(source, report(by, message, "wall")) is expected
    assert stage.check(source, report(by, message, "wall"), DOWN) is expected, "from above, too"


def test_of_several_all_have_to_be_its_own(stage):
    message = stage.handed(action(), wall=AT_EAST, other=AT_WEST)
    assert stage.check(AT_EAST, report(EAST, message, "wall", "other")) is Code.NOT_A_TARGET
    assert stage.check(AT_EAST, report(EAST, message, "wall", "nobody")) is Code.NOT_A_TARGET


@pytest.mark.parametrize("record", [{}, {"targets": {"refused": ["wall"]}}, {"targets": "wall"}])
def test_of_all_of_them_only_the_relay_where_it_turned_speaks(stage, record):
    message = stage.handed(action(), wall=AT_EAST)
    assert stage.check(AT_EAST, report(EAST, message, **record)) is Code.NOT_A_TARGET


def test_who_moved_with_all_that_is_below_it_speaks_from_where_it_is_now(stage):
    message = stage.handed(action(), wall=AT_EAST)
    stage.attach(EAST, "west", epoch=2)
    assert stage.check(AT_WEST, report(EAST_2, message, "wall")) is None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_relay_that_was_on_the_way_speaks_from_where_it_is_now(stage, restarted):
    """It moved away from the child that was handed the action, with what it holds: nobody else knows how that ends."""
    ready = Ready()
    message = stage.handed(action(), ready, between="east-3/east-2", wall=AT_EAST)
    if restarted:
        stage.begin()
        for op in ready.persist:
            stage.dispatches.restore(op, T0)
    stage.attach(EAST_2, "west", epoch=2)
    assert stage.check(AT_WEST, report(EAST_2, message, "wall", state=State.EXPIRED)) is None
    assert stage.check(AT_WEST, report(WEST, message, "wall")) is Code.NOT_A_TARGET
    assert stage.check(AT_WEST, report(EAST_2, message, "other")) is Code.NOT_A_TARGET, "it was not on the way there"


def test_after_it_was_given_back_the_new_way_counts_and_the_old_one_no_more(stage):
    message = stage.handed(action(), wall=AT_EAST)
    stage.handed(message, wall=AT_WEST)
    assert stage.check(AT_WEST, report(WEST, message, "wall")) is None
    assert stage.check(AT_EAST, report(EAST, message, "wall")) is Code.NOT_A_TARGET


def test_after_a_restart_it_is_asked_the_same(stage):
    ready = Ready()
    message = stage.handed(action(), ready, wall=AT_EAST)
    stage.begin()
    for op in ready.persist:
        assert isinstance(op, KeepDispatch) and op.until_ms > T0 + HOUR_MS
        stage.dispatches.restore(op, T0)
    assert stage.check(AT_WEST, report(WEST, message, "wall")) is Code.NOT_A_TARGET
    assert stage.check(AT_EAST, report(EAST, message, "wall")) is None


def test_a_relay_on_the_way_asks_of_those_whom_it_handed_it_to_and_of_what_climbs():
    stage = Stage(is_root=False)
    message = stage.handed(action(), turned=False, wall=AT_EAST, other=UPLINK)
    assert stage.check(AT_EAST, report(EAST_2, message, "wall")) is None
    assert stage.check(AT_WEST, report(WEST, message, "wall")) is Code.NOT_A_TARGET
    assert stage.check(AT_WEST, report(WEST, message, "other")) is None, "it was given back: others know who has it"
    assert stage.check(AT_WEST, report(WEST, message, "elsewhere")) is None
    assert stage.check(UPLINK, report(WEST, message, "wall"), DOWN) is None, "from where it turned"
    assert stage.check(AT_WEST, report(WEST, action(sequence=1), "wall")) is None, "nobody here knows of that one"


def test_what_follows_a_requester_who_moved_was_asked_when_it_came_first(stage):
    message = stage.handed(action(), wall=AT_EAST)
    said = report(EAST_2, message, "wall")
    assert stage.check(AT_WEST, said, moved=1) is Code.NOT_A_TARGET, "it never came before"
    stage.custody.saw(said.id, UP, T0 + HOUR_MS, Ready(), said.header)
    assert stage.check(AT_WEST, said, moved=1) is None
    assert stage.check(AT_WEST, said) is Code.NOT_A_TARGET


@pytest.mark.parametrize("state", State)
def test_what_only_a_target_may_say_no_relay_says_and_the_other_way_round(state):
    """On the way, too, where nobody knows who is a target: the next hop does not pass it on."""
    stage, message = Stage(is_root=False), action()
    by_relay = Code.NOT_A_TARGET if state not in (State.NONE, *BY_RELAY) else None
    assert stage.check(AT_EAST, report(EAST, message, "wall", state=state)) is by_relay
    assert stage.check(UPLINK, report(EAST, message, "wall", state=state), DOWN) is by_relay
    by_target = Code.NOT_A_TARGET if state not in (State.NONE, *BY_TARGET) else None
    assert stage.check(AT_EAST, report(WALL, message, "wall", state=state)) is by_target


def resolution(relay, about, **said):
    record = {"end": "resolved", "action": about.leaf.hex(), "outcome": "completed", "by": relay.id, **said}
    return verified(relay, topic="resolutions.deny.ipv4_net", records=[record])


def test_where_an_action_turned_no_other_relay_resolves_it(stage):
    here, elsewhere = stage.handed(action(), wall=AT_EAST), action(sequence=1)

    def check(event):
        problem = stage.answerers.check_resolution(event)
        return problem.code if problem is not None else None

    assert check(resolution(ME, here)) is None
    assert check(resolution(EAST, here)) is Code.NOT_A_TARGET
    assert check(resolution(EAST, elsewhere)) is None
    for lie in ({"by": "hq"}, {"by": 7}, {"action": "none"}, {"action": here.leaf.hex().upper()}, {"action": None}):
        assert check(resolution(EAST, elsewhere, **lie)) is Code.NOT_A_TARGET, lie
    two = verified(EAST, topic="resolutions.deny.ipv4_net", records=[
        {"action": each.leaf.hex(), "by": "east"} for each in (elsewhere, here)
    ])
    assert check(two) is Code.NOT_A_TARGET, "what is not one resolution hides another"
