"""The verified credentials that a node knows, by their digest, and which keys an id has (SPEC 6.3).

Guarantees: an id has one pair of keys, whoever vouches for others: the first that was learnt stays, but what the
authority itself signed goes before what an issuer did, and a higher serial of the authority's before a lower one. What
is displaced is not believed any more. A CURVE key belongs to the id that proved to have it. Neither can an issuer make
anybody forgotten whom the authority vouches for: what is forgotten beyond the bound is issuers' members first, and of
those what was used longest ago.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from fabric.protocol.credentials import Credential
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import CREDENTIALS_CACHED_MAX

_REFUSED_MAX = 1_024
# What one id signed under former credentials is still on its way; more of them than this is nobody's honest need.
_PER_ID_MAX = 4


class Known(Mapping[bytes, Credential]):
    def __init__(self, own: Credential, credentials_max: int = CREDENTIALS_CACHED_MAX) -> None:
        self._max = credentials_max
        self._own_id = own.id
        # Those that the authority signed, and issuers' members; each in the order of use.
        self._authority_s: OrderedDict[bytes, Credential] = OrderedDict()
        self._issuers: OrderedDict[bytes, Credential] = OrderedDict()
        self._of_id: dict[str, list[Credential]] = {}  # by serial, the newest last
        self._owner: dict[bytes, str] = {}  # of a CURVE key, as it was proved
        self._refused: OrderedDict[bytes, Reject] = OrderedDict()
        self._unsettled: dict[str, None] = {}  # ids that have two pairs of keys, since what was restored last
        assert self.meet(own) is None

    def __getitem__(self, digest: bytes) -> Credential:
        for known in (self._authority_s, self._issuers):
            if digest in known:
                known.move_to_end(digest)
                return known[digest]
        raise KeyError(digest)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._authority_s
        yield from self._issuers

    def __len__(self) -> int:
        return len(self._authority_s) + len(self._issuers)

    def newest(self, id_: str) -> Credential | None:
        """What was issued last to this id, of what is known here."""
        known = self._of_id.get(id_)
        return known[-1] if known else None

    def learn(self, credential: Credential) -> Reject | None:
        """Remember a verified credential, unless its id belongs to other keys."""
        newest = self.newest(credential.id)
        if newest is not None and _keys(newest) != _keys(credential):
            if credential.id == self._own_id or not _outranks(credential, newest):
                return Reject(Code.REUSED_ID, credential.id)
            self._displace(credential.id)
        self._remember(credential)
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
        if problem is None:
            self._owner[credential.curve_key] = credential.id
        return problem

    def restore(self, credential: Credential) -> None:
        """From disk: whatever signed what is held there is to be known, also if it was displaced since."""
        self._remember(credential)
        if any(_keys(each) != _keys(credential) for each in self._of_id.get(credential.id, ())):
            self._unsettled[credential.id] = None

    def settle(self) -> None:
        """After `restore`: of an id with two pairs of keys only the one that goes before the other is believed."""
        unsettled, self._unsettled = self._unsettled, {}
        for id_ in unsettled:
            known = self._of_id.get(id_, [])
            best = self.newest(id_)
            for credential in known:
                if best is not None and _keys(credential) != _keys(best) and _outranks(credential, best):
                    best = credential
            for credential in [each for each in known if best is not None and _keys(each) != _keys(best)]:
                self._drop(credential, Reject(Code.REUSED_ID, id_))

    def refuse(self, digest: bytes, why: Reject) -> None:
        """It was introduced and will not do: whoever signs under it is told that, and not asked for it again."""
        self._refused[digest] = why
        if len(self._refused) > _REFUSED_MAX:
            self._refused.popitem(last=False)

    def why_not(self, digest: bytes) -> Reject:
        """Of a digest that is not in here: UNKNOWN_SIGNER asks for it."""
        return self._refused.get(digest, Reject(Code.UNKNOWN_SIGNER))

    # -- inside -------------------------------------------------------------------------------------------

    def _remember(self, credential: Credential) -> None:
        ranked = self._issuers if credential.issuers else self._authority_s
        if credential.digest not in ranked:
            ranked[credential.digest] = credential
            self._refused.pop(credential.digest, None)
            known = self._of_id.setdefault(credential.id, [])
            known.append(credential)
            known.sort(key=lambda each: each.serial)
            if len(known) > _PER_ID_MAX:
                self._drop(known[0])
        ranked.move_to_end(credential.digest)
        while len(self) > self._max and self._forget_one():
            continue

    def _forget_one(self) -> bool:
        for ranked in (self._issuers, self._authority_s):
            for credential in ranked.values():
                if credential.id != self._own_id:
                    self._drop(credential)
                    return True
        return False

    def _displace(self, id_: str) -> None:
        for credential in list(self._of_id.get(id_, ())):
            self._drop(credential, Reject(Code.REUSED_ID, id_))

    def _drop(self, credential: Credential, why: Reject | None = None) -> None:
        for ranked in (self._authority_s, self._issuers):
            ranked.pop(credential.digest, None)
        known = self._of_id[credential.id]
        known.remove(credential)
        if not known:
            del self._of_id[credential.id]
            if self._owner.get(credential.curve_key) == credential.id:
                del self._owner[credential.curve_key]
        if why is not None:
            self.refuse(credential.digest, why)


def _keys(credential: Credential) -> tuple[bytes, bytes]:
    return credential.curve_key, credential.sign_key


def _outranks(credential: Credential, other: Credential) -> bool:
    """Whether it gives their common id its keys: the authority's word, and of that the latest."""
    return not credential.issuers and (bool(other.issuers) or credential.serial > other.serial)


def unknown(credentials: Mapping[bytes, Credential], digest: bytes) -> Reject:
    """Why there is no such credential: it was refused, or nobody introduced it."""
    return credentials.why_not(digest) if isinstance(credentials, Known) else Reject(Code.UNKNOWN_SIGNER)
