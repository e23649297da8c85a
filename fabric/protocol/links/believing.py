"""Whom a node trusts (SPEC 6): credentials as they are introduced and renewed, and the revocation list in force.

Guarantees: a credential is known when it verified and its id and keys are nobody else's; a list takes effect in one
step: peers on it are cut, and all others are told. A peer goes on under its newer credential; as long as its link lives
it is checked that it may still be there. A subclass says what else follows from a list.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import FORGED_MAX, STALL_MS
from fabric.protocol.core.ready import KeepLists, Note, Ready
from fabric.protocol.links.directing import Directing
from fabric.protocol.links.link import Link
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, digest_of
from fabric.protocol.trust.known import supersedes
from fabric.protocol.trust.revocations import Revocations, verify_revocations
from fabric.protocol.wire.frames import Intro

# Nobody's word: no honest peer passes such a credential on.
_FORGED = frozenset({Code.BAD_CREDENTIAL, Code.BROKEN_CHAIN})


class Believing(Directing):
    """A node that takes credentials and revocation lists from its peers, and hands them on."""

    # -- what a subclass says ---------------------------------------------------------------------------

    def on_renewed(self, now_ms: int, ready: Ready) -> None:
        """This node has a newer credential: what it says of itself is to be signed under that."""

    def on_lists(self, now_ms: int, ready: Ready) -> None:
        """A newer revocation list is in force. What waits for a reader may go, where that one is on it."""
        for outbox in self.outboxes.values():
            outbox.ask()

    # -- credentials ------------------------------------------------------------------------------------

    def _on_intro(self, link: Link, credentials: list[bytes], now_ms: int, ready: Ready) -> None:
        forged = 0
        for raw in credentials:
            introduced = self._introduced(raw)
            if isinstance(introduced, Credential):
                self._may_be_renewed(link, introduced, now_ms)
                continue
            self.count("refused", introduced.code.reason)
            forged += introduced.code in _FORGED
            if forged >= FORGED_MAX:
                self.refuse(link, Reject(introduced.code, "too many in one frame"), now_ms, ready)
                return

    def _introduced(self, raw: bytes) -> Credential | Reject:
        """What was looked at before costs no signature more."""
        digest = digest_of(raw)
        known = self.credentials.get(digest) or self.credentials.refused_for_good(digest)
        if known is not None:
            return known
        # Whether it is still valid is asked at every use: refused here, its messages would be asked for for ever.
        checked = verify_credential(raw, self.trust.authority_key, self.me.fabric)
        if not isinstance(checked, Reject):
            checked = self.credentials.learn(checked) or checked
        if isinstance(checked, Reject):
            self.credentials.refuse(digest, checked)
        return checked

    def _may_be_renewed(self, link: Link, credential: Credential, now_ms: int) -> None:
        """The peer goes on under a newer credential of its own: what it may follows that from now on."""
        peer = link.peer
        if peer is None or (peer.id, peer.kind) != (credential.id, credential.kind):
            return
        if not supersedes(credential, peer):
            return
        if credential.curve_key == link.peer_key and self.trust.check(credential, self.clocks(now_ms)) is None:
            link.peer = credential

    def _renewed(self, credential: Credential, now_ms: int, ready: Ready) -> None:
        """This node's own credential was issued anew: the same node, the same keys. No link has to end for that."""
        assert (credential.id, credential.curve_key) == (self.me.id, self.me.curve_key)
        self.me = credential
        self.credentials.learn(credential)
        for link in self.links.values():
            if link.is_open:
                link.introduces(credential.digest)
                self.send(link, Intro([credential.raw]), ready)
        ready.notes.append(Note("credential renewed", {"serial": credential.serial}))
        self.on_renewed(now_ms, ready)

    def still_believed(self, link: Link, now_ms: int) -> Reject | None:
        """Of an open link, a few times a second: why its peer is not to stay."""
        if link.put_off_since_ms and self.trust.revocations.version >= link.lists_version:
            link.put_off_since_ms = 0
        if link.put_off_since_ms and now_ms - link.put_off_since_ms > STALL_MS:
            return Reject(Code.STALE_LIST, "the newer one that was announced does not come")
        over = self.trust.check(link.peer, self.clocks(now_ms)) if link.peer is not None else None
        return over if self.for_now(over) is over else None

    # -- revocation lists -------------------------------------------------------------------------------

    def list_is_over(self, now_ms: int) -> bool:
        """Whether the revocation list in force is past its time, so that actions of others' segments stop."""
        lists = self.trust.revocations
        over = lists.version > 0 and min(self.clocks(now_ms)) > lists.not_after_ms + self.skew_ms
        return over and not self.time_unknown

    def _on_lists(self, link: Link, raw: bytes, now_ms: int, ready: Ready) -> None:
        """From any peer: it is the authority's word, whoever brings it. One that is not is a lie, and ends the link."""
        lists = verify_revocations(raw, self.trust.authority_key, self.me.fabric)
        if isinstance(lists, Reject):
            self.refuse(link, lists, now_ms, ready)
        else:
            self._put_in_force(lists, now_ms, ready, link)

    def apply_lists(self, raw: bytes, now_ms: int, ready: Ready) -> Reject | None:
        """A list that the driver found: put it in force if it is newer than the one that is."""
        lists = verify_revocations(raw, self.trust.authority_key, self.me.fabric)
        if isinstance(lists, Reject):
            self.count("refused", lists.code.reason)
            return lists
        return self._put_in_force(lists, now_ms, ready)

    def _put_in_force(
        self, lists: Revocations, now_ms: int, ready: Ready, source: Link | None = None
    ) -> Reject | None:
        """Cut the links of who is on it, and pass it on to all but its source."""
        raw = lists.raw
        if not lists.supersedes(self.trust.revocations):
            if raw == self.trust.revocations.raw:
                return None
            self.count("refused", Code.STALE_LIST.reason)
            return Reject(Code.STALE_LIST)
        self.trust.revocations = lists
        ready.persist.append(KeepLists(raw))
        for link in list(self.links.values()):
            if link.peer is None:
                continue
            revoked = lists.check(link.peer)
            if revoked is not None:
                if link.is_open and link is not source:
                    self.say_lists(link, ready)  # a relay's word alone ends no control point that has another
                self.refuse(link, revoked, now_ms, ready)
            elif link.is_open and link is not source:
                self.say_lists(link, ready)
        ready.notes.append(Note("revocations applied", {"version": lists.version, "revoked": len(lists.ids)}))
        self.on_lists(now_ms, ready)
        return None
