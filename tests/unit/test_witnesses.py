"""A relay is told how far the logs of those below go, and notices when one was rewritten."""

import pytest

from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import NOTHING, follow_digest
from fabric.protocol.audit.heads import open_witness, read_head, sign_head
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import HEAD_MS_MIN, MEMBERS_MAX
from fabric.protocol.base.signing import digest
from fabric.protocol.core.ready import KeepHead, Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.port import LinkPort
from fabric.protocol.relay.below.witnesses import Witnesses
from fabric.protocol.wire.frames import Grown, Role, Witnessed
from tests.auditing import DMZ, HQ
from tests.support import T0, Authority

DIGESTS = [digest(bytes([n])) for n in range(40)]
LOG, OTHER = bytes(16), b"\1" * 16


def hash_at(number, digests=DIGESTS):
    hash_ = NOTHING
    for each in digests[:number]:
        hash_ = follow_digest(hash_, each)
    return hash_


def grown(number, since=0, digests=DIGESTS, log=LOG, member=DMZ):
    raw = sign_head(member.credential, member.signer, log, number, hash_at(number, digests), T0)
    return Grown(raw, since, digests[since:number])


class Desk:
    def __init__(self, role=Role.CHILD):
        self.sent, self.refused, self.counts, self.now_ms = [], [], {}, 0
        self.link = Link(1, b"", b"", 0, peer=DMZ.credential, peer_role=role)
        self.port = LinkPort(
            {}, {}, lambda _link, frame, _ready: self.sent.append(frame),
            lambda _link, reason, *_: self.refused.append(reason.code), self.count,
        )
        self.witnesses = Witnesses(HQ.credential, HQ.signer, self.port, lambda now_ms: T0 + now_ms)
        self.kept, self.alarms = [], []

    def count(self, what, reason):
        self.counts[f"{what}:{reason}"] = self.counts.get(f"{what}:{reason}", 0) + 1

    def hear(self, frame, later_ms=HEAD_MS_MIN):
        self.now_ms += later_ms
        ready = Ready()
        self.witnesses.frame(self.link, frame, self.now_ms, ready)
        self.kept += ready.persist
        self.alarms += [note.event for note in ready.notes if note.alarm]
        return [(each.kind, each.fields.get("code", "")) for each in ready.audit]


def test_a_head_is_remembered_and_counter_signed():
    desk = Desk()
    assert desk.witnesses.known(desk.link) == 0
    assert desk.hear(grown(7)) == [(kinds.HEAD_TAKEN, "")]
    (answer,) = desk.sent
    assert isinstance(answer, Witnessed) and (answer.number, answer.code) == (7, None)
    assert open_witness(answer.witness, HQ.credential).head == read_head(grown(7).head).digest
    assert desk.witnesses.known(desk.link) == 7 and isinstance(desk.kept[0], KeepHead)


def test_a_log_that_grew_says_so_by_digests_alone():
    desk = Desk()
    desk.hear(grown(7))
    assert desk.hear(grown(20, since=7)) == [(kinds.HEAD_TAKEN, "")]
    assert desk.witnesses.forked(desk.now_ms) == [] and not desk.alarms


def test_who_shows_nothing_is_believed_nothing_and_named():
    desk = Desk()
    desk.hear(grown(7))
    other = [digest(b"another"), *DIGESTS[1:]]
    sent = len(desk.sent)
    for frame in (grown(30), grown(30, digests=other), grown(30, since=20, digests=other)):
        assert desk.hear(frame) == [] and desk.witnesses.known(desk.link) == 7, "from another entry"
    assert len(desk.sent) == sent and not desk.alarms, "an answer may have been late"
    assert desk.hear(grown(30, digests=other)._replace(since=7, digests=[])) == [
        (kinds.HEAD_TAKEN, Code.UNPROVEN_LOG.label)
    ]
    assert desk.alarms == ["audit log does not show how it grew"] and desk.counts["audit:unproven_log"] == 1


@pytest.mark.parametrize("frame", [
    grown(5), grown(20, digests=[DIGESTS[0], *reversed(DIGESTS[1:])]), grown(20, log=OTHER),
    grown(25, since=20, digests=[digest(b"another"), *DIGESTS[1:]]),
], ids=["it goes back", "the same number", "another log", "rewritten and grown"])
def test_a_log_that_was_rewritten_is_noticed_once_and_named(frame):
    desk = Desk()
    desk.hear(grown(20))
    assert desk.hear(frame) == [(kinds.HEAD_REFUSED, Code.FORKED_LOG.label)]
    assert desk.sent[-1].code is Code.FORKED_LOG
    ((node, since_ms),) = desk.witnesses.forked(desk.now_ms)
    assert (node, since_ms) == ("dmz", T0 + desk.now_ms) and desk.counts["audit:forked_log"] == 1
    assert desk.hear(frame) == []  # it is known now
    assert desk.witnesses.forked(desk.now_ms) and not desk.witnesses.forked(desk.now_ms + 8 * 86_400_000)


def test_what_is_known_survives_a_restart():
    desk, again = Desk(), Desk()
    desk.hear(grown(20))
    for op in desk.kept:
        again.witnesses.restored(op)
    assert again.witnesses.known(again.link) == 20
    assert again.hear(grown(4)) == [(kinds.HEAD_REFUSED, Code.FORKED_LOG.label)]
    third = Desk()
    for op in again.kept:
        third.witnesses.restored(op)
    assert third.witnesses.forked(again.now_ms)


def test_a_flood_of_heads_makes_nothing():
    desk = Desk()
    desk.hear(grown(1))
    for number in range(2, 40):
        assert desk.hear(grown(number), later_ms=10) == []
    assert len(desk.kept) == len(desk.sent) == 1 and desk.counts == {"audit:too_soon": 38}


def test_a_head_that_was_overtaken_is_no_fork():
    desk = Desk()
    desk.hear(grown(7))
    desk.hear(grown(9, since=7))
    assert desk.hear(grown(7)) == [] and desk.witnesses.known(desk.link) == 9


def test_others_heads_and_the_parent_s_are_refused():
    desk = Desk()
    assert desk.hear(grown(7, member=HQ)) == [(kinds.MESSAGE_REFUSED, Code.WRONG_PEER.label)]
    assert desk.hear(grown(7, member=Authority("other").issue("dmz"))) == [
        (kinds.MESSAGE_REFUSED, Code.BAD_SIGNATURE.label)
    ]
    above = Desk(Role.PARENT)
    above.hear(grown(7))
    assert above.refused == [Code.WRONG_DIRECTION] and above.witnesses.known(above.link) is None
    assert not desk.kept and not above.kept


def test_the_room_is_shared_among_those_who_vouch():
    desk = Desk()
    head = grown(1).head
    for n in range(MEMBERS_MAX // 2 + 1):
        desk.witnesses.restored(KeepHead(f"fw-{n}", head, 0, "issuer"))
    assert len(desk.witnesses._known) == MEMBERS_MAX // 2
    assert desk.hear(grown(7)) == [(kinds.HEAD_TAKEN, "")]
