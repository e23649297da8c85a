"""What an audit log tells of (SPEC 9.10): the kinds of its entries. Words are on disk and stay as they are.

Guarantee: an entry has ids, digests, codes, counts and times. No kind has room for what somebody published, for an
action's arguments or its target's value, for a topic, a label's content, or a reason that a person typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

Value = int | str | bytes | tuple[str, ...]

# Of the log itself.
LOG_BEGUN: Final = "log.begun"
LOG_STARTED: Final = "log.started"
LOG_STOPPED: Final = "log.stopped"
LOG_LOST: Final = "log.lost"
LOG_CUT: Final = "log.cut"
LOG_DROPPED: Final = "log.dropped"
LOG_REPEATED: Final = "log.repeated"
LOG_HEAD: Final = "log.head"
LOG_WITNESSED: Final = "log.witnessed"
# Of the links of a node.
LINK_OPENED: Final = "link.opened"
LINK_REFUSED: Final = "link.refused"
LINK_ENDED: Final = "link.ended"
PARENT_CHANGED: Final = "parent.changed"
SESSION_ENDED: Final = "session.ended"
# Of messages and actions.
MESSAGE_REFUSED: Final = "message.refused"
MESSAGE_RELABELLED: Final = "message.relabelled"
ACTION_REQUESTED: Final = "action.requested"
ACTION_TAKEN: Final = "action.taken"
ACTION_TURNED: Final = "action.turned"
ACTION_HELD: Final = "action.held"
ACTION_RELEASED: Final = "action.released"
ACTION_HANDED: Final = "action.handed"
ACTION_REPEATED: Final = "action.repeated"
ACTION_BEGUN: Final = "action.begun"
ACTION_CANCELLED: Final = "action.cancelled"
ACTION_ENDED: Final = "action.ended"
ACTION_RESOLVED: Final = "action.resolved"
EFFECT_ENDED: Final = "effect.ended"
ARTIFACT_FETCHED: Final = "artifact.fetched"
APPROVAL_COUNTED: Final = "approval.counted"
APPROVAL_DENIED: Final = "approval.denied"
APPROVAL_REFUSED: Final = "approval.refused"
APPROVAL_GIVEN: Final = "approval.given"
# Of what the authority signed.
TRUST_REVOCATIONS: Final = "trust.revocations"
TRUST_POLICIES: Final = "trust.policies"
TRUST_DIRECTORY: Final = "trust.directory"
TRUST_RENEWED: Final = "trust.renewed"
# Of the logs of those below.
HEAD_TAKEN: Final = "head.taken"
HEAD_REFUSED: Final = "head.refused"

# What is about the log and no deed: a head that has nothing else above the last one is not worth signing.
OF_THE_LOG: Final = frozenset({LOG_HEAD, LOG_WITNESSED})
# Whoever can make as many of these as it likes has some of each written, and the rest counted.
DAMPED: Final = frozenset({
    LINK_OPENED, LINK_REFUSED, LINK_ENDED, SESSION_ENDED, MESSAGE_REFUSED, APPROVAL_REFUSED, ACTION_REPEATED,
    ARTIFACT_FETCHED,
})
# On disk, not only in the kernel's memory, before what they tell of is sent.
PROMISED: Final = frozenset({
    ACTION_TAKEN, ACTION_TURNED, ACTION_HELD, ACTION_RELEASED, ACTION_HANDED, ACTION_BEGUN, ACTION_ENDED,
    APPROVAL_COUNTED, APPROVAL_DENIED, APPROVAL_GIVEN,
})
# Names of targets that an entry has room for; of more it has their number and digest.
NAMES_MAX: Final = 16


class Audited(NamedTuple):
    """What a core tells for the log. `who`: by whose doing it is, as far as known: an id, or a key's fingerprint."""

    kind: str
    who: str
    fields: Mapping[str, Value] = {}
