"""What is to be published: a record, and what it shares with others that travel in one envelope with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.envelope.header import Kind, Relabels, Terms
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label

Rules = tuple[tuple[str, Label], ...]


class Position(NamedTuple):
    """Where a record came from: a source's name, and how far it is read once this record is on disk."""

    source: str
    position: str


class Stamp(NamedTuple):
    """What records must share to travel in one envelope. `rules`: (field, label) in order.

    `audience`: whom else than its own organisation a publication is for, all whom an answer is for; None is the own.
    """

    kind: Kind
    topic: str
    severity: Severity
    phase: Phase
    ttl_ms: int
    label: Label
    rules: Rules = ()
    to: str = ""
    correlation: bytes = b""
    audience: Audience | None = None
    terms: Terms = Terms()
    state: State = State.NONE
    relabels: Relabels | None = None


# Of what is refused or passed over, and never sealed.
NO_STAMP: Final = Stamp(Kind.EVENT, "", Severity.UNKNOWN, Phase.NONE, 0, Label.CLEAR)


@dataclass(slots=True)
class Draft:
    """A record that waits to be sealed. `token` is the caller's, to be told what became of it. `keys`: its names, as a
    `Snapshot` has them."""

    stamp: Stamp
    record: Record
    at_ms: int
    token: Any
    size: int = 0
    position: Position | None = None
    taken: bool = False  # sealed, or found to be unfit: its source goes on behind it
    number: int = 0  # among those that share its token
    dropped: bool = False  # begun, and not added
    keys: tuple[str, ...] | None = None


def audience_of(stamp: Stamp, credential: Credential) -> Audience:
    """Of a message with this stamp. An answer has that of what it answers, and not its origin's own."""
    if stamp.audience is None:
        return Audience((credential.organisation,))
    if stamp.kind not in (Kind.EVENT, Kind.INTEL, Kind.ACTION):
        return stamp.audience
    return stamp.audience.signed_by(credential.organisation, credential.id)
