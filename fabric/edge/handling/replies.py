"""What a requester is told of its action: the record and its stamp, as they are kept in the ledger until it is told.

Guarantees: what is read back is what was kept, so an action that is answered a second time is answered with the same
content; what is refused on its way can be told as how it ended and nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgpack

from fabric.edge.handling.handlers import Answer, stamp_about
from fabric.edge.highest import label_of_whole
from fabric.edge.identity.identity import Identity
from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.envelope.header import Header, Kind, decode_header
from fabric.protocol.envelope.layout import decode_envelope, leaf_of
from fabric.protocol.vocabulary.lifecycle import state_named
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label


class About(NamedTuple):
    """Which action it is: its header, the leaf to which what is said of it is bound, and who signed it."""

    header: Header
    leaf: bytes
    signer: bytes = b""

    @property
    def id(self) -> bytes:
        return self.leaf[:ID_BYTES]


def about_envelope(envelope: bytes) -> About | None:
    """Of an action that was verified when it was written to the ledger; None where it cannot be read."""
    opened = decode_envelope(envelope)
    header = opened if isinstance(opened, Reject) else decode_header(opened.header)
    if isinstance(opened, Reject) or isinstance(header, Reject):
        return None
    return About(header, leaf_of(opened.header), opened.signer)


class Reply(NamedTuple):
    """`label`: the action's, below which none of it is told."""

    stamp: Stamp
    record: dict[str, Any]
    label: Label

    @classmethod
    def to(cls, about: About, answer: Answer, me: Identity) -> Reply:
        """Raises FabricError(BAD_INPUT) for what cannot be encoded."""
        reply = cls(
            stamp_about(about.header, about.leaf, answer, me.defaults), answer.record(me.id),
            label_of_whole(about.header),
        )
        reply.pack()
        return reply

    @property
    def id(self) -> bytes:
        """The action's."""
        return self.stamp.correlation[:ID_BYTES]

    def bare(self, why: str) -> Reply:
        """How it ended, and why that is all."""
        code = Code.RESULT_UNFIT
        record = {name: value for name, value in self.record.items() if name != "result"}
        record = {"code": code.label, **record, "reason": f"{code.reason}: {why}"}
        return self._replace(stamp=self.stamp._replace(label=self.label), record=record)

    def pack(self) -> bytes:
        stamp = self.stamp
        audience = stamp.audience
        return pack([
            stamp.topic, int(stamp.severity), int(stamp.phase), stamp.ttl_ms, int(stamp.label), stamp.to,
            stamp.correlation,
            [] if audience is None else [audience.organisations, audience.communities, audience.recipients],
            int(self.label), self.record,
        ])

    @classmethod
    def unpack(cls, raw: bytes) -> Reply | None:
        """None where it is of a layout that is not known here."""
        try:
            topic, severity, phase, ttl_ms, label, to, correlation, audience, least, record, *_ = msgpack.unpackb(
                raw, strict_map_key=False
            )
            stamp = Stamp(
                Kind.RESULT, topic, Severity(severity), Phase(phase), ttl_ms, Label(label), to=to,
                correlation=correlation, audience=Audience(*map(tuple, audience)) if audience else None,
                state=state_named(record.get("end", "")),
            )
            return cls(stamp, record, Label(least))
        except (ValueError, TypeError, msgpack.UnpackException):
            return None
