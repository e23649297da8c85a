"""What of the ledger goes into the audit log: which action, how far, how it ended; never what it did."""

from fabric.edge.handling.replies import About, Reply
from fabric.edge.ledger.auditing import audited
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import Entry, encode_entry
from fabric.protocol.base.codec import pack
from fabric.protocol.core.ledger_ops import ForgetAction, KeepAnswer, KeepIntent, KeepLease, KeepTold
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.lifecycle import State
from tests.support import Authority, verified

SOAR = Authority().issue("soar-1")
ACTION = verified(SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall")


def intent(begun):
    return KeepIntent(ACTION.id, 0, 0, 0, 0, (), ACTION.raw, begun)


def test_an_action_is_taken_then_begun():
    taken, begun = audited([intent(False), intent(True)], "fw-1")
    assert (taken.kind, taken.who) == (kinds.ACTION_TAKEN, "soar-1")
    assert begun.kind == kinds.ACTION_BEGUN
    assert taken.fields == begun.fields == {"action": ACTION.leaf, "class": "contain"}


def test_what_was_read_of_it_before_is_not_read_again():
    about = About(ACTION.header, ACTION.leaf)
    unreadable = intent(False)._replace(envelope=b"?")
    (taken,) = audited([unreadable], "fw-1", {ACTION.id: about}.get)
    assert (taken.who, taken.fields["action"]) == ("soar-1", ACTION.leaf)


def test_its_end_has_no_reason_and_nothing_that_the_handler_returned():
    stamp = pack(["deny.ipv4_net", 1, 0, 1_000, 2, "soar-1", ACTION.leaf, [], 2, {
        "end": "failed", "code": "E709", "reason": "secret reason", "result": {"x": "secret"},
    }])
    reply = Reply.unpack(stamp)
    assert reply is not None and reply.stamp.state is State.FAILED
    (ended,) = audited([KeepAnswer(ACTION.id, 0, "soar-1", stamp)], "fw-1")
    assert (ended.kind, ended.who, ended.fields) == (
        kinds.ACTION_ENDED, "fw-1", {"action": ACTION.leaf, "end": "failed", "code": "E709"}
    )
    assert b"secret" not in encode_entry(Entry(1, 0, ended.kind, ended.fields))


def lease(word, envelope=ACTION.raw):
    return KeepLease(ACTION.id, 0, 0, "soar-1", b"", b"", (), 2 if word else 0, word, 0, envelope)


def test_the_end_of_its_effect_is_told_once_it_is_there():
    to_end = lease("ended")._replace(stage=0)  # by its handler, when its time is over
    (ended,) = audited([lease(""), to_end, lease("reverted"), lease("reverted", b"?")], "fw-1")
    assert (ended.kind, ended.who, ended.fields) == (
        kinds.EFFECT_ENDED, "fw-1", {"action": ACTION.leaf, "word": "reverted"}
    )


def test_nothing_else_of_the_ledger_is_told():
    nothing = [KeepAnswer(ACTION.id, 0, "", b""), KeepAnswer(ACTION.id, 0, "", b"?"), KeepTold(ACTION.id, 0),
               ForgetAction(ACTION.id), intent(False)._replace(envelope=b"?")]
    assert list(audited(nothing, "fw-1")) == []
