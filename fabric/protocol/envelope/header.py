"""The header of an envelope (SPEC 3.2): what its origin says of the message, and signs.

Guarantees: what `decode_header` returns is well formed and within every bound; a label that this version does not know
is read as RED. Refuses, as a `Reject`: anything malformed or oversized, a kind that this version does not know, and an
action on terms that it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.fields import binary, integer, text
from fabric.protocol.base.limits import (
    AUDIENCE_NAMES_MAX,
    BODY_BYTES_MAX,
    DIGEST_BYTES,
    HEADER_BYTES_MAX,
    HEADER_DEPTH_MAX,
    HEADER_ELEMENTS_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    PARTS_MAX,
    RECORDS_MAX,
    SELECTOR_BYTES_MAX,
    TOPIC_BYTES_MAX,
)
from fabric.protocol.base.shapes import INT_MAX, Digest, Name, Number, Shape
from fabric.protocol.vocabulary.lifecycle import State, state_from_wire
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity, lane_of, severity_from_wire
from fabric.protocol.vocabulary.tlp import Audience, Label, label_from_wire

VERSION = 1
STREAM_BYTES = 8


class Kind(IntEnum):
    """The kinds of messages (SPEC 1). The numbers are on the wire."""

    EVENT = 1
    INTEL = 2
    ACTION = 3
    APPROVAL = 4
    RESULT = 5
    CONTROL = 6

    word: str
    atomic: bool  # whether it means something only whole (SPEC 3.5)

    def __init__(self, _: int) -> None:
        # Asked for several times of each message at each hop: looked up, not made.
        self.word = self.name.lower()
        self.atomic = self.name in ("ACTION", "APPROVAL", "CONTROL")


class Encoding(IntEnum):
    """How a part's body holds its content (SPEC 3.3). The numbers are on the wire."""

    PLAIN = 0
    ZLIB = 1
    SEALED = 2  # to recipients; of RED only


class PartEntry(NamedTuple):
    """A line of the manifest. `size`: bytes of the content before encoding, padding included."""

    label: Label
    content_type: Number
    encoding: Number
    size: Annotated[int, Meta(ge=0, le=BODY_BYTES_MAX)]
    digest: Digest

    @property
    def is_sealed(self) -> bool:
        """Whether only its recipients can read it, if any can. Of what is not RED that is no encoding."""
        return self.encoding == Encoding.SEALED and self.label is Label.RED


class Terms(NamedTuple):
    """On what terms an action is asked for. The field is on the wire where there is one of them."""

    dry_run: bool = False  # every check is made, and nothing is executed
    require_all: bool = False  # it is for nobody while one of its targets is away

    def __bool__(self) -> bool:
        return any(self)

    @property
    def bits(self) -> int:
        return self.dry_run | self.require_all << 1


class Relabels(NamedTuple):
    """Which message this one re-issues at a lower label, as its origin says (SPEC 8.3).

    `leaf`: of that message; `record`: which of its records; `label`: the highest of what is re-issued as it was there.
    Whoever has that message can compare; nobody else can.
    """

    leaf: bytes
    record: int
    label: Label

    @property
    def id(self) -> str:
        """Of that record, as its readers were told it."""
        return f"{self.leaf[:ID_BYTES].hex()}.{self.record}"


_TERMS_BITS = Terms(dry_run=True, require_all=True).bits
NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Header:
    """What the origin signed. Times in milliseconds since 1970."""

    kind: Kind
    topic: str
    origin: str
    stream: bytes
    sequence: int
    issued_at_ms: int
    ttl_ms: int
    severity: Severity
    phase: Phase
    label: Label
    audience: Audience
    to: str = ""
    correlation: bytes = b""
    records: int = 1
    manifest: tuple[PartEntry, ...] = ()
    traceparent: str = ""
    terms: Terms = Terms()
    state: State = State.NONE  # a result's: what its origin says of the action at its targets
    relabels: Relabels | None = None  # an event's or intel's that re-issues another at a lower label

    @property
    def lane(self) -> Lane:
        return lane_of(self.kind.word, self.severity, self.phase)

    @property
    def highest_label(self) -> Label:
        """The highest of it and its parts."""
        return max([self.label, *[entry.label for entry in self.manifest]])

    @property
    def is_sealed(self) -> bool:
        """Whether it is RED itself, and whoever passes it on can read nothing of it: there is something, all sealed."""
        return self.label is Label.RED and bool(self.manifest) and all(entry.is_sealed for entry in self.manifest)


