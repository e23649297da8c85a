"""What a relay whose program somebody changed makes of an action that needs two approvals, at its executor: nothing.

Each test is one thing that it may try. The executor begins none, and says to the relay, and counts, what was wrong.
"""

import pytest

from fabric.protocol.access.approvals import Hold
from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Delivery, Repeated
from fabric.protocol.envelope.layout import Approved, decode_envelope, encode_envelope
from fabric.protocol.point.point import Point
from fabric.protocol.wire.frames import Ack, Data, Direction, Intro, Item, Nack, Role
from tests import approving as cast
from tests.conversation import Conversation
from tests.support import MINUTE_MS, T0, entropy
from tests.unit.test_approving import AUTHORITY, ME, SOAR, WALLS

ANN, BOB, _ = cast.LEADS
HELD = Hold(cast.action(), ("fw-7", "fw-8"), T0 + 1_000)
OTHER = Hold(cast.action(sequence=1), ("fw-7", "fw-8"), T0 + 1_000)
YES = [cast.approval(who, hold=HELD) for who in (ANN, BOB)]
NO = cast.approval(BOB, hold=HELD, approves=False)


def carried(*approvals):
    return tuple((each.credential.raw, each.raw) for each in approvals)


def approved(*approvals, hold=HELD, **edited):
    at_ms = max([each.header.issued_at_ms for each in approvals], default=T0)
    return Approved(at_ms, hold.held_at_ms, hold.targets, carried(*approvals))._replace(**edited)


def turned_to_yes(no):
    """A denial whose part somebody wrote anew; its signature is of the other one."""
    envelope, yes = decode_envelope(no.raw), decode_envelope(YES[1].raw)
    return no.credential.raw, encode_envelope(envelope._replace(parts=yes.parts))


def in_the_name_of(who, approval):
    """Signed by somebody else, and said to be this one's."""
    envelope = decode_envelope(approval.raw)
    return who.credential.raw, encode_envelope(envelope._replace(signer=who.credential.digest))


BY_THE_RELAY = cast.approval(ME, hold=HELD)
WHAT_IT_TRIES = {
    "hand it out and say nothing of approvals": (None, Code.APPROVAL_DUE),
    "strip one of two": (approved(YES[0]), Code.APPROVAL_DUE),
    "count one twice": (approved(YES[0], YES[0]), Code.SAME_PRINCIPAL),
    "let one approve a second time": (
        approved(YES[0], cast.approval(ANN, 30_000, hold=HELD, sequence=1)), Code.SAME_PRINCIPAL,
    ),
    "approve it itself": (approved(YES[0], BY_THE_RELAY), Code.APPROVE_DENIED),
    "forge one in the name of another": (
        approved(YES[0])._replace(approvals=(*carried(YES[0]), in_the_name_of(BOB, BY_THE_RELAY))), Code.BAD_SIGNATURE,
    ),
    "make a yes of a no": (
        approved(YES[0], at_ms=NO.header.issued_at_ms)._replace(
            approvals=(*carried(YES[0]), turned_to_yes(NO))
        ), Code.BAD_DIGEST,
    ),
    "count a no as well": (approved(YES[0], NO), Code.ACTION_DENIED),
    "swap in those of another action": (
        approved(*[cast.approval(who, hold=OTHER) for who in (ANN, BOB)]), Code.BAD_APPROVAL,
    ),
    "replay those of an earlier hold": (
        approved(*YES, held_at_ms=HELD.held_at_ms + MINUTE_MS), Code.BAD_APPROVAL,
    ),
    "replay those under former policies": (
        approved(*[cast.approval(who, hold=HELD, under=cast.policies(version=2)) for who in (ANN, BOB)]),
        Code.OTHER_POLICIES,
    ),
    "let the requester approve": (approved(YES[0], cast.approval(SOAR, hold=HELD)), Code.OWN_REQUEST),
    "add a target": (approved(*YES, targets=("fw-7", "fw-8", "fw-9")), Code.OTHER_TARGETS),
    "take a target out": (approved(*YES, targets=("fw-7",)), Code.OTHER_TARGETS),
    "hand it to one for whom it was not": (approved(*YES, targets=("fw-8",)), Code.OTHER_TARGETS),
    "have its time begin later": (approved(*YES, at_ms=YES[0].header.issued_at_ms + 20_000), Code.BAD_APPROVAL),
    "keep it until its time is over": (approved(*YES), Code.EXPIRED),
}


def executor():
    talk = Conversation(Point(WALLS[0].credential, WALLS[0].signer, AUTHORITY.key, b"m" * 16, entropy("point")))
    talk.core.action_room.is_open = True
    assert talk.core.trust.take_policies(cast.POLICIES)
    talk.now_ms = HELD.held_at_ms + MINUTE_MS + 1_000
    return talk, talk.dial(ME, Role.POINT)


@pytest.mark.parametrize(("says", "code"), WHAT_IT_TRIES.values(), ids=WHAT_IT_TRIES)
def test_a_turned_relay_may_try(says, code):
    talk, relay = executor()
    if code is Code.EXPIRED:
        talk.now_ms += HELD.action.header.ttl_ms + MINUTE_MS
    action = HELD.action if says is None else HELD.action.with_approvals(says)
    talk.send(relay, action, Direction.DOWN)
    assert talk.told(Delivery) == []
    (nack,) = talk.heard(relay, Nack)
    assert [found for _, found, _ in nack.refusals] == [code] and talk.count(f"refused:{code.reason}") == 1


def test_what_is_whole_is_executed_and_what_it_resends_is_not():
    talk, relay = executor()
    for _ in range(3):
        talk.send(relay, HELD.action.with_approvals(approved(*YES)), Direction.DOWN)
        talk.wait(1_000)
    assert len(talk.told(Delivery)) == 1 and len(talk.told(Repeated)) == 2 and talk.count("repeats") == 2
    assert len(talk.heard(relay, Ack)) == 3


def test_it_may_edit_an_argument():
    """Whoever computes the digest of what came finds it: it is not the action that anybody signed."""
    talk, relay = executor()
    raw = decode_envelope(HELD.action.with_approvals(approved(*YES)).raw)
    other = cast.action(args={"duration": 10**9})
    edited = encode_envelope(raw._replace(parts=other.envelope.parts))
    talk.say(relay, Intro([SOAR.credential.raw]))
    talk.say(relay, Data(HELD.action.header.lane, talk.now_ms, [Item(Direction.DOWN, 0, [], [], edited)]))
    assert talk.told(Delivery) == []
    (nack,) = talk.heard(relay, Nack)
    assert [found for _, found, _ in nack.refusals] == [Code.BAD_DIGEST]
    assert talk.count(f"refused:{Code.BAD_DIGEST.reason}") == 1
