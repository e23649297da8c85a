"""The envelope (SPEC 3): a signed header with salted digests of its parts, so that it still verifies without them.

Guarantees: what `decode_envelope` and `decode_header` return is well formed and within every bound; `redact` only
ever removes parts; forwarding keeps the header's bytes as they were signed, so fields from the future survive.
Refuses, as a `Reject`: anything malformed, oversized, or of a kind that this version does not know. Signatures and
digests are not looked at here: only `verify.open_envelope` makes something trustworthy of an envelope.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, NamedTuple

from msgspec import Meta

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    APPROVERS_MAX,
    AUDIENCE_NAMES_MAX,
    BODY_BYTES_MAX,
    DIGEST_BYTES,
    ENVELOPE_BYTES_MAX,
    HEADER_BYTES_MAX,
    HEADER_DEPTH_MAX,
    HEADER_ELEMENTS_MAX,
    ID_BYTES,
    NAME_BYTES_MAX,
    PART_BYTES_MAX,
    PARTS_MAX,
    PATH_MAX,
    RECORDS_MAX,
    SALT_BYTES,
    SELECTOR_BYTES_MAX,
    TARGETS_MAX,
    TOPIC_BYTES_MAX,
)
from fabric.protocol.base.shapes import INT_MAX, Id, Name, Number, Shape
from fabric.protocol.base.signing import SIGNATURE_BYTES, TYPE_ENVELOPE, TYPE_ROOT, Signs, pae
from fabric.protocol.vocabulary.lifecycle import State, state_from_wire
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity, lane_of, severity_from_wire
from fabric.protocol.vocabulary.tlp import Audience, Label, label_from_wire

VERSION = 1
STREAM_BYTES = 8
_Digest = Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


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
    digest: _Digest

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


class Approved(NamedTuple):
    """What an action that was held takes along (SPEC 9.7). Its origin did not sign it: each hop judges it anew.

    `at_ms`: when its quorum was complete, from when its time counts. `targets`: all that were fixed when it was held.
    `approvals`: of each the approver's credential and its envelope.
    """

    at_ms: int
    held_at_ms: int
    targets: tuple[str, ...]
    approvals: tuple[tuple[bytes, bytes], ...]


class Envelope(NamedTuple):
    """The fields on the wire; `parts[i]` is None where it was withheld. Only an action that was held is `approved`."""

    signer: bytes
    header: bytes
    signature: bytes
    path: tuple[bytes, ...]
    parts: tuple[bytes | None, ...]
    approved: Approved | None = None


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
        kind, _str(topic, TOPIC_BYTES_MAX), _str(origin, NAME_BYTES_MAX), stream, sequence, issued_at_ms, ttl_ms,
        severity_from_wire(severity), _PHASES.get(phase, Phase.NONE), label_from_wire(label),
        Audience(_names(organisations), _names(communities), _names(recipients)),
        to=_str(to, SELECTOR_BYTES_MAX),
        correlation=correlation,
        records=records,
        manifest=tuple([_entry(e) for e in manifest]),
        traceparent=_str(traceparent, NAME_BYTES_MAX),
        terms=_terms(more[0], kind) if more else NO_TERMS,
        state=state_from_wire(_int(more[1])) if len(more) > 1 and kind is Kind.RESULT else State.NONE,
        relabels=_relabels(more[2]) if len(more) > 2 and kind in _RELABELLED else None,
    )


def _terms(bits: Any, kind: Kind) -> Terms:
    """Terms that this version does not know would not be kept: such an action is refused, and not executed."""
    if kind is not Kind.ACTION:
        return Terms()
    if _int(bits) > _TERMS_BITS:
        raise _UnknownKindError("terms of an action")
    return Terms(bool(bits & 1), bool(bits & 2))


def _relabels(value: Any) -> Relabels | None:
    """A label from the future counts as RED: to lower that takes the widest grant."""
    if value is None:  # where a later version says something behind it
        return None
    if type(value) is not list:
        raise TypeError
    leaf, record, label = value[:3]
    if len(_bytes(leaf)) != DIGEST_BYTES or _int(record) >= RECORDS_MAX:
        raise ValueError
    return Relabels(leaf, record, label_from_wire(label))


_RELABELLED = (Kind.EVENT, Kind.INTEL)
_SEVEN_INTEGERS = [int] * 7
_KINDS = {int(kind): kind for kind in Kind}
_PHASES = {int(phase): phase for phase in Phase}


def _entry(e: Any) -> PartEntry:
    if type(e) is not list:
        raise TypeError
    label, content_type, encoding, size, digest = e[:5]
    if type(digest) is not bytes or len(digest) != DIGEST_BYTES or _int(size) > BODY_BYTES_MAX:
        raise ValueError
    return PartEntry(label_from_wire(label), _int(content_type), _int(encoding), size, digest)


def _int(value: object) -> int:
    if type(value) is not int or not 0 <= value <= INT_MAX:
        raise TypeError
    return value


def _str(value: object, bytes_max: int) -> str:
    if type(value) is not str or len(value) > bytes_max or (not value.isascii() and len(value.encode()) > bytes_max):
        raise TypeError
    return value


def _bytes(value: object) -> bytes:
    if type(value) is not bytes:
        raise TypeError
    return value


def _names(values: object) -> tuple[str, ...]:
    if type(values) is not list or len(values) > AUDIENCE_NAMES_MAX:
        raise TypeError
    return tuple([_str(value, NAME_BYTES_MAX) for value in values]) if values else ()


def encode_envelope(e: Envelope) -> bytes:
    """The bytes that travel (SPEC 3.1)."""
    more = [] if e.approved is None else [list(e.approved)]
    return pack([e.signer, e.header, e.signature, list(e.path), list(e.parts), *more])


def unite(first: Envelope, second: Envelope) -> Envelope:
    """Of two copies of one message, the parts of both; the first itself where the second has no more."""
    pairs = zip(first.parts, second.parts, strict=True)
    parts = tuple([mine if mine is not None else theirs for mine, theirs in pairs])
    return first if parts == first.parts else first._replace(parts=parts)


# But for an action that was held, which has what released it too.
_PLAIN_ENVELOPE = Shape(tuple[
    Id,
    Annotated[bytes, Meta(max_length=HEADER_BYTES_MAX)],
    Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)],
    Annotated[tuple[_Digest, ...], Meta(max_length=PATH_MAX)],
    Annotated[
        tuple[Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=PART_BYTES_MAX)] | None, ...],
        Meta(max_length=PARTS_MAX),
    ],
])


def decode_envelope(raw: bytes) -> Envelope | Reject:
    """The envelope in these bytes, or MALFORMED, TOO_LARGE or TOO_DEEP. No signature is looked at."""
    plain = _PLAIN_ENVELOPE.read(raw) if len(raw) <= ENVELOPE_BYTES_MAX else None
    return _any_envelope(raw) if plain is None else Envelope(*plain)


def _any_envelope(raw: bytes) -> Envelope | Reject:
    fields = unpack(raw, bytes_max=ENVELOPE_BYTES_MAX, elements_max=_ELEMENTS_MAX, depth_max=4)
    if isinstance(fields, Reject):
        return Reject(fields.code, "envelope")
    if type(fields) is not list or len(fields) not in (5, 6):
        return Reject(Code.MALFORMED, "envelope")
    signer, header, signature, path, parts, *more = fields
    well_formed = (
        type(signer) is bytes
        and len(signer) == ID_BYTES
        and type(header) is bytes
        and len(header) <= HEADER_BYTES_MAX
        and type(signature) is bytes
        and len(signature) == SIGNATURE_BYTES
        and type(path) is list
        and len(path) <= PATH_MAX
        and all(type(p) is bytes and len(p) == DIGEST_BYTES for p in path)
        and type(parts) is list
        and len(parts) <= PARTS_MAX
        and all(p is None or (type(p) is bytes and SALT_BYTES <= len(p) <= PART_BYTES_MAX) for p in parts)
    )
    if not well_formed:
        return Reject(Code.MALFORMED, "envelope")
    try:
        approved = _approved(more[0]) if more else None
    except (TypeError, ValueError):
        return Reject(Code.MALFORMED, "envelope")
    return Envelope(signer, header, signature, tuple(path), tuple(parts), approved)


_ELEMENTS_MAX = PARTS_MAX + PATH_MAX + TARGETS_MAX + 3 * APPROVERS_MAX + 16


def _approved(value: Any) -> Approved:
    if type(value) is not list:
        raise TypeError
    at_ms, held_at_ms, targets, approvals = value
    if type(targets) is not list or type(approvals) is not list:
        raise TypeError
    if not 0 < len(targets) <= TARGETS_MAX or not 0 < len(approvals) <= APPROVERS_MAX:
        raise ValueError
    return Approved(
        _int(at_ms), _int(held_at_ms), tuple([_str(target, NAME_BYTES_MAX) for target in targets]),
        tuple([_approval(each) for each in approvals]),
    )


def _approval(value: Any) -> tuple[bytes, bytes]:
    if type(value) is not list:
        raise TypeError
    credential, envelope = value
    return _bytes(credential), _bytes(envelope)


def part_digest(part: bytes) -> bytes:
    """Over salt and body as sent. Without the salt, a withheld value could be guessed and compared."""
    return hashlib.sha256(b"\x00" + part).digest()


def leaf_of(header: bytes) -> bytes:
    """32 bytes that stand for the message; the first 16 are its id."""
    return hashlib.sha256(b"\x00" + pae(TYPE_ENVELOPE, header)).digest()


def climb(leaf: bytes, path: Sequence[bytes]) -> bytes:
    """From a leaf to its root. The smaller of two siblings is the left one, so a path needs no sides."""
    node = leaf
    for sibling in path:
        left, right = (node, sibling) if node < sibling else (sibling, node)
        node = hashlib.sha256(b"\x01" + left + right).digest()
    return node


def merkle(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over 1..2**PATH_MAX leaves, and each leaf's path to it. An odd node is promoted as it is."""
    assert 1 <= len(leaves) <= 2**PATH_MAX
    paths: list[list[bytes]] = [[] for _ in leaves]
    level: list[tuple[bytes, list[int]]] = [(leaf, [i]) for i, leaf in enumerate(leaves)]
    while len(level) > 1:
        above: list[tuple[bytes, list[int]]] = []
        for i in range(0, len(level) - 1, 2):
            (a, below_a), (b, below_b) = level[i], level[i + 1]
            for leaf in below_a:
                paths[leaf].append(b)
            for leaf in below_b:
                paths[leaf].append(a)
            above.append((climb(a, (b,)), below_a + below_b))
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0][0], [tuple(path) for path in paths]


def seal(
    messages: Sequence[tuple[Header, Sequence[bytes]]], signer_digest: bytes, signer: Signs
) -> list[bytes]:
    """Sign a burst of messages with one signature: [(header, parts)] to envelopes, in the same order."""
    headers = [encode_header(header) for header, _ in messages]
    root, paths = merkle([leaf_of(header) for header in headers])
    signature = signer.sign(TYPE_ROOT, root)
    return [
        encode_envelope(Envelope(signer_digest, header, signature, path, tuple(parts)))
        for header, path, (_, parts) in zip(headers, paths, messages, strict=True)
    ]


def redact(envelope: Envelope, manifest: Sequence[PartEntry], may: Callable[[PartEntry], bool]) -> Envelope:
    """The same envelope without the parts that `may` refuses. The same object when nothing goes."""
    kept = tuple([
        part if part is None or may(entry) else None
        for part, entry in zip(envelope.parts, manifest, strict=True)
    ])
    return envelope if kept == envelope.parts else envelope._replace(parts=kept)
