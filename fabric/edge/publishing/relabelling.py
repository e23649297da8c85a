"""A message that was received, again at a lower label (SPEC 8.3): what its stamp and content are, and what is refused.

Guarantees: what is signed names the message that it re-issues, and the highest label of what is taken over; nothing is
re-issued that its reader never saw, and nothing under a label that is not lower. Whether a grant covers it, this node
asks when the message is signed, and every hop after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fabric.edge.identity.identity import Defaults
from fabric.edge.messages import Message
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.options import publish_stamp, to_audience, to_label
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import DIGEST_BYTES, RECORDS_MAX
from fabric.protocol.envelope.header import Relabels
from fabric.protocol.vocabulary.tlp import Audience, Label

_KINDS = ("event", "intel")
# Names of fields in an error: enough to see which they are.
_NAMES_SHOWN = 8


def relabelled(
    message: Message,
    own: str,
    defaults: Defaults,
    *,
    label: Label | str,
    fields: Iterable[str] | None = None,
    audience: Audience | Mapping[str, Sequence[str]] | None = None,
    ttl: int | str | None = None,
) -> tuple[Stamp, dict[str, Any]]:
    """The stamp and the content of its re-issue, all of it at this label. `own`: the organisation that re-issues it.

    Topic, severity and phase stay as they were; so do the audience, without recipients, who narrow RED only, and the
    time to live, which begins anew; unless they are given. `fields`: names at the top of its content; all where none
    are given. Raises USAGE, BAD_LABEL, BAD_AUDIENCE, TTL_TOO_LONG, NOT_LOWERED and NOT_WHOLE.
    """
    record = _record_of(message)
    content = _content_of(message, fields)
    lower = to_label(label)
    highest = highest_of(message, None if fields is None else content)
    if lower >= highest:
        raise FabricError(Code.NOT_LOWERED, f"{message.id} is {highest.short}, and {lower.short} was asked for")
    stays = Audience(
        tuple(name for name in message.audience.organisations if name != own), message.audience.communities
    )
    stamp = publish_stamp(
        message.topic, defaults, severity=message.severity, phase=message.phase,
        ttl=message.ttl_ms if ttl is None else ttl, label=lower,
        audience=to_audience(stays if audience is None else audience),
    )
    return stamp._replace(relabels=Relabels(message.leaf, record, highest)), content


def highest_of(message: Message, fields: Iterable[str] | None = None) -> Label:
    """The highest label of what is taken over: of its envelope, and of these fields; of all that is there for None."""
    return message.highest_label if fields is None else max([message.label, *map(message.label_of, fields)])


def _record_of(message: object) -> int:
    """Which record of its envelope it is."""
    if not isinstance(message, Message):
        raise FabricError(Code.USAGE, "it is no message", "give one that `subscribe` has yielded")
    _, _, number = message.id.rpartition(".")
    is_one = number.isascii() and number.isdecimal() and len(number) <= len(str(RECORDS_MAX))
    if message.kind not in _KINDS or len(message.leaf) != DIGEST_BYTES or not is_one:
        raise FabricError(
            Code.USAGE, f"a message of kind {message.kind} is not relabelled", "give an event or intel, as received"
        )
    return int(number)


def _content_of(message: Message, fields: Iterable[str] | None) -> dict[str, Any]:
    if fields is None:
        if message.withheld:
            withheld = ", ".join(f"{count} {label.short}" for label, count in message.withheld.items())
            raise FabricError(Code.NOT_WHOLE, f"{message.id}: {withheld}")
        return dict(message.content)
    names = [fields] if isinstance(fields, str) else list(dict.fromkeys(fields))
    missing = [name for name in names if name not in message.content]
    if missing or not names:
        there = list(map(str, message.content))[:_NAMES_SHOWN]
        raise FabricError(
            Code.USAGE, f"{message.id} has no field {missing[0]!r}" if missing else "no field is named",
            f"name fields of its content: {', '.join(there)}",
        )
    return {name: message.content[name] for name in names}