def encode_header(h: Header) -> bytes:
    """The bytes that are signed (SPEC 3.2)."""
    a = h.audience
    return pack([
        VERSION,
        int(h.kind),
        h.topic,
        h.origin,
        h.stream,
        h.sequence,
        h.issued_at_ms,
        h.ttl_ms,
        int(h.severity),
        int(h.phase),
        int(h.label),
        [list(a.organisations), list(a.communities), list(a.recipients)],
        h.to,
        h.correlation,
        h.records,
        [[int(e.label), e.content_type, e.encoding, e.size, e.digest] for e in h.manifest],
        h.traceparent,
        *([h.terms.bits] if h.terms or h.state or h.relabels else ()),
        *([int(h.state)] if h.state or h.relabels else ()),
        *([[h.relabels.leaf, h.relabels.record, int(h.relabels.label)]] if h.relabels else ()),
    ])


_Names = Annotated[tuple[Name, ...], Meta(max_length=AUDIENCE_NAMES_MAX)]
# Of an event or intel as this version writes it.
_PLAIN_HEADER = Shape(tuple[
    Annotated[int, Meta(ge=1, le=INT_MAX)],
    Kind,
    Annotated[str, Meta(max_length=TOPIC_BYTES_MAX)],
    Name,
    Annotated[bytes, Meta(min_length=STREAM_BYTES, max_length=STREAM_BYTES)],
    Number,
    Number,
    Number,
    Severity,
    Phase,
    Label,
    tuple[_Names, _Names, _Names],
    Annotated[str, Meta(max_length=SELECTOR_BYTES_MAX)],
    Annotated[bytes, Meta(max_length=DIGEST_BYTES)],
    Annotated[int, Meta(ge=1, le=RECORDS_MAX)],
    Annotated[tuple[PartEntry, ...], Meta(max_length=PARTS_MAX)],
    Name,
])


def decode_header(raw: bytes) -> Header | Reject:
    """Later versions append fields; what this version knows is at the same place in all of them."""
    plain = _PLAIN_HEADER.read(raw) if len(raw) <= HEADER_BYTES_MAX else None
    return (plain and _plain_header(*plain)) or _any_header(raw)


def _plain_header(
    version: int, kind: Kind, topic: str, origin: str, stream: bytes, sequence: int, issued_at_ms: int, ttl_ms: int,
    severity: Severity, phase: Phase, label: Label, audience: tuple[_Names, _Names, _Names], to: str,
    correlation: bytes, records: int, manifest: tuple[PartEntry, ...], traceparent: str,
) -> Header | None:
    """None where it has to be looked at more closely."""
    del version
    organisations, communities, recipients = audience
    names = (topic, origin, to, traceparent, *organisations, *communities, *recipients)
    if not "".join(names).isascii() or len(correlation) not in (0, DIGEST_BYTES):
        return None
    return Header(
        kind, topic, origin, stream, sequence, issued_at_ms, ttl_ms, severity, phase, label,
        Audience(organisations, communities, recipients), to, correlation, records, manifest, traceparent,
    )


def _any_header(raw: bytes) -> Header | Reject:
    fields = unpack(
        raw, bytes_max=HEADER_BYTES_MAX, elements_max=HEADER_ELEMENTS_MAX, depth_max=HEADER_DEPTH_MAX
    )
    if isinstance(fields, Reject):
        return Reject(fields.code, "header")
    try:
        return _header(fields)
    except _UnknownKindError as error:
        return Reject(Code.UNKNOWN_KIND, str(error))
    except (TypeError, ValueError, LookupError):
        return Reject(Code.MALFORMED, "header")


