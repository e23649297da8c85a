"""What something is named at a receiver: one name for all, or one that is made from a message's topic.

A topic has letters, digits, `_`, `-` and dots only, so a name that is made from one has no wildcard in it, no space,
and nothing else that a broker reads as its own.
"""

from __future__ import annotations

from typing import Final

from fabric.protocol.vocabulary.topics import check_topic
from relays.gateways.options import Options
from relays.wording import shown

_MARK: Final = "{topic}"


def read_name(options: Options, key: str, default: str) -> str:
    """Words joined by dots, of which one may be `{topic}`: "fabric.{topic}". The default where it is none."""
    template = options.text(key, default)
    is_name = template.count(_MARK) <= 1 and check_topic(template.replace(_MARK, "topic")) is None
    if not is_name or not _is_whole(template):
        options.wrong(key, f"{shown(template)} is no name", f'write {key} = "fabric.{{topic}}" or "fabric.detections"')
        return default
    return template


def _is_whole(template: str) -> bool:
    """`{topic}` is words of its own: what is beside it in a word would be a part of the topic's."""
    return _MARK not in template or all(word == _MARK or _MARK not in word for word in template.split("."))


def name_for(template: str, topic: str) -> str:
    """For a message of this topic."""
    return template.replace(_MARK, topic)


def pattern_of(template: str) -> str:
    """What matches all that may be made of it, as NATS writes it."""
    before, mark, _ = template.partition(_MARK)
    return f"{before}>" if mark else template
