"""Words that somebody typed and nobody knows: what to write instead. Nothing here decides what is known."""

from __future__ import annotations

from collections.abc import Collection

from fabric.protocol.vocabulary.openc2 import ACTIONS, check_action_pattern
from fabric.protocol.vocabulary.target_types import TARGETS

# A word that is longer is no slip of the finger.
_CHARS_MAX = 64
_NEAR_MAX = 3


def near(word: str, known: Collection[str]) -> list[str]:
    """Those that it may have been meant to be, the nearest first."""
    import difflib  # noqa: PLC0415 - needed only where something is wrong

    return difflib.get_close_matches(word[:_CHARS_MAX], known, _NEAR_MAX)


def known_instead(action: str, target_type: str) -> str:
    """Of OpenC2, what there is instead of an action or a type of target that is not known; empty where both are."""
    for word, pattern, known, words in (
        (action, f"{action} *", ACTIONS, "actions are"), (target_type, f"* {target_type}", TARGETS, "targets are"),
    ):
        if check_action_pattern(pattern) is not None:
            found = near(word, known)
            return f"write {' or '.join(found)}" if found else f"{words} {', '.join(known)}, and x-..."
    return ""
