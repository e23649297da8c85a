"""Words that somebody typed and nobody knows: what to write instead. Nothing here decides what is known."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from fabric.protocol.vocabulary.openc2 import ACTIONS, check_action_pattern
from fabric.protocol.vocabulary.target_types import TARGETS

# A word that is longer is no slip of the finger.
_CHARS_MAX = 64
_NEAR_MAX = 3


def near(word: str, known: Collection[str], *, at_least: float = 0.6) -> list[str]:
    """Those that it may have been meant to be, the nearest first: as like it as `at_least`, from 0 to 1 (the same)."""
    import difflib  # noqa: PLC0415 - needed only where something is wrong

    return difflib.get_close_matches(word[:_CHARS_MAX], known, _NEAR_MAX, at_least)


def known_instead(action: str, target_type: str) -> str:
    """Of OpenC2, what there is instead of an action or a type of target that is not known; empty where both are."""
    for word, pattern, known, words in (
        (action, f"{action} *", ACTIONS, "actions are"), (target_type, f"* {target_type}", TARGETS, "targets are"),
    ):
        if check_action_pattern(pattern) is not None:
            if known is TARGETS and (net := _net_type(word)):
                return f"write {net}={word}"
            found = near(word, known)
            return f"write {' or '.join(found)}" if found else f"{words} {', '.join(known)}, and x-..."
    return ""


def _net_type(word: str) -> str:
    """Of an address or a network without its type: that type; empty where it is none."""
    try:
        return f"ipv{ipaddress.ip_network(word, strict=False).version}_net"
    except ValueError:
        return ""
