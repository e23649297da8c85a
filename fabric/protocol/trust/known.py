"""The verified credentials that a node knows, by their digest, and which keys an id has (SPEC 6.3).

Guarantees: an id has one pair of keys, whoever vouches for others: the first that was learnt stays, but a credential
that the authority signed takes precedence over an issuer's, and of the authority's the one with the higher serial. A
displaced credential is not trusted any more. A CURVE key belongs to the id that proved to have it. Each voucher has
room of its own: an issuer cannot cause those to be forgotten for whom the authority or another issuer vouches, neither
by many members nor by many credentials of one. What was learnt last is never what is forgotten to make room for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX
from fabric.protocol.trust.credentials import Credential

_REFUSED_MAX = 1_024
# What one id signed under former credentials is still on its way; more of them than this is nobody's honest need.
_PER_ID_MAX = 4
# Whoever vouches: the authority, or the issuer whose credential the authority signed, with all issuers below it.
_AUTHORITY = ""
# Refusals that lie in the bytes of a credential: it is no better when it comes again.
_FOR_GOOD = frozenset({
    Code.MALFORMED, Code.TOO_LARGE, Code.TOO_DEEP, Code.BAD_CREDENTIAL, Code.BROKEN_CHAIN, Code.WIDER_THAN_ISSUER,
    Code.WRONG_FABRIC,
})


class Known(Mapping[bytes, Credential]):
    """Verified credentials by digest, this node's own among them. To look one up counts as using it."""

    def __init__(self, own: Credential, credentials_max: int = CREDENTIALS_CACHED_MAX) -> None:
        self._max = credentials_max
        self._own_id = own.id
        # Those that each vouches for, in the order of use.
        self._vouched: dict[str, OrderedDict[bytes, Credential]] = {}
        self._voucher: dict[bytes, str] = {}  # of each digest
        self._of_id: dict[str, list[Credential]] = {}  # in rank, the newest last
        self._owner: dict[bytes, str] = {}  # of a CURVE key, as it was proved
        self._refused: OrderedDict[bytes, Reject] = OrderedDict()
        self._restored: dict[str, None] = {}  # ids of which some came from disk, until `settle`
        self.replaced = 0  # how often what an id is known by changed
        assert self.meet(own) is None

    def __getitem__(self, digest: bytes) -> Credential:
        known = self._vouched[self._voucher[digest]]
        known.move_to_end(digest)
        return known[digest]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._voucher)

    def __len__(self) -> int:
        return len(self._voucher)

    def voucher_of(self, digest: bytes) -> str:
        """Which issuer vouches for who has this credential; empty: the authority, or it is not known."""
        return self._voucher.get(digest, _AUTHORITY)

    def newest(self, id_: str) -> Credential | None:
        """What gives this id its rights, of what is known here: the authority's word first, and then the latest."""
        known = self._of_id.get(id_)
        return known[-1] if known else None

    def learn(self, credential: Credential) -> Reject | None:
        """Remember a verified credential, unless its id belongs to other keys."""
        newest = self.newest(credential.id)
        if newest is not None and _keys(newest) != _keys(credential):
            if credential.id == self._own_id or not _outranks(credential, newest):
                return Reject(Code.REUSED_ID, credential.id)
            self._displace(credential.id)
        self._add(credential)
        self._trim_id(credential)
        self._trim_all(credential)
        return None

    def meet(self, credential: Credential) -> Reject | None:
        """`learn` it, of a peer that proved to have its CURVE key: nobody else is to have that."""
        owner = self._owner.get(credential.curve_key, credential.id)
        if owner != credential.id:
            holder = self.newest(owner)
            if owner == self._own_id or (holder is not None and not (holder.issuers and not credential.issuers)):
                return Reject(Code.REUSED_KEY, f"{credential.id} and {owner}")
            self._displace(owner)
        problem = self.learn(credential)
        if problem is None and credential.digest in self._voucher:
            self._owner[credential.curve_key] = credential.id
        return problem

    def restore(self, credential: Credential) -> None:
        """From disk: whatever signed what is held there is to be known, also if it was displaced since."""
        self._add(credential)
        self._restored[credential.id] = None
        self._trim_all(credential)

    def settle(self) -> None:
        """After `restore`: of an id with two pairs of keys only the one that goes before the other is believed."""
        restored, self._restored = self._restored, {}
        for id_ in restored:
            best: Credential | None = None
            for credential in self._of_id.get(id_, ()):
                differs = best is not None and _keys(credential) != _keys(best)
                if best is None or not differs or _outranks(credential, best):
                    best = credential
            for credential in list(self._of_id.get(id_, ())):
                if best is not None and _keys(credential) != _keys(best):
                    self._drop(credential, Reject(Code.REUSED_ID, id_))
            for best in [*self._of_id.get(id_, ())][::-1]:
                self._trim_id(best)

    def refuse(self, digest: bytes, why: Reject) -> None:
        """It was introduced and refused: who signs under it is told why, and is not asked to introduce it again."""
        self._refused[digest] = why
        if len(self._refused) > _REFUSED_MAX:
            self._refused.popitem(last=False)

    def why_not(self, digest: bytes) -> Reject:
        """Of a digest that is not in here: UNKNOWN_SIGNER asks for it."""
        return self._refused.get(digest, Reject(Code.UNKNOWN_SIGNER))

    def refused_for_good(self, digest: bytes) -> Reject | None:
        """Why the credential with this digest need not be looked at once more."""
        why = self._refused.get(digest)
        return why if why is not None and why.code in _FOR_GOOD else None

    # -- inside -------------------------------------------------------------------------------------------

    def _add(self, credential: Credential) -> None:
        voucher = credential.voucher
        known = self._vouched.setdefault(voucher, OrderedDict())
        if credential.digest not in known:
            known[credential.digest] = credential
            self._voucher[credential.digest] = voucher
            self._refused.pop(credential.digest, None)
            of_id = self._of_id.setdefault(credential.id, [])
            self.replaced += bool(of_id)
            of_id.append(credential)
            of_id.sort(key=_rank)
        known.move_to_end(credential.digest)

    def _trim_id(self, spared: Credential) -> None:
        """Of one id each who vouches keeps few: the lowest serials go, but never what came just now."""
        if spared.digest not in self._voucher:
            return
        voucher = spared.voucher
        others = [
            each for each in self._of_id[spared.id]
            if each.voucher == voucher and each.digest != spared.digest
        ]
        for each in others[: max(0, len(others) + 1 - _PER_ID_MAX)]:
            self._drop(each)

    def _trim_all(self, spared: Credential) -> None:
        """Of all, issuers' members go first, of the issuer with most of them, and what was used longest ago."""
        while len(self) > self._max:
            issuers = [name for name in self._vouched if name != _AUTHORITY]
            most = max(issuers, key=lambda name: len(self._vouched[name]), default=_AUTHORITY)
            oldest = self._oldest(most, spared)
            if oldest is None and not spared.issuers:
                oldest = self._oldest(_AUTHORITY, spared)
            if oldest is None and spared.id != self._own_id and spared.digest in self._voucher:
                oldest = spared  # all else is the authority's word, and goes before an issuer's
            if oldest is None:
                return
            self._drop(oldest)

    def _oldest(self, voucher: str, spared: Credential) -> Credential | None:
        known = self._vouched.get(voucher, OrderedDict())
        return next((each for each in known.values() if each.id != self._own_id and each.digest != spared.digest), None)

    def _displace(self, id_: str) -> None:
        self.replaced += 1
        for credential in list(self._of_id.get(id_, ())):
            self._drop(credential, Reject(Code.REUSED_ID, id_))

    def _drop(self, credential: Credential, why: Reject | None = None) -> None:
        voucher = self._voucher.pop(credential.digest)
        del self._vouched[voucher][credential.digest]
        if not self._vouched[voucher]:
            del self._vouched[voucher]
        known = [each for each in self._of_id[credential.id] if each.digest != credential.digest]
        self._of_id[credential.id] = known
        if not known:
            del self._of_id[credential.id]
            if self._owner.get(credential.curve_key) == credential.id:
                del self._owner[credential.curve_key]
        if why is not None:
            self.refuse(credential.digest, why)


def _keys(credential: Credential) -> tuple[bytes, bytes]:
    return credential.curve_key, credential.sign_key


def _rank(credential: Credential) -> tuple[bool, int]:
    return not credential.issuers, credential.serial


def supersedes(credential: Credential, other: Credential) -> bool:
    """Of one id, whether the first gives it its rights from now on: the authority's word first, then the latest."""
    return _rank(credential) > _rank(other)


def _outranks(credential: Credential, other: Credential) -> bool:
    """Whether it gives their common id its keys: the authority's word, and of that the latest."""
    return not credential.issuers and (bool(other.issuers) or credential.serial > other.serial)


def unknown(credentials: Mapping[bytes, Credential], digest: bytes) -> Reject:
    """Why there is no such credential: it was refused, or nobody introduced it."""
    return credentials.why_not(digest) if isinstance(credentials, Known) else Reject(Code.UNKNOWN_SIGNER)
