"""The verified credentials that a node knows, by their digest, and which keys an id has (SPEC 6.3).

Guarantees: an id has one pair of keys and a key one id, whoever vouches for another: the first that was learnt stays.
Only the authority itself gives an id other keys, under a higher serial; the former ones come no more. What is
forgotten beyond the bound is what was used longest ago.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from fabric.protocol.credentials import Credential
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import CREDENTIALS_CACHED_MAX

_REFUSED_MAX = 1_024


class Known(Mapping[bytes, Credential]):
    def __init__(self, own: Credential, credentials_max: int = CREDENTIALS_CACHED_MAX) -> None:
        self._max = credentials_max
        self._by_digest: OrderedDict[bytes, Credential] = OrderedDict()
        self._newest: dict[str, Credential] = {}  # by id: the highest serial
        self._owner: dict[bytes, str] = {}  # of a CURVE or signing key
        self._refused: OrderedDict[bytes, Reject] = OrderedDict()
        assert self.learn(own) is None

    def __getitem__(self, digest: bytes) -> Credential:
        return self._by_digest[digest]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._by_digest)

    def __len__(self) -> int:
        return len(self._by_digest)

    def newest(self, id_: str) -> Credential | None:
        """What was issued last to this id, of what is known here."""
        return self._newest.get(id_)

    def learn(self, credential: Credential) -> Reject | None:
        """Remember a verified credential, unless its id or one of its keys belongs to another."""
        problem = self._conflict(credential)
        if problem is not None:
            return problem
        if credential.digest not in self._by_digest:
            self._by_digest[credential.digest] = credential
            newest = self._newest.get(credential.id)
            if newest is None or credential.serial > newest.serial:
                self._newest[credential.id] = credential
            for key in (credential.curve_key, credential.sign_key):
                self._owner[key] = credential.id
        self._by_digest.move_to_end(credential.digest)
        if len(self._by_digest) > self._max:
            self._forget(self._by_digest.popitem(last=False)[1])
        return None

    def refuse(self, digest: bytes, why: Reject) -> None:
        """It was introduced and will not do: whoever signs under it is told that, and not asked for it again."""
        self._refused[digest] = why
        if len(self._refused) > _REFUSED_MAX:
            self._refused.popitem(last=False)

    def why_not(self, digest: bytes) -> Reject:
        """Of a digest that is not in here: UNKNOWN_SIGNER asks for it."""
        return self._refused.get(digest, Reject(Code.UNKNOWN_SIGNER))

    def _conflict(self, credential: Credential) -> Reject | None:
        for key in (credential.curve_key, credential.sign_key):
            owner = self._owner.get(key, credential.id)
            if owner != credential.id:
                return Reject(Code.REUSED_KEY, f"{credential.id} and {owner}")
        newest = self._newest.get(credential.id)
        if newest is None or _keys(newest) == _keys(credential):
            return None
        anew = not credential.issuers and credential.serial > newest.serial
        return None if anew else Reject(Code.REUSED_ID, credential.id)

    def _forget(self, credential: Credential) -> None:
        if self._newest.get(credential.id) is not credential:
            return
        del self._newest[credential.id]
        for key in _keys(credential):
            self._owner.pop(key, None)


def _keys(credential: Credential) -> tuple[bytes, bytes]:
    return credential.curve_key, credential.sign_key


def unknown(credentials: Mapping[bytes, Credential], digest: bytes) -> Reject:
    """Why there is no such credential: it was refused, or nobody introduced it."""
    return credentials.why_not(digest) if isinstance(credentials, Known) else Reject(Code.UNKNOWN_SIGNER)
