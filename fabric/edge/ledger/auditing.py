"""What of the ledger is in the audit log too (SPEC 9.10): that an action was taken, was begun, how it ended; and the
end of its effect, where that has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fabric.edge.effects.lease import Stage
from fabric.edge.handling.replies import About, Reply, about_envelope
from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.core.ledger_ops import KeepAnswer, KeepIntent, KeepLease
from fabric.protocol.core.ready import Op
from fabric.protocol.vocabulary.openc2 import class_of, split_topic

_WORD_CHARS_MAX = 16


def audited(
    ops: Iterable[Op], me: str, known: Callable[[bytes], About | None] = lambda _: None
) -> Iterator[Audited]:
    """Of what is about to be committed. Nothing that a handler returned, and no reason, is in it. `known`: what
    was read of the action of this id already."""
    for op in ops:
        match op:
            case KeepIntent():
                about = known(op.id) or about_envelope(op.envelope)
                if about is not None:
                    kind = kinds.ACTION_BEGUN if op.begun else kinds.ACTION_TAKEN
                    class_ = class_of(split_topic(about.header.topic)[0])
                    yield Audited(kind, about.header.origin, {"action": about.leaf, "class": class_})
            case KeepLease() if op.stage == Stage.OVER:
                about = about_envelope(op.envelope)
                if about is not None:
                    yield Audited(kinds.EFFECT_ENDED, me, {"action": about.leaf, "word": op.word[:_WORD_CHARS_MAX]})
            case KeepAnswer() if op.answer:
                reply = Reply.unpack(op.answer)
                if reply is not None:
                    code = str(reply.record.get("code", ""))
                    end = reply.stamp.state.word
                    yield Audited(kinds.ACTION_ENDED, me, {
                        "action": reply.stamp.correlation, "end": end, **({"code": code[:8]} if code else {}),
                    })