class _UnknownKindError(Exception):
    """Of a later version, and well formed: whoever passes it on does nothing wrong."""


def _header(f: Any) -> Header:
    if type(f) is not list or len(f) < 17:
        raise ValueError
    (
        version, number, topic, origin, stream, sequence, issued_at_ms, ttl_ms, severity, phase, label, audience, to,
        correlation, records, manifest, traceparent, *more,
    ) = f
    integers = (version, number, sequence, issued_at_ms, ttl_ms, phase, records)
    if [*map(type, integers)] != _SEVEN_INTEGERS or min(integers) < 0 or max(integers) > INT_MAX or version < 1:
        raise ValueError
    kind = _KINDS.get(number)
    if kind is None:
        raise _UnknownKindError
    if type(stream) is not bytes or type(correlation) is not bytes:
        raise TypeError
    if len(stream) != STREAM_BYTES or len(correlation) not in (0, DIGEST_BYTES):
        raise ValueError
    if type(audience) is not list or type(manifest) is not list:
        raise TypeError
    if not 1 <= records <= RECORDS_MAX or len(manifest) > PARTS_MAX:
        raise ValueError
    organisations, communities, recipients = audience[:3]
    return Header(
        kind, text(topic, TOPIC_BYTES_MAX), text(origin, NAME_BYTES_MAX), stream, sequence, issued_at_ms, ttl_ms,
        severity_from_wire(severity), _PHASES.get(phase, Phase.NONE), label_from_wire(label),
        Audience(_names(organisations), _names(communities), _names(recipients)),
        to=text(to, SELECTOR_BYTES_MAX),
        correlation=correlation,
        records=records,
        manifest=tuple([_entry(e) for e in manifest]),
        traceparent=text(traceparent, NAME_BYTES_MAX),
        terms=_terms(more[0], kind) if more else NO_TERMS,
        state=state_from_wire(integer(more[1])) if len(more) > 1 and kind is Kind.RESULT else State.NONE,
        relabels=_relabels(more[2]) if len(more) > 2 and kind in _RELABELLED else None,
    )


def _terms(bits: Any, kind: Kind) -> Terms:
    """Terms that this version does not know would not be kept: such an action is refused, and not executed."""
    if kind is not Kind.ACTION:
        return Terms()
    if integer(bits) > _TERMS_BITS:
        raise _UnknownKindError("terms of an action")
    return Terms(bool(bits & 1), bool(bits & 2))


def _relabels(value: Any) -> Relabels | None:
    """A label from the future counts as RED: to lower that takes the widest grant."""
    if value is None:  # where a later version says something behind it
        return None
    if type(value) is not list:
        raise TypeError
    leaf, record, label = value[:3]
    if integer(record) >= RECORDS_MAX:
        raise ValueError
    return Relabels(binary(leaf, DIGEST_BYTES, DIGEST_BYTES), record, label_from_wire(label))


_RELABELLED = (Kind.EVENT, Kind.INTEL)
_SEVEN_INTEGERS = [int] * 7
_KINDS = {int(kind): kind for kind in Kind}
_PHASES = {int(phase): phase for phase in Phase}


def _entry(e: Any) -> PartEntry:
    if type(e) is not list:
        raise TypeError
    label, content_type, encoding, size, digest = e[:5]
    if type(digest) is not bytes or len(digest) != DIGEST_BYTES or integer(size) > BODY_BYTES_MAX:
        raise ValueError
    return PartEntry(label_from_wire(label), integer(content_type), integer(encoding), size, digest)


def _names(values: object) -> tuple[str, ...]:
    if type(values) is not list or len(values) > AUDIENCE_NAMES_MAX:
        raise TypeError
    return tuple([text(value, NAME_BYTES_MAX) for value in values]) if values else ()
