"""Whoever asks for actions, executes them or reports on them, and lies: what a relay makes of it."""

import pytest

from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.base.errors import Code
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.resolution import RESOLVED
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Bye, Nack, Role
from tests.conversation import Conversation
from tests.support import EVERYTHING, Authority, entropy, opened, verified

AUTHORITY = Authority("attacks on actions")
ME = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
SOAR = AUTHORITY.issue("soar-1", grants=EVERYTHING)


def relay() -> Conversation:
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay"), ()))


def asks(topic):
    """A root's requester who may ask for everything asks for this; what came back."""
    talk = relay()
    soar = talk.connect(SOAR, Role.POINT)
    talk.attach(soar, SOAR, "hq")
    action, _, type_ = topic.partition(".")
    talk.send(soar, verified(
        SOAR, kind=Kind.ACTION, topic=topic, to="all", severity=Severity.HIGH,
        records=[{"action": action, "target": {type_: "1"}, "args": {}}],
    ))
    talk.wait(1_000)
    return talk, [code for nack in talk.heard(soar, Nack) for _, code, _ in nack.refusals]


@pytest.mark.parametrize("topic", ["x-" + "a" * 250, "deny." + "x-" * 125, ".".join("a" * 16), "deny", "deny.all"])
def test_a_grant_for_everything_is_none_for_what_is_no_action(topic):
    """Its resolution would have a topic that no message can have: it could be told to nobody."""
    talk, refused = asks(topic)
    assert refused == [Code.BAD_ACTION] and talk.count("resolved:nobody") == 0


def test_the_longest_action_has_a_resolution():
    talk, refused = asks("x-" + "a" * 62 + "." + "n" * 16 + "." + "t" * 47)
    assert not refused and talk.count("resolved:nobody") == 1


# -- cancelling ----------------------------------------------------------------------------------------------------

OWNER = AUTHORITY.issue("owner", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
MAY_DENY = RequestGrant("deny *", "role=firewall")
EAST = AUTHORITY.issue("east", grants=Grants(request=(MAY_DENY, RequestGrant("cancel command", "id=fw-0"))))
MILD = AUTHORITY.issue("mild", grants=Grants(request=(MAY_DENY, RequestGrant("cancel *", "all", Severity.LOW))))
WALLS = [
    AUTHORITY.issue(f"fw-{n}", grants=Grants(execute=("deny ipv4_net",)), tags=[("role", "firewall")])
    for n in range(3)
]


class Stage:
    """A root with those who ask, and three firewalls; `away` are those that have left."""

    def __init__(self, *away):
        self.talk = relay()
        self.by = {}
        for asker in (OWNER, EAST, MILD):
            self.by[asker.id] = self.talk.connect(asker, Role.POINT)
            self.talk.attach(self.by[asker.id], asker, "hq")
        self.walls = {}
        for n in range(3):
            self.arrives(n)
        for n in away:
            self.leaves(n)

    def arrives(self, n, session=b"s" * 16, epoch=1):
        self.walls[n] = self.talk.connect(WALLS[n], Role.POINT, session=session)
        self.talk.attach(self.walls[n], WALLS[n], "hq", executes=True, session=session, epoch=epoch)

    def leaves(self, n):
        self.talk.say(self.walls[n], Bye(Code.CLOSED, ""))
        self.talk.lose(self.walls[n])

    def returns(self, n):
        """What it is sent then."""
        self.arrives(n, b"t" * 16, 9)
        self.talk.wait(500)
        return [item.envelope for item in self.talk.items(self.walls[n])]

    def asks(self, **fields):
        action = verified(
            OWNER, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall", severity=Severity.HIGH,
            records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}], **fields,
        )
        self.talk.send(self.by["owner"], action)
        self.told(OWNER)
        return action

    def cancels(self, about, by=OWNER, to="all", severity=Severity.HIGH, **fields):
        cancel = verified(
            by, kind=Kind.ACTION, topic=CANCEL, to=to, correlation=about.leaf, severity=severity, sequence=77,
            records=[{"action": "cancel", "target": {"command": about.id.hex()}, "args": {}}], **fields,
        )
        self.talk.send(self.by[by.id], cancel)
        return cancel

    def told(self, asker):
        """[(action's leaf, end or state, targets, code)], acknowledged."""
        told = []
        for item in self.talk.items(self.by[asker.id]):
            message = opened(item.envelope, ME, *WALLS)
            for reading in read_records(message.header, message.envelope.parts):
                said = reading.content
                if said["end"] != RESOLVED:
                    told.append((message.header.correlation, said["end"], said["targets"], said.get("code", "")))
            self.talk.say(self.by[asker.id], Ack([message.id]))
        return told


CANCELLED = Code.CANCELLED.label


@pytest.mark.parametrize("terms", [Terms(dry_run=True), Terms(require_all=True)])
def test_a_cancelling_that_is_not_to_be_done_does_nothing(terms):
    stage = Stage(1)
    action = stage.asks()
    for n in (0, 2):
        assert len(stage.talk.items(stage.walls[n])) == 1
    stage.leaves(2)  # it may have got it, and is not here: of all who have it one is missing
    stage.cancels(action, terms=terms)
    assert not [told for told in stage.told(OWNER) if told[0] == action.leaf and told[3] == CANCELLED]
    assert action.raw in stage.returns(1)


def test_a_cancelling_is_for_those_whom_it_selects_also_of_those_who_are_away():
    stage = Stage(0, 1, 2)
    action = stage.asks()
    stage.cancels(action, to="not id=fw-1")
    ended = [told for told in stage.told(OWNER) if told[0] == action.leaf]
    assert sorted(name for _, _, names, _ in ended for name in names) == ["fw-0", "fw-2"]
    assert {(end, code) for _, end, _, code in ended} == {("refused", CANCELLED)}
    assert stage.returns(0) == [] and stage.returns(1) == [action.raw]


def test_others_actions_are_cancelled_where_the_grant_to_cancel_reaches_and_nowhere_else():
    """Another grant of the same node leads to the others, and is none to cancel."""
    stage = Stage(0, 1)
    action = stage.asks()
    assert stage.talk.items(stage.walls[2])
    cancel = stage.cancels(action, EAST)
    assert [told for told in stage.told(OWNER) if told[0] == action.leaf] == [
        (action.leaf, "refused", ["fw-0"], CANCELLED)
    ]
    assert stage.talk.items(stage.walls[2]) == [], "who has it is told by who may tell it"
    assert stage.told(EAST) == [(cancel.leaf, "nobody", [], "")]
    assert stage.returns(1) == [action.raw]


def test_others_actions_are_cancelled_up_to_the_severity_of_the_grant_to_cancel():
    stage = Stage(1)
    action = stage.asks()
    cancel = stage.cancels(action, MILD)
    assert stage.told(MILD) == [(cancel.leaf, "refused", [], Code.REQUEST_DENIED.label)]
    assert stage.told(OWNER) == [] and stage.returns(1) == [action.raw]


def test_who_has_it_and_is_away_is_told_when_it_is_back():
    stage = Stage()
    action = stage.asks()
    stage.talk.items(stage.walls[1])
    stage.talk.say(stage.walls[1], Ack([action.id]))
    stage.leaves(1)
    cancel = stage.cancels(action)
    assert (cancel.leaf, "held", ["fw-1"], "") in stage.told(OWNER)
    assert stage.returns(1) == [cancel.raw]
