"""Whom a node trusts (SPEC 6): the authority's key, known credentials, the revocation list and the policies in force.

Guarantees: a credential is known when it verified and its id and keys are nobody else's; a revocation list and
policies are replaced by newer ones only, and whoever is on the list passes no check from that moment. Sends nothing,
and knows no time but what it is asked by.
"""

from __future__ import annotations

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import LIST_GRACE_MS
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Clocks, Credential, check_validity_by, digest_of
from fabric.protocol.trust.known import Known, supersedes
from fabric.protocol.trust.policies import Policies, verify_policies
from fabric.protocol.trust.revocations import Revocations, verify_revocations


class TrustStore:
    """`own`: this node's credential, which names its fabric. `authority_key`: who signs for that."""

    def __init__(self, own: Credential, authority_key: bytes, skew_ms: int) -> None:
        self.fabric = own.fabric
        self.authority_key = authority_key
        self._skew_ms = skew_ms
        self._credentials = Known(own)
        self._revocations = Revocations()
        self._policies = Policies()

    # -- credentials --------------------------------------------------------------------------------------

    @property
    def credentials(self) -> Known:
        """By digest. To add one is this store's: here they are looked up."""
        return self._credentials

    def introduce(self, raw: bytes) -> Credential | Reject:
        """A credential that a peer passed on. What was looked at before costs no signature more."""
        digest = digest_of(raw)
        known = self._credentials.get(digest) or self._credentials.refused_for_good(digest)
        if known is not None:
            return known
        # Whether it is still valid is asked at every use: refused here, its messages would be asked for for ever.
        checked = verify_credential(raw, self.authority_key, self.fabric)
        if not isinstance(checked, Reject):
            checked = self._credentials.learn(checked) or checked
        if isinstance(checked, Reject):
            self._credentials.refuse(digest, checked)
        return checked

    def meet(self, peer: Credential) -> Reject | None:
        """Know a verified credential, of a peer that proved to have its CURVE key."""
        return self._credentials.meet(peer)

    def in_force(self, peer: Credential, clocks_ms: Clocks) -> Credential:
        """What gives a peer that was met its rights: the newest that is known of it and counts now, else this one.

        So nobody becomes by a former credential what it was before it was renewed.
        """
        newest = self._credentials.newest(peer.id)
        if newest is None or not supersedes(newest, peer):
            return peer
        is_same = (newest.kind, newest.curve_key) == (peer.kind, peer.curve_key)
        return newest if is_same and self.check(newest, clocks_ms) is None else peer

    def floor(self, their_list: int) -> int:
        """The lowest version of the protocol that may be spoken with a peer that has this version of the list; 0: any.

        One that has a newer list may know of a lower floor. Nothing is taken from it before the list came.
        """
        return self._revocations.floor if their_list <= self._revocations.version else 0

    def renewed(self, own: Credential) -> None:
        """This node goes on under a newer credential of its own."""
        self._credentials.learn(own)

    def restore_credential(self, raw: bytes) -> None:
        """From disk, after which `settle` is called once. One that does not verify any more is ignored."""
        credential = verify_credential(raw, self.authority_key, self.fabric)
        if isinstance(credential, Credential):
            self._credentials.restore(credential)

    def settle(self) -> None:
        """Everything is back from disk: of an id with two pairs of keys only one is believed."""
        self._credentials.settle()

    # -- the revocation list --------------------------------------------------------------------------------

    @property
    def revocations(self) -> Revocations:
        """The list in force; version 0 before there is any."""
        return self._revocations

    def read_revocations(self, raw: bytes) -> Revocations | Reject:
        """What this list says, if it is the authority's for this fabric. It is not put in force."""
        return verify_revocations(raw, self.authority_key, self.fabric)

    def take_revocations(self, lists: Revocations) -> bool:
        """Put a verified list in force, if it is newer than the one that is; whether it was."""
        if not lists.supersedes(self._revocations):
            return False
        self._revocations = lists
        return True

    def restore_revocations(self, raw: bytes) -> None:
        """From disk. One that does not verify any more is ignored."""
        lists = self.read_revocations(raw)
        if isinstance(lists, Revocations):
            self.take_revocations(lists)

    # -- the policies ---------------------------------------------------------------------------------------

    @property
    def policies(self) -> Policies:
        """The approval policies in force; version 0 before there are any."""
        return self._policies

    def read_policies(self, raw: bytes) -> Policies | Reject:
        """What these policies say, if they are the authority's for this fabric. They are not put in force."""
        return verify_policies(raw, self.authority_key, self.fabric)

    def take_policies(self, policies: Policies) -> bool:
        """Put verified policies in force, if they are newer than those that are; whether they were."""
        if not policies.supersedes(self._policies):
            return False
        self._policies = policies
        return True

    def restore_policies(self, raw: bytes) -> None:
        """From disk. What does not verify any more is ignored."""
        policies = self.read_policies(raw)
        if isinstance(policies, Policies):
            self.take_policies(policies)

    # -- checks -------------------------------------------------------------------------------------------

    def check(self, credential: Credential, clocks_ms: Clocks) -> Reject | None:
        """REVOKED, or CREDENTIAL_EXPIRED where it is valid by none of these times."""
        revoked = self._revocations.check(credential)
        return revoked or check_validity_by(credential, clocks_ms, self._skew_ms)

    def left_ms(self, credential: Credential, clocks_ms: Clocks) -> int:
        """How long it is until a credential is valid by none of these clocks."""
        return max(0, credential.not_after_ms + self._skew_ms + 1 - min(clocks_ms))

    def check_raw(self, raw: bytes, clocks_ms: Clocks) -> Credential | Reject:
        """The credential in these bytes, verified and checked. It is not known by that."""
        credential = verify_credential(raw, self.authority_key, self.fabric)
        if isinstance(credential, Reject):
            return credential
        return self.check(credential, clocks_ms) or credential

    def check_action(self, requester: Credential, segment: str, clocks_ms: Clocks) -> Reject | None:
        """Whether who is revoked, and whose approval is due, is known well enough to act for this requester.

        `segment`: of the node that asks. Its own go on for a while after the list is over. Before a first list nobody
        was revoked, and nobody is asked before there are policies.
        """
        if self._policies.version < self._revocations.policies:
            versions = f"version {self._policies.version}, not {self._revocations.policies}"
            return Reject(Code.STALE_POLICIES, versions)
        grace_ms = LIST_GRACE_MS if requester.segment == segment else 0
        over = self.list_is_over(clocks_ms, grace_ms)
        return Reject(Code.LIST_EXPIRED, f"version {self._revocations.version}") if over else None

    def list_is_over(self, clocks_ms: Clocks, grace_ms: int = 0) -> bool:
        """Whether the list in force is past its time, by all of these times."""
        lists = self._revocations
        return lists.version > 0 and min(clocks_ms) > lists.not_after_ms + self._skew_ms + grace_ms
