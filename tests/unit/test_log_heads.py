"""A node says how far its log goes to a parent that takes heads, and keeps what that answers."""

from fabric.protocol.audit import kinds
from fabric.protocol.audit.heads import open_head, read_head, sign_witness
from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import LogGrown, Ready
from fabric.protocol.links.link import Link
from fabric.protocol.links.links import UPLINK
from fabric.protocol.links.log_heads import LogHeads
from fabric.protocol.links.port import LinkPort
from fabric.protocol.wire.frames import Role, Witnessed
from tests.auditing import DMZ, HQ
from tests.support import T0, Authority

LOG = LogGrown(bytes(16), 7, b"\7" * 32, 5, (b"6" * 32, b"7" * 32))


class Desk:
    def __init__(self):
        self.sent, self.refused = [], []
        self.up = Link(1, b"", b"", 0, peer=HQ.credential, peer_role=Role.PARENT, destination=UPLINK)
        self.by_destination = {UPLINK: self.up}
        port = LinkPort(
            {}, self.by_destination, lambda _link, frame, _ready: self.sent.append(frame),
            lambda _link, reason, *_: self.refused.append(reason.code), lambda *_: None,
        )
        self.heads = LogHeads(DMZ.credential, DMZ.signer, port, lambda now_ms: T0 + now_ms)

    def grow(self, log=LOG):
        ready = Ready()
        self.heads.grown(log, 1, ready)
        (entry,) = ready.audit
        assert entry.kind == kinds.LOG_HEAD
        return entry.fields["head"]

    def answer(self, head, code=None, by=HQ, link=None):
        ready = Ready()
        raw = sign_witness(by.credential, by.signer, read_head(head), T0)
        self.heads.seen(link or self.up, Witnessed(7, code, raw), 2, ready)
        return ready.audit


def test_a_parent_that_says_nothing_of_heads_is_sent_none():
    desk = Desk()
    raw = desk.grow()
    assert open_head(raw, DMZ.credential).number == 7 and desk.sent == [] and desk.heads.known_above is None
    desk.heads.told(desk.up, None)
    desk.grow()
    assert desk.sent == []


def test_a_head_goes_up_and_its_counter_signature_into_the_log():
    desk = Desk()
    desk.heads.told(desk.up, 5)
    assert desk.heads.known_above == 5
    raw = desk.grow()
    (frame,) = desk.sent
    assert (frame.head, frame.since, frame.digests) == (raw, 5, list(LOG.digests))
    (entry,) = desk.answer(raw)
    assert (entry.kind, entry.who) == (kinds.LOG_WITNESSED, "hq")
    assert entry.fields["head"] == raw and entry.fields["credential"] == HQ.credential.raw
    assert desk.heads.known_above == 7 and desk.answer(raw) == []
    (entry,) = desk.answer(desk.grow(), Code.FORKED_LOG)
    assert entry.fields["code"] == Code.FORKED_LOG.label and "credential" not in entry.fields


def test_what_another_signed_or_what_is_for_another_head_counts_for_nothing():
    desk = Desk()
    desk.heads.told(desk.up, 0)
    old = desk.grow()
    new = desk.grow(LOG._replace(number=8))
    assert desk.answer(old) == [] and desk.answer(new, by=Authority("other").issue("hq")) == []
    below = Link(2, b"", b"", 0, peer=HQ.credential, peer_role=Role.CHILD)
    assert desk.answer(new, link=below) == [] and desk.refused == [Code.WRONG_DIRECTION]
    assert len(desk.answer(new)) == 1


def test_what_one_parent_knows_says_nothing_of_the_next():
    desk = Desk()
    desk.heads.told(desk.up, 5)
    desk.by_destination[UPLINK] = Link(3, b"", b"", 0, peer=HQ.credential, peer_role=Role.PARENT)
    assert desk.heads.known_above is None
    del desk.by_destination[UPLINK]
    assert desk.heads.known_above is None
