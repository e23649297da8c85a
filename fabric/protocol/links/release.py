"""What of a message may be held by whom (SPEC 3.5, 4, 5): asked on arrival, and again before it is sent on.

Guarantees: nothing leaves that its receiver may not hold, that has expired, or whose origin was revoked.
"""

from __future__ import annotations

from collections.abc import Collection

from fabric.protocol.access.permissions import parts_withheld
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, TARGETS_MAX
from fabric.protocol.core.counters import Counters
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.envelope.layout import redact
from fabric.protocol.envelope.lifetime import expired
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.link import Link
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.trust.store import TrustStore

# Hops, ages and the frame itself.
_FRAMING_BYTES = 4_096


class Release:
    """It keeps nothing."""

    def __init__(self, trust: TrustStore, time: Timekeeper, skew_ms: int, counters: Counters) -> None:
        self._trust = trust
        self._time = time
        self._skew_ms = skew_ms
        self._count = counters.count

    def fit(self, row: Row, link: Link, now_ms: int) -> Verified | Reject:
        """What of a held message may go to this peer, now: the last look before it leaves."""
        assert link.peer is not None
        fitted = self.why_over(row.held, now_ms) or self.strip(row.held.message, link.peer)
        if row.targets and isinstance(fitted, Verified) and not fits_in_frame(fitted, row.targets):
            return Reject(Code.TOO_LARGE, "targets")  # the peer would end the link for it, again and again
        return fitted

    def why_over(self, held: Held, now_ms: int) -> Reject | None:
        """Why a held message goes no further, if it does not: its origin was revoked, or its time is over."""
        revoked = self._trust.revocations.check(held.message.credential)
        if revoked is not None:
            return revoked
        is_over = self.is_expired(held.message, held.age_at(now_ms), now_ms)
        return Reject(Code.EXPIRED) if is_over else None

    def strip(self, message: Verified, holder: Credential) -> Verified | Reject:
        """The message as this holder may have it, or WITHHELD when it may not know of it or not use the rest."""
        header = message.header
        withheld = parts_withheld(holder, header)
        if isinstance(withheld, Reject):
            self._count("withheld", header.label.short)
            return withheld
        stripped = [
            entry for entry, part in zip(header.manifest, message.envelope.parts, strict=True)
            if part is not None and entry in withheld
        ] if withheld else ()
        if stripped:  # else what it may not have was stripped before
            envelope = redact(message.envelope, header.manifest, lambda entry: entry not in withheld)
            message = message.with_parts_of(envelope)
            for entry in stripped:
                self._count("stripped", entry.label.short)
        if header.kind.atomic and message.withheld:
            return Reject(Code.WITHHELD, holder.id)
        return message

    def is_expired(self, message: Verified, age_ms: int, now_ms: int) -> bool:
        header = message.header
        return expired(
            issued_at_ms=message.counts_from_ms,
            ttl_ms=header.ttl_ms,
            age_ms=age_ms,
            now_ms=self._time.now(now_ms),
            skew_ms=self._skew_ms,
            by_age_only=self._time.by_age_only(now_ms),
        )


def target_bytes(name: str) -> int:
    """What a target's name takes in a frame or a report, at most."""
    return len(name.encode()) + 2


def fits_in_frame(message: Verified, targets: Collection[str]) -> bool:
    """Whether a frame takes a message and the names of all whom it is for."""
    return len(targets) <= TARGETS_MAX and (
        sum(map(target_bytes, targets)) + len(message.raw) <= FRAME_BYTES_MAX - _FRAMING_BYTES
    )
