"""From what a program publishes to signed envelopes (SPEC 3.3, 3.4): batches by themselves, one signature a burst.

What waits when the loop turns goes together: records that share a stamp into one envelope, different envelopes under
one signature. So an idle publisher never waits, and a busy one pays for a signature once in many messages. Time and
randomness are arguments; no thread, no socket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fabric.edge.publishing.drafts import Draft, Stamp, audience_of
from fabric.edge.publishing.labelling import KnownLabels
from fabric.protocol.base.codec import Shapes
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ENVELOPE_BYTES_MAX, HEADER_BYTES_MAX
from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.header import STREAM_BYTES, Header, Kind, PartEntry
from fabric.protocol.envelope.layout import seal
from fabric.protocol.envelope.parts import build_parts
from fabric.protocol.envelope.sealed_parts import Recipient, seal_content
from fabric.protocol.envelope.verify import OwnRoots, RootCache
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.fetching import SESSION_MARK
from fabric.protocol.vocabulary.tlp import Audience, Label

# Enough to spread the cost of a signature, few enough that one lost frame is cheap to repeat.
BATCH_RECORDS_MAX = 128
# Content beyond this ends a batch early: it keeps an envelope to a fraction of a frame, and an urgent one behind it
# from waiting.
_BATCH_BYTES = 65_536
# Streams that are numbered on. A program that uses more begins the one that it left longest ago anew, so that a gap
# there is not seen. Some 500 bytes each.
STREAMS_MAX = 16_384


class Sealed(NamedTuple):
    """An envelope and the drafts in it, in the order of their records."""

    envelope: bytes
    drafts: Sequence[Draft]


def _nobody(ids: Sequence[str]) -> Sequence[Recipient]:
    raise FabricError(Code.RECIPIENT_UNKNOWN, ", ".join(ids))


class Composer:
    """`fabric_time`: from this node's own time to the root's, as far as it is known (SPEC 5).

    `recipients`: of ids, with the keys that RED is sealed to; raises where one has none.
    """

    def __init__(
        self,
        credential: Credential,
        signer: Signer,
        roots: RootCache,
        entropy: Callable[[int], bytes],
        fabric_time: Callable[[int], int] = lambda now_ms: now_ms,
        recipients: Callable[[Sequence[str]], Sequence[Recipient]] = _nobody,
    ) -> None:
        self._fabric_time = fabric_time
        self._recipients = recipients
        self._credential = credential
        self._signer = OwnRoots(signer, roots)
        self._entropy = entropy
        self._own = Audience((credential.organisation,))
        self._labels = KnownLabels()
        # A stream is what everybody who may see one of it may see all of: (topic, label, audience) of a session.
        self._streams: dict[tuple[str, Label, Audience], tuple[bytes, int]] = {}

    def renewed(self, credential: Credential) -> None:
        """What is composed from now on is signed under this one."""
        self._credential = credential

    def compose(self, drafts: Sequence[Draft]) -> tuple[list[Sealed], list[tuple[Draft, FabricError]]]:
        """Envelopes for all drafts, oldest first, and those that cannot be sent, each with its error."""
        built: list[tuple[Header, Sequence[bytes], Sequence[Draft]]] = []
        failed: list[tuple[Draft, FabricError]] = []
        for group in _groups(drafts):
            self._build(group, built, failed)
        if not built:
            return [], failed
        envelopes = seal([(header, parts) for header, parts, _ in built], self._credential.digest, self._signer)
        return [Sealed(e, group) for e, (_, _, group) in zip(envelopes, built, strict=True)], failed

    def _build(
        self,
        group: Sequence[Draft],
        built: list[tuple[Header, Sequence[bytes], Sequence[Draft]]],
        failed: list[tuple[Draft, FabricError]],
    ) -> None:
        """One envelope for a group; a group that is too large, or has one bad record, is split."""
        try:
            header, parts = self._header(group)
        except FabricError as error:
            if len(group) == 1:
                failed.append((group[0], error))
                return
            middle = len(group) // 2
            self._build(group[:middle], built, failed)
            self._build(group[middle:], built, failed)
            return
        self._streams[header.topic, header.label, header.audience] = (header.stream, header.sequence + 1)
        built.append((header, parts, group))

    def _header(self, group: Sequence[Draft]) -> tuple[Header, Sequence[bytes]]:
        stamp = group[0].stamp
        labels = self._labels.of(stamp.rules, stamp.label)
        audience = self._own if stamp.audience is None else audience_of(stamp, self._credential)
        stream, sequence = self._next_of((stamp.topic, stamp.label, audience))

        def header(manifest: tuple[PartEntry, ...] = ()) -> Header:
            return Header(
                kind=stamp.kind,
                topic=stamp.topic,
                origin=self._credential.id,
                stream=stream,
                sequence=sequence,
                issued_at_ms=self._fabric_time(group[0].at_ms),
                ttl_ms=stamp.ttl_ms,
                severity=stamp.severity,
                phase=stamp.phase,
                label=stamp.label,
                audience=audience,
                to=stamp.to,
                correlation=stamp.correlation,
                records=len(group),
                manifest=manifest,
                terms=stamp.terms,
                state=stamp.state,
                relabels=stamp.relabels,
            )

        seal_red = self._sealing(header()) if audience.recipients and Label.RED in labels.labels else None
        records = [draft.record for draft in group]
        try:
            manifest, parts = build_parts(records, labels, stamp.label, self._entropy, seal_red, _shapes_of(group))
        except FabricError:
            raise
        except Exception as error:  # noqa: BLE001 - what is in a record is its program's, and so may be what it runs
            raise FabricError(Code.BAD_INPUT, f"not a plain value ({type(error).__name__})") from None
        size = sum(map(len, parts)) + HEADER_BYTES_MAX
        if size > ENVELOPE_BYTES_MAX:
            raise FabricError(Code.TOO_LARGE, f"{size} bytes in one message")
        return header(manifest), parts

    def _sealing(self, header: Header) -> Callable[[bytes], bytes]:
        """What makes content readable by the recipients of this message only. Raises where one has no key."""
        ids = header.audience.recipients
        if header.kind is Kind.RESULT:  # it has the audience of the action, and only its requester reads it
            ids = tuple(dict.fromkeys((header.origin, header.to.partition(SESSION_MARK)[0])))
        recipients = self._recipients(ids)
        return lambda content: seal_content(content, header, recipients, self._entropy)

    def _next_of(self, key: tuple[str, Label, Audience]) -> tuple[bytes, int]:
        """A stream, and the number in it of the next: it is taken once that is built, or readers would miss it."""
        # The one that was used last comes last.
        stream, sequence = self._streams.pop(key) if key in self._streams else (self._entropy(STREAM_BYTES), 0)
        if len(self._streams) >= STREAMS_MAX:
            del self._streams[next(iter(self._streams))]
        self._streams[key] = (stream, sequence)
        return stream, sequence


def _shapes_of(group: Sequence[Draft]) -> Shapes | None:
    """Of records of which that is known already."""
    keys = group[0].keys
    if keys is not None and all(draft.keys is keys for draft in group):
        return Counter({keys: len(group)})
    return None


def _groups(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Drafts by stamp, in order of each group's first."""
    open_: dict[Stamp, list[Draft]] = {}
    groups: list[list[Draft]] = []
    sizes: dict[Stamp, int] = {}
    stamp: Stamp | None = None
    group: list[Draft] | None = None
    size = 0
    for draft in drafts:
        if draft.stamp is not stamp:  # mostly it is that of the one before: to look one up takes its time
            if stamp is not None:
                sizes[stamp] = size
            stamp = draft.stamp
            group, size = open_.get(stamp), sizes.get(stamp, 0)
        if group is None or stamp.kind.atomic or len(group) >= BATCH_RECORDS_MAX or size + draft.size > _BATCH_BYTES:
            group = open_[stamp] = []
            size = 0
            groups.append(group)
        group.append(draft)
        size += draft.size
    return groups
