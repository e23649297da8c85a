"""How a fault shows what somebody wrote in a file, and what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from fabric.protocol.vocabulary.tlp import Label

LABELS: Final = tuple(label.short for label in Label)
LABEL_WRITE: Final = f"write one of {', '.join(LABELS)}"

# Room for a selector in a message, not for a file.
_SHOWN_CHARS = 60


def closest(word: object, known: Iterable[str]) -> str:
    """`: did you mean 'hq'?`, or nothing where nothing is near."""
    near = difflib.get_close_matches(str(word)[:_SHOWN_CHARS].lower(), list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


def shown(value: object) -> str:
    """A value as it was written, short enough for a line and without what could forge one."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    clipped = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."
    return f"'{clipped}'" if clipped.isprintable() else repr(clipped)
