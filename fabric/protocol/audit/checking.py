"""Whether a log is whole (SPEC 9.10): what a reader asks of each entry in turn, without the node that wrote it.

Guarantees: a log is whole only where each entry follows from the one before, every head and counter-signature in it is
what it says, and it goes as far as the heads that are known of it; the first fault is named by the number of its entry.
An entry of a kind that a later version added is none. Whoever has the node's key can write another whole log: that
differs from the heads that its parent has.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import NOTHING, Entry, decode_entry, follow
from fabric.protocol.audit.heads import Head, check_head, check_witness, read_head, read_witness
from fabric.protocol.audit.records import Record, Rest
from fabric.protocol.base.errors import Reject
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential

# After a fault there may be as many as there are entries.
_FAULTS_MAX: Final = 64
# How far back a head in the log may point, and for how many heads a counter-signature is known.
_HASHES_MAX: Final = 8_192
_HEADS_MAX: Final = 1_024


class Flaw(NamedTuple):
    """What is wrong at the entry with this number. `what` is one word, for programs."""

    number: int
    what: str
    words: str


class Known(NamedTuple):
    """Somebody knows that this log had this hash at this number. `by`: who, in words."""

    log: bytes
    number: int
    hash: bytes
    by: str


@dataclass(slots=True)
class Found:
    """What was found. `first` and `last`: numbers of entries, 0 where there is none. `torn_bytes`: at the end."""

    fabric: str = ""
    node: str = ""
    log: bytes = b""
    first: int = 0
    last: int = 0
    hash: bytes = NOTHING
    first_ms: int = 0
    last_ms: int = 0
    dropped: int = 0  # through this number entries were let go, as the log says
    lost: int = 0  # entries that the log says it could not write
    cut: int = 0  # times that it says what was torn was cut off
    heads: int = 0
    witnessed: int = 0
    head: int = 0  # the number of the newest head, and of the newest that was counter-signed, and by whom
    witnessed_number: int = 0
    witnessed_by: str = ""
    torn_bytes: int = 0
    signatures_checked: bool = False
    flaws: list[Flaw] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong with it, but for what a process that was killed left at its end."""
        return not self.flaws


