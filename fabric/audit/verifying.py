"""Verify an audit log on disk, and read it (SPEC 9.10): offline, without the node, while the node writes or not.

Guarantees: nothing is changed; a file that the disk does not give is an error of its own, and no verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fabric.audit.segments import LOG_BYTES_MAX, READ_BYTES_MAX, Segment, read_signed, rest_on_disk, segments
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import Entry, decode_entry
from fabric.protocol.audit.checking import Checker, Found, Known
from fabric.protocol.audit.heads import Head, open_witness, read_head
from fabric.protocol.audit.records import read_records
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.trust.chain import verify_credential

# Each time as much has to be written meanwhile as a segment holds.
_TRIES: Final = 8


def verify_log(
    folder: Path, authority_key: bytes, fabric: str = "", node: str = "", known: tuple[Known, ...] = (), *,
    bytes_max: int = LOG_BYTES_MAX,
) -> Found:
    """All of it. `known`: what others know of it; `bytes_max`: it lets nothing go before it has as many. Raises
    FabricError (AUDIT_UNREADABLE, NO_AUDIT)."""
    for _ in range(_TRIES):
        try:
            return _verify(folder, authority_key, fabric, node, known, bytes_max)
        except FileNotFoundError:
            continue  # its oldest segment went meanwhile: it is read anew
        except OSError as error:
            raise _unreadable(folder, error) from error
    raise FabricError(Code.AUDIT_UNREADABLE, f"{folder}: its segments go faster than they are read")


def _verify(
    folder: Path, authority_key: bytes, fabric: str, node: str, known: tuple[Known, ...], bytes_max: int
) -> Found:
    """Raises OSError: FileNotFoundError where a segment was there, and is not any more."""
    # What was signed is read first: the log only grows, so that it is in what is read afterwards.
    signed = _signed(folder, authority_key, fabric)
    found = segments_of(folder)
    checker = Checker(authority_key, fabric, node, (*signed, *known))
    total = 0
    for segment in found:
        data, ends = segment.read(), 0
        size = segment.size()
        total += size
        checker.begins(segment.first)
        for record in read_records(data):
            checker.take(record)
            ends = record.ends
        if size > READ_BYTES_MAX:
            checker.too_large(size - ends)
        else:
            checker.ends(rest_on_disk(data, ends), len(data) - ends, is_last=segment is found[-1])
    if total < bytes_max // 2:
        checker.had_room()
    return checker.finish()


def entries_of(folder: Path) -> Iterator[Entry]:
    """Those that can be read, the oldest first. Verifies nothing. Raises FabricError (AUDIT_UNREADABLE, NO_AUDIT)."""
    for segment in segments_of(folder):
        try:
            data = segment.read()
        except FileNotFoundError:
            continue  # it was the oldest, and went meanwhile
        except OSError as error:
            raise _unreadable(folder, error) from error
        for record in read_records(data):
            entry = decode_entry(record.entry)
            if isinstance(entry, Entry):
                yield entry


def segments_of(folder: Path) -> list[Segment]:
    """At least one. Raises FabricError (AUDIT_UNREADABLE, NO_AUDIT)."""
    try:
        found = segments(folder)
    except FileNotFoundError:
        found = []
    except OSError as error:
        raise _unreadable(folder, error) from error
    if not found:
        raise FabricError(Code.NO_AUDIT, str(folder))
    return found


def heads_taken(folder: Path, node: str) -> list[Head]:
    """The heads of this node that the log in this folder has, in the order in which they came. Raises FabricError."""
    taken = []
    for entry in entries_of(folder):
        raw = entry.fields.get("head")
        if entry.kind in (kinds.HEAD_TAKEN, kinds.HEAD_REFUSED) and isinstance(raw, bytes):
            head = read_head(raw)
            if isinstance(head, Head) and head.node == node:
                taken.append(head)
    return taken


def _signed(folder: Path, authority_key: bytes, fabric: str) -> list[Known]:
    """What lies beside the log: how far it went, by the node's own signature and by its parent's."""
    signed, known = read_signed(folder), []
    own = read_head(signed.head)
    if isinstance(own, Head):
        known.append(Known(own.log, own.number, own.hash, f"its own head of entry {own.number:,}"))
    seen = read_head(signed.witnessed)
    if isinstance(seen, Head):
        by = verify_credential(signed.by, authority_key, fabric) if authority_key and fabric else None
        witness = None if by is None or isinstance(by, Reject) else open_witness(signed.witness, by)
        if witness is not None and not isinstance(witness, Reject) and witness.head == seen.digest:
            by_whom = f"its head of entry {seen.number:,}, which {witness.by} counter-signed"
            known.append(Known(seen.log, seen.number, seen.hash, by_whom))
    return known


def _unreadable(folder: Path, error: OSError) -> FabricError:
    return FabricError(Code.AUDIT_UNREADABLE, f"{error.filename or folder}: {error.strerror}")
