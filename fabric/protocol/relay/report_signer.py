"""Signs what a relay says itself (SPEC 7.5, 7.9, 9.4): gap markers, notices, reports of actions.

Guarantees: each is signed under the relay's newest credential, with a sequence number of its own and the root's time.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.protocol.base.signing import Signer
from fabric.protocol.envelope.reports import Report
from fabric.protocol.envelope.verify import OwnRoots, RootCache, Verified, open_envelope
from fabric.protocol.trust.credentials import Credential


class ReportSigner:
    """`entropy(n)` gives n random bytes. `fabric_now`: the root's time at a time of the relay's own clock.

    `known`: the credential of the node with this id, where there is one.
    """

    def __init__(
        self, me: Credential, signer: Signer, entropy: Callable[[int], bytes], roots: RootCache,
        fabric_now: Callable[[int], int], time_unknown: Callable[[], bool],
        known: Callable[[str], Credential | None] = lambda _id: None,
    ) -> None:
        self._known = known
        self._me = me
        self._signer = OwnRoots(signer, roots)
        self._entropy = entropy
        self._roots = roots
        self._fabric_now = fabric_now
        self._time_unknown = time_unknown
        self._signed = 0

    @property
    def me(self) -> Credential:
        """The credential that is signed under."""
        return self._me

    def renewed(self, credential: Credential) -> None:
        """From now on it is signed under this one: the same node, the same keys."""
        self._me = credential

    def sign(self, report: Report, now_ms: int) -> Verified:
        """Its sender trusts it like anybody else: by opening it."""
        self._signed += 1
        # A report cannot wait for the time, and is about something that says when it was.
        at_ms = report.header.issued_at_ms if self._time_unknown() else self._fabric_now(now_ms)
        told = self._known(report.header.to)
        raw = report.sealed(self._me, self._signer, self._signed, at_ms, self._entropy, told)
        signed = open_envelope(raw, {self._me.digest: self._me}, self._roots)
        assert isinstance(signed, Verified)
        return signed
