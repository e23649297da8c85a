"""From bytes to trust (SPEC 4): only `open_envelope` makes a `Verified`, and routing accepts nothing else.

Guarantees of a `Verified`: the signature is its origin's, made over exactly this header; every part that is present
is byte for byte what the origin signed; the header is well formed and its parts match its manifest in number.
Not promised: that the message is wanted, allowed, in time or seen before. Stateless but for a cache of roots.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from fabric.protocol.base import signing
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.envelope.header import Header, Kind, decode_header
from fabric.protocol.envelope.layout import (
    Approved,
    Envelope,
    climb,
    decode_envelope,
    encode_envelope,
    leaf_of,
    part_digest,
    unite,
)
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.known import unknown
from fabric.protocol.vocabulary.topics import check_topic, kind_of_topic

_MINT = object()


class Verified:
    """An envelope that was checked, with its decoded header and its origin's credential."""

    __slots__ = ("credential", "envelope", "header", "id", "leaf", "raw")

    def __init__(
        self, mint: object, raw: bytes, envelope: Envelope, header: Header, leaf: bytes, credential: Credential
    ) -> None:
        if mint is not _MINT:
            raise TypeError("only open_envelope makes a Verified")
        self.raw = raw
        self.envelope = envelope
        self.header = header
        self.leaf = leaf
        self.id = leaf[:ID_BYTES]
        self.credential = credential

    @property
    def counts_from_ms(self) -> int:
        """From when its time to live counts: of an action that was held, from its approval (SPEC 9.7)."""
        approved = self.envelope.approved
        return self.header.issued_at_ms if approved is None else approved.at_ms

    def with_approvals(self, approved: Approved) -> Verified:
        """The same action with what released it. Whoever takes it judges that anew."""
        envelope = self.envelope._replace(approved=approved)
        return Verified(_MINT, encode_envelope(envelope), envelope, self.header, self.leaf, self.credential)

    @property
    def withheld(self) -> int:
        """How many parts are not here."""
        return sum(part is None for part in self.envelope.parts)

    def with_parts_of(self, envelope: Envelope) -> Verified:
        """The same message with fewer parts. Taking away cannot make it less true."""
        if envelope is self.envelope:
            return self
        before, after = self.envelope.parts, envelope.parts
        assert all(a is None or a is b for a, b in zip(after, before, strict=True)), "redaction only removes"
        return Verified(_MINT, encode_envelope(envelope), envelope, self.header, self.leaf, self.credential)

    def united_with(self, other: Verified) -> Verified:
        """The same message with the parts of both copies: another path may have stripped less."""
        assert self.leaf == other.leaf
        envelope = unite(self.envelope, other.envelope)
        if envelope is self.envelope:
            return self
        return Verified(_MINT, encode_envelope(envelope), envelope, self.header, self.leaf, self.credential)


class RootCache:
    """Signatures that were found good: the messages of one burst share one, so it is verified once."""

    def __init__(self, roots_max: int = 4096) -> None:
        self._good: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()
        self._roots_max = roots_max

    def verify(self, public: bytes, root: bytes, signature: bytes) -> bool:
        key = (public, root, signature)
        if key in self._good:
            self._good.move_to_end(key)
            return True
        if not signing.verify(public, signing.TYPE_ROOT, root, signature):
            return False
        self.is_good(public, root, signature)
        return True

    def is_good(self, public: bytes, root: bytes, signature: bytes) -> None:
        """It was found good, or made here with that key."""
        self._good[public, root, signature] = None
        if len(self._good) > self._roots_max:
            self._good.popitem(last=False)


class OwnRoots:
    """Signs with this node's key; what it has just signed costs no check when the node opens it like everybody's."""

    def __init__(self, signer: signing.Signer, roots: RootCache) -> None:
        self._signer = signer
        self._roots = roots

    def sign(self, type_: bytes, body: bytes) -> bytes:
        signature = self._signer.sign(type_, body)
        if type_ == signing.TYPE_ROOT:
            self._roots.is_good(self._signer.public, body, signature)
        return signature


def open_envelope(raw: bytes, credentials: Mapping[bytes, Credential], roots: RootCache) -> Verified | Reject:
    """Check everything that can be checked without a clock and without state. Cheap refusals come first."""
    envelope = decode_envelope(raw)
    if isinstance(envelope, Reject):
        return envelope
    header = decode_header(envelope.header)
    if isinstance(header, Reject):
        return header
    if envelope.approved is not None and header.kind is not Kind.ACTION:
        return Reject(Code.MALFORMED, "approvals of what is no action")  # from them its time would count
    credential = credentials.get(envelope.signer)
    if credential is None:
        return unknown(credentials, envelope.signer)
    if header.origin != credential.id:
        return Reject(Code.BAD_SIGNATURE, "the origin is not the signer")
    if len(envelope.parts) != len(header.manifest):
        return Reject(Code.BAD_MANIFEST)
    leaf = leaf_of(envelope.header)
    if not roots.verify(credential.sign_key, climb(leaf, envelope.path), envelope.signature):
        return Reject(Code.BAD_SIGNATURE)
    for part, entry in zip(envelope.parts, header.manifest, strict=True):
        if part is not None and part_digest(part) != entry.digest:
            return Reject(Code.BAD_DIGEST)
    problem = _check_sense(header)
    return problem or Verified(_MINT, raw, envelope, header, leaf, credential)


def is_forged(opened: Verified | Reject) -> bool:
    """Whether somebody altered it or made it up: no honest peer passes such a message on, and each costs a check."""
    return isinstance(opened, Reject) and opened.code in (Code.BAD_SIGNATURE, Code.BAD_DIGEST)


def _check_sense(header: Header) -> Reject | None:
    """What is signed but makes no sense: the origin's fault, and said so."""
    problem: Any = check_topic(header.topic)
    if problem:
        return Reject(Code.BAD_TOPIC)
    if header.kind in (Kind.EVENT, Kind.INTEL) and kind_of_topic(header.topic) != header.kind.word:
        return Reject(Code.BAD_TOPIC, "topics of intel, and only these, begin with `intel.`")
    if header.kind.atomic and header.records != 1:
        return Reject(Code.BAD_MANIFEST, "an action stands alone")
    return None
