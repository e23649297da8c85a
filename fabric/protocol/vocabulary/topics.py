"""Topics and the patterns that match them.

A topic is 1..16 tokens of letters, digits, `_` and `-`, joined by dots. In a pattern `*` is exactly one token
and `>`, only as the last, is one or more. Guarantees: what is not well formed matches nothing and is covered
by nothing, so a grant can never be reached through a broken name; the index finds exactly what `matches`
says. Refuses wildcards in topics, empty tokens, wildcards inside a token (`fire*`), and anything above the
bounds.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Final, Generic, TypeVar

from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import TOPIC_BYTES_MAX, TOPIC_TOKENS_MAX

_TOPIC: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_PATTERN: Final = re.compile(r"(?:(?:[A-Za-z0-9_-]+|\*)\.)*(?:[A-Za-z0-9_-]+|\*|>)")
# A relay sees the same few topics again and again. At most 4 MB of text.
_CACHED_MAX: Final = 8_192


def _check(text: str, shape: re.Pattern[str], what: str) -> Reject | None:
    if len(text) > TOPIC_BYTES_MAX:  # the alphabet is ASCII: more characters are more bytes
        return Reject(Code.BAD_TOPIC, f"{what} of more than {TOPIC_BYTES_MAX} bytes")
    if shape.fullmatch(text) is None:
        return Reject(Code.BAD_TOPIC, f"{what} with an empty token or a character that is not allowed")
    if text.count(".") >= TOPIC_TOKENS_MAX:
        return Reject(Code.BAD_TOPIC, f"{what} of more than {TOPIC_TOKENS_MAX} tokens")
    return None


def check_topic(topic: str) -> Reject | None:
    """None for a topic that may be published on."""
    return _check(topic, _TOPIC, "topic")


def check_pattern(pattern: str) -> Reject | None:
    """None for a pattern that may be subscribed to or granted; every topic is one too."""
    return _check(pattern, _PATTERN, "pattern")


# What became of actions, in the words of relays (SPEC 9.6): nobody else publishes below it.
RESOLUTIONS: Final = "resolutions"

# What other buses write: MQTT's `+` and `#`, the `**` of paths.
_FOREIGN: Final = {"+": "*", "#": ">", "**": ">"}


def meant_by(text: str) -> str:
    """The topic or pattern that somebody means who writes as for another bus: "a.>" of "a/#". Empty where nobody knows.

    For people only: nothing is ever matched by it.
    """
    if len(text) > TOPIC_BYTES_MAX:
        return ""
    tokens = [_FOREIGN.get(token, token) for token in text.replace("/", ".").strip(".").split(".")]
    meant = ".".join(tokens)
    return meant if meant != text and check_pattern(meant) is None else ""


def advice_on(text: str, *, is_topic: bool = False) -> str:
    """What to write instead of a pattern, or topic, that is not well formed; empty where nobody knows."""
    meant = meant_by(text)
    if meant and (not is_topic or check_topic(meant) is None):
        return f"write {meant!r}: dots join the words" + ("" if is_topic else ", * is one word, > is the rest")
    if any(mark in text for mark in "#+*>"):
        if is_topic:
            return "write every word: * and > are for those who subscribe"
        return "write * for one whole word, and > for the rest, at the end only: 'detections.>' or 'intel.*.ipv4'"
    return ""


@lru_cache(maxsize=_CACHED_MAX)
def matches(pattern: str, topic: str) -> bool:
    """Whether the pattern matches the topic."""
    if check_pattern(pattern) is not None or check_topic(topic) is not None:
        return False
    wanted = pattern.split(".")
    tokens = topic.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(tokens) <= len(wanted):
            return False
    elif len(tokens) != len(wanted):
        return False
    return all(want in ("*", token) for want, token in zip(wanted, tokens, strict=False))


@lru_cache(maxsize=_CACHED_MAX)
def covers(grant_pattern: str, pattern: str) -> bool:
    """Whether every topic that `pattern` matches is matched by `grant_pattern` too.

    It ignores that topics end at the bounds, so it may say no of a pattern at the very limit, and never a
    wrong yes.
    """
    if check_pattern(grant_pattern) is not None or check_pattern(pattern) is not None:
        return False
    granted = grant_pattern.split(".")
    asked = pattern.split(".")
    if granted[-1] == ">":
        granted.pop()
        # `>` in the pattern stands for one token at least, as it does in the grant.
        if len(asked) <= len(granted):
            return False
    elif asked[-1] == ">" or len(asked) != len(granted):
        return False
    return all(grant in ("*", ask) for grant, ask in zip(granted, asked, strict=False))


def kind_of_topic(topic: str) -> str:
    """`intel` for topics under `intel`, which descend; every other topic carries events, which climb."""
    return "intel" if topic.partition(".")[0] == "intel" else "event"


K = TypeVar("K", bound=Hashable)


class _Node(Generic[K]):
    __slots__ = ("below", "keys")

    def __init__(self) -> None:
        self.below: dict[str, _Node[K]] = {}
        self.keys: dict[K, int] = {}  # key -> when it was added


class TopicIndex(Generic[K]):
    """Which keys' patterns match a topic: a trie of tokens, its answers remembered until it changes."""

    def __init__(self) -> None:
        self._root: _Node[K] = _Node()
        self._added = 0
        self._answers: dict[str, tuple[K, ...]] = {}

    def add(self, pattern: str, key: K) -> None:
        """Adding the same again changes nothing. Raises FabricError(BAD_TOPIC)."""
        refused = check_pattern(pattern)
        if refused is not None:
            raise FabricError(refused.code, refused.detail)
        node = self._root
        for token in pattern.split("."):
            node = node.below.setdefault(token, _Node())
        if key not in node.keys:
            self._added += 1
            node.keys[key] = self._added
            self._answers.clear()

    def discard(self, pattern: str, key: K) -> None:
        """Discarding what is not there changes nothing."""
        tokens = pattern.split(".")
        nodes = [self._root]
        for token in tokens:
            node = nodes[-1].below.get(token)
            if node is None:
                return
            nodes.append(node)
        if nodes[-1].keys.pop(key, None) is None:
            return
        self._answers.clear()
        # Prune, or subscriptions that come and go would fill the memory.
        for token in reversed(tokens):
            node = nodes.pop()
            if node.keys or node.below:
                break
            del nodes[-1].below[token]

    def match(self, topic: str) -> list[K]:
        """The keys with a pattern that matches, each once, in the order in which they were added."""
        answer = self._answers.get(topic)
        if answer is None:
            answer = self._walk(topic)
            if len(self._answers) >= _CACHED_MAX:
                self._answers.clear()
            self._answers[topic] = answer
        return list(answer)

    def _walk(self, topic: str) -> tuple[K, ...]:
        if check_topic(topic) is not None:
            return ()
        found: list[tuple[int, K]] = []
        # All nodes that the tokens so far lead to: never more than there are patterns.
        level = [self._root]
        for token in topic.split("."):
            deeper: list[_Node[K]] = []
            for node in level:
                for name in (token, "*"):
                    child = node.below.get(name)
                    if child is not None:
                        deeper.append(child)
                rest = node.below.get(">")
                if rest is not None:
                    found.extend((order, key) for key, order in rest.keys.items())
            level = deeper
        for node in level:
            found.extend((order, key) for key, order in node.keys.items())
        found.sort(key=lambda entry: entry[0])
        return tuple(dict.fromkeys(key for _, key in found))
