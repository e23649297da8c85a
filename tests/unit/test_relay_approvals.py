"""An approval at a relay: from whom it is taken, and where it goes."""

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ACTIONS_PER_S
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import ApproveGrant, Grants, NodeKind
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Nack, Role
from tests.conversation import Conversation
from tests.support import Authority, derive, entropy, verified

AUTHORITY = Authority("relay approvals")
ME, ROOT, LOW = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "root", "low"))
LEAD = AUTHORITY.issue("lead-1", grants=Grants(approve=(ApproveGrant("contain", "all"),)))
GUEST = AUTHORITY.issue("guest-1")


def relay(*parents):
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay"), parents))


def approval(by=LEAD, topic="deny.ipv4_net", **fields):
    return verified(by, kind=Kind.APPROVAL, topic=topic, correlation=derive("action"), **fields)


def codes(talk, link):
    return [code for nack in talk.heard(link, Nack) for _, code, _ in nack.refusals]


def test_it_climbs_from_whoever_has_a_grant_for_the_class():
    talk = relay("root")
    up, lead, guest = talk.dial(ROOT, Role.CHILD), talk.connect(LEAD, Role.POINT), talk.connect(GUEST, Role.POINT)
    message = approval()
    talk.send(lead, message)
    assert [ids for ack in talk.heard(lead, Ack) for ids in ack.ids] == [message.id]
    assert [(item.direction, item.envelope) for item in talk.items(up)] == [(Direction.UP, message.raw)]
    talk.send(guest, approval(GUEST))
    talk.send(lead, approval(topic="allow.ipv4_net", sequence=1))
    assert codes(talk, guest) == [Code.APPROVE_DENIED] and codes(talk, lead) == [Code.APPROVE_DENIED]
    assert talk.items(up) == []


def test_at_the_root_where_nothing_is_held_for_it_it_is_refused_and_not_lost():
    talk = relay()
    lead = talk.connect(LEAD, Role.POINT)
    talk.send(lead, approval())
    assert codes(talk, lead) == [Code.BAD_APPROVAL]


def test_one_approver_gives_so_many_a_second():
    talk = relay("root")
    talk.dial(ROOT, Role.CHILD)
    lead = talk.connect(LEAD, Role.POINT)
    for n in range(10 * ACTIONS_PER_S + 1):
        talk.send(lead, approval(sequence=n))
    assert codes(talk, lead) == [Code.RATE_EXCEEDED]


def test_none_follows_anybody():
    talk = relay("root")
    low = talk.connect(LOW, Role.CHILD)
    talk.say(low, Intro([LEAD.credential.raw]))
    item = Item(Direction.UP, 0, ["low"], ["fw-1"], approval().raw, 1)
    talk.say(low, Data(approval().header.lane, talk.now_ms, [item]))
    assert codes(talk, low) == [Code.WRONG_DIRECTION]


def test_none_comes_down():
    talk = relay("root")
    up = talk.dial(ROOT, Role.CHILD)
    talk.send(up, approval(), Direction.DOWN)
    assert codes(talk, up) == [Code.WRONG_DIRECTION]
