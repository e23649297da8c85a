"""What relays say of this node's own messages that ended with them (SPEC 7.9).

Guarantees: the form of a notice is not trusted: malformed parts are left out, so that the rest can be printed and
logged as it is. The caller makes sure that it came from a relay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code
from fabric.protocol.envelope.header import Kind
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import check_topic

_CODES = {code.label: code for code in Code}
# Far more than a relay of this version says at once.
_ENDED_MAX = 256
_TOWARDS = ("up", "down", "reader")


@dataclass(frozen=True, slots=True)
class Ended:
    """How many messages, and records in them, ended alike. `code` is "E501", `reason` "expired".

    `towards`: "up", "down", or to a "reader" at that relay. An empty topic stands for several.
    """

    code: str
    reason: str
    kind: str
    topic: str
    towards: str
    messages: int
    records: int


@dataclass(frozen=True, slots=True)
class Notice:
    """What a relay could not deliver of what this node published since a time (ms since 1970)."""

    relay: str
    since_ms: int
    label: Label
    ended: tuple[Ended, ...]

    @property
    def records(self) -> int:
        return sum(ended.records for ended in self.ended)

    def by_code(self) -> dict[str, int]:
        """Records by code."""
        counts: dict[str, int] = {}
        for ended in self.ended:
            counts[ended.code] = counts.get(ended.code, 0) + ended.records
        return counts

    def to_json(self) -> dict[str, Any]:
        return {
            "relay": self.relay, "since": self.since_ms, "label": self.label.short, "records": self.records,
            "ended": [asdict(ended) for ended in self.ended],
        }


def notice_of(message: Message) -> Notice:
    """A notice's one record."""
    since_ms, ended = message.content.get("since"), message.content.get("ended")
    return Notice(
        message.origin, since_ms if isinstance(since_ms, int) else message.issued_at_ms, message.highest_label,
        tuple([_ended(entry) for entry in ended[:_ENDED_MAX] if isinstance(entry, dict)])
        if isinstance(ended, list) else (),
    )


def _ended(entry: Mapping[str, Any]) -> Ended:
    def text(name: str) -> str:
        return str(entry.get(name, ""))

    def count(name: str) -> int:
        value = entry.get(name)
        return value if isinstance(value, int) and value > 0 else 0

    # The words are this version's own: what a relay writes there goes into logs.
    code = _CODES.get(text("code"), Code.MALFORMED)
    kind = next((kind.word for kind in Kind if kind.word == text("kind")), "")
    # Nobody checked these on the way: they are content, not a header.
    topic = text("topic") if check_topic(text("topic")) is None else ""
    towards = text("towards") if text("towards") in _TOWARDS else ""
    return Ended(code.label, code.reason, kind, topic, towards, count("messages"), count("records"))
