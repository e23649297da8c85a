"""What an `[[assert]]` claims: `LABEL from NAME reaches NAME`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.wording import LABEL_WRITE, LABELS, closest, shown

_CLAIM: Final = re.compile(r"\s*(?P<label>\S+)\s+from\s+(?P<source>\S+)\s+reaches\s+(?P<target>\S+)\s*")
_EXAMPLE: Final = "amber from ot-1 reaches dmz"


@dataclass(frozen=True, slots=True)
class Claim:
    """Of content with the label. The names are of relays or control points, which may not exist."""

    label: Label
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class BadClaim:
    """What is wrong with one, and what to write instead."""

    cause: str
    write: str
    code: Code = Code.TOPOLOGY_INVALID


def parse_claim(text: str, word: str) -> Claim | BadClaim:
    """`word`: what it is written behind, `never` or `must`."""
    found = _CLAIM.fullmatch(text)
    if found is None:
        return BadClaim(f"{shown(text)} is not LABEL from NAME reaches NAME", f'write e.g. {word} = "{_EXAMPLE}"')
    label = parse_label(found["label"])
    if label is None:
        write = LABEL_WRITE + closest(found["label"], LABELS)
        return BadClaim(f"{shown(found['label'])} is no label", write, Code.BAD_LABEL)
    return Claim(label, found["source"], found["target"])