class Checker:
    """`authority_key`: whose credentials are believed; empty: signatures are not checked. `node`: whose log it is to
    be; empty: whose it says. `known`: what others know of it."""

    def __init__(self, authority_key: bytes, fabric: str = "", node: str = "", known: tuple[Known, ...] = ()) -> None:
        self.found = Found(fabric, node, signatures_checked=bool(authority_key))
        self._authority_key = authority_key
        self._known: dict[int, list[Known]] = {}
        self._credentials: dict[bytes, Credential] = {}
        self._hashes: OrderedDict[int, bytes] = OrderedDict()
        self._heads: OrderedDict[bytes, Head] = OrderedDict()
        self._expects_begin = True
        for each in known:
            self.expect(each)

    def expect(self, known: Known) -> None:
        """Before the entries are read: somebody knows this of the log."""
        self._known.setdefault(known.number, []).append(known)

    def begins(self, first: int) -> None:
        """A segment begins, whose name says this number."""
        found = self.found
        if not found.first and not found.last:
            found.last = first - 1  # of what was before only the segment itself speaks
        elif first != found.last + 1:
            self._flaw(found.last + 1, "missing", f"entries {found.last + 1:,} to {first - 1:,} are missing"
                       if first > found.last else f"the segment of entry {first:,} overlaps the one before")
            found.last = first - 1
        self._expects_begin = True

    def take(self, record: Record) -> Entry | None:
        """The next record of the segment. The entry, where it can be read."""
        found, number = self.found, self.found.last + 1
        entry = decode_entry(record.entry)
        if isinstance(entry, Reject):
            self._flaw(number, "unreadable", "the entry cannot be read")
            self._passed(number, record.hash)
            return None
        if entry.number != number:
            self._flaw(number, "order", f"entry {entry.number:,} stands where {number:,} belongs")
        if self._expects_begin:
            self._begun(entry, number)
        if follow(found.hash, record.entry) != record.hash:
            self._flaw(number, "hash", "the entry, or the one before it, is not what it was when it was written")
        if not found.first:
            found.first, found.first_ms = number, entry.at_ms
        self._passed(number, record.hash)
        found.last_ms = entry.at_ms
        self._says(entry, number)
        return entry

    def too_large(self, bytes_: int) -> None:
        """The segment that begins has so many bytes more than one has, and those are not read."""
        self._flaw(self.found.last + 1, "unreadable", f"{bytes_:,} bytes are more than a segment has")

    def had_room(self) -> None:
        """After the last segment: it is so small that it had to let nothing go."""
        if self.found.dropped:
            what = f"entries 1 to {self.found.dropped:,} were let go, though there was room for them"
            self._flaw(1, "missing", what)

    def ends(self, rest: Rest, bytes_: int, *, is_last: bool) -> None:
        """The segment ends: what is after its last whole record."""
        if rest is Rest.NONE:
            return
        if rest is Rest.TORN and is_last:
            self.found.torn_bytes = bytes_
            return
        self._flaw(self.found.last + 1, "unreadable", f"{bytes_:,} bytes are no entry")

    def finish(self) -> Found:
        """After the last segment."""
        found = self.found
        if found.first > 1 and found.dropped < found.first - 1:
            what = f"entries {max(1, found.dropped + 1):,} to {found.first - 1:,} are missing, and were not let go"
            self._flaw(found.dropped + 1, "missing", what)
        of_this = [known for each in self._known.values() for known in each if known.log == found.log]
        beyond = max(of_this, key=lambda known: known.number, default=None)
        if beyond is not None and beyond.number > found.last:
            what = f"entries {found.last + 1:,} to {beyond.number:,} are missing: there is {beyond.by}"
            self._flaw(found.last + 1, "tail", what)
        if beyond is not None and beyond.number < found.first - 1:
            what = f"it begins behind all that is known of it, the last being {beyond.by}: nothing shows what it was"
            self._flaw(found.first, "unseen", what)
        others = [known for each in self._known.values() for known in each if known.log != found.log]
        if others:
            self._flaw(found.first, "other_log", f"it is another log than that of {others[-1].by}")
        return found

    # -- inside -------------------------------------------------------------------------------------------

    def _flaw(self, number: int, what: str, words: str) -> None:
        if len(self.found.flaws) < _FAULTS_MAX:
            self.found.flaws.append(Flaw(number, what, words))

    def _passed(self, number: int, hash_: bytes) -> None:
        """Its own hash counts from here on: one entry that was altered is one flaw, and not all that follow."""
        self.found.last, self.found.hash = number, hash_
        self._hashes[number] = hash_
        if len(self._hashes) > _HASHES_MAX:
            self._hashes.popitem(last=False)
        self._compare(number, hash_, self.found.log)

    def _compare(self, number: int, hash_: bytes, log: object) -> None:
        for known in self._known.get(number, ()):
            if known.log == log and known.hash != hash_:
                self._flaw(number, "rewritten", f"it is another entry than that of {known.by}")

    def _begun(self, entry: Entry, number: int) -> None:
        """The first entry of a segment: of which log it is."""
        self._expects_begin = False
        found, fields = self.found, entry.fields
        if entry.kind != kinds.LOG_BEGUN:
            self._flaw(number, "begin", "the segment does not begin with an entry that says of which log it is")
            return
        before, log = fields.get("before"), fields.get("log")
        is_first = not found.first
        if is_first:
            found.hash = before if isinstance(before, bytes) and number > 1 else NOTHING
            self._compare(number - 1, found.hash, log)
        if before != found.hash:
            self._flaw(number, "hash", "the segment does not follow from the one before it")
            found.hash = before if isinstance(before, bytes) else found.hash
        if not found.log:
            found.log = log if isinstance(log, bytes) else b""
        elif log != found.log:
            self._flaw(number, "other_log", "the segment is of another log")
        fabric, node = _text(fields.get("fabric")), _text(fields.get("node"))
        found.fabric, found.node = found.fabric or fabric, found.node or node
        if (fabric, node) != (found.fabric, found.node):
            words = f"it is the log of {node} of {fabric}, not of {found.node} of {found.fabric}"
            self._flaw(number, "other_node", words)
        self._credential(fields.get("credential"), number, own=True)

    def _says(self, entry: Entry, number: int) -> None:
        found, fields = self.found, entry.fields
        match entry.kind:
            case kinds.LOG_DROPPED:
                found.dropped = max(found.dropped, _number(fields.get("through")))
            case kinds.LOG_LOST:
                found.lost += _number(fields.get("entries"))
            case kinds.LOG_CUT:
                found.cut += 1
            case kinds.TRUST_RENEWED:
                self._credential(fields.get("credential"), number, own=True)
            case kinds.LOG_HEAD:
                self._head(fields.get("head"), number)
            case kinds.LOG_WITNESSED:
                self._witness(fields, number)

    def _credential(self, raw: object, number: int, *, own: bool = False) -> Credential | None:
        """One that the log says somebody has."""
        if not self._authority_key or not isinstance(raw, bytes):
            return None
        credential = verify_credential(raw, self._authority_key, self.found.fabric)
        if isinstance(credential, Reject):
            self._flaw(number, "credential", f"it has a credential that nobody vouches for ({credential.code.label})")
            return None
        if own and credential.id != self.found.node:
            self._flaw(number, "credential", f"it has the credential of {credential.id}")
            return None
        if own:
            self._credentials[credential.digest] = credential
        return credential

    def _head(self, raw: object, number: int) -> None:
        head = read_head(raw) if isinstance(raw, bytes) else None
        if head is None or isinstance(head, Reject):
            self._flaw(number, "head", "its head cannot be read")
            return
        found = self.found
        self._heads[head.digest] = head
        if len(self._heads) > _HEADS_MAX:
            self._heads.popitem(last=False)
        found.heads += 1
        found.head = max(found.head, head.number)
        self._check_head(head, number, self._hashes.get(head.number))

    def _check_head(self, head: Head, number: int, hash_: bytes | None) -> None:
        if (head.node, head.log) != (self.found.node, self.found.log):
            self._flaw(number, "head", f"its head is of another log, of {head.node}")
        elif hash_ is not None and hash_ != head.hash:
            self._flaw(number, "head", f"its head says another hash of entry {head.number:,}")
        elif self._authority_key:
            signer = self._credentials.get(head.signer)
            if signer is None or check_head(head, signer) is not None:
                self._flaw(number, "head", f"its head is not signed by {self.found.node}")

    def _witness(self, fields: object, number: int) -> None:
        assert isinstance(fields, dict)
        raw = fields.get("witness")
        witness = read_witness(raw) if isinstance(raw, bytes) else None
        if witness is None or isinstance(witness, Reject):
            self._flaw(number, "witness", "its counter-signature cannot be read")
            return
        head = self._heads.get(witness.head)
        if head is None:
            self._flaw(number, "witness", "it is counter-signed for a head that is not in the log")
            return
        by = self._credential(fields.get("credential"), number) or self._credentials.get(witness.signer)
        if by is not None:
            self._credentials[by.digest] = by
        elif self.found.first > 1:
            return  # where its credential was, is gone
        if self._authority_key and (by is None or check_witness(witness, by) is not None):
            self._flaw(number, "witness", f"its counter-signature is not by {witness.by}")
            return
        self.found.witnessed += 1
        if head.number >= self.found.witnessed_number:
            self.found.witnessed_number, self.found.witnessed_by = head.number, witness.by


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
