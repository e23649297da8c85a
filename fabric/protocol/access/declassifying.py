"""Who may re-issue a message at a lower label (SPEC 8.3): deny by default, judged from the signed header at every hop.

Guarantees: None means that the message re-issues nothing, or that one grant of its origin covers its topic, the label
that it says was lowered, and the lowest label that it bears itself. Refuses to believe more than that: the message that
is named is not looked at, since no hop has to have it.
"""

from __future__ import annotations

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Header
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.trust.credentials import Credential, DeclassifyGrant
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import matches


def check_relabels(credential: Credential, header: Header) -> Reject | None:
    """None, NOT_LOWERED or DECLASSIFY_DENIED, of an event or intel."""
    if header.relabels is None:
        return None
    lowest = lowest_label(header)
    if lowest >= header.relabels.label:
        return Reject(Code.NOT_LOWERED, f"{header.topic}: {header.relabels.label.short} to {lowest.short}")
    granted = declassify_grant(credential, header.topic, header.relabels.label, lowest)
    return granted if isinstance(granted, Reject) else None


def declassify_grant(credential: Credential, topic: str, from_: Label, to: Label) -> DeclassifyGrant | Reject:
    """The first grant that covers the topic and both labels, or DECLASSIFY_DENIED."""
    for grant in credential.grants.declassify:
        if matches(grant.pattern, topic) and from_ <= grant.from_ and to >= grant.to:
            return grant
    return Reject(Code.DECLASSIFY_DENIED, f"{topic}: {from_.short} to {to.short}")


def told_of(message: Verified, by_way_of: str = "") -> list[Audited]:
    """For the audit log of a node that takes it; nothing of what re-issues nothing. `by_way_of`: who brought it."""
    header, old = message.header, message.header.relabels
    if old is None:
        return []
    way = {"link": by_way_of} if by_way_of else {}
    return [Audited(kinds.MESSAGE_RELABELLED, header.origin, {
        "new": message.leaf, "old": old.leaf, "record": old.record, "from": old.label.short,
        "to": lowest_label(header).short, **way,
    })]


def lowest_label(header: Header) -> Label:
    """Of the envelope and all its parts."""
    return min([header.label, *[entry.label for entry in header.manifest]])
