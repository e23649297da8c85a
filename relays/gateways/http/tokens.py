"""Who may: tokens, each with the topics that it is for.

Guarantees: of a secret only its digest is in memory. What a request brings is compared with the digest of every token,
in the same time whatever it brings. A token is narrower than what the gateway is granted, or the source does not begin.
A secret that is changed or taken away on disk counts from the next look on: the old one is nobody's any more.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from typing import Final

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.openc2 import action_covers, action_matches
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import covers, matches
from relays.gateways.http.rates import Bucket
from relays.gateways.http.settings import PUBLISH, STREAM, TokenSpec

_SECRET_CHARS_MIN: Final = 16
_BEARER: Final = "bearer "
# Of topics that were looked up; then all are looked up again.
_TOPICS_MAX: Final = 1_024
# A digest that no secret has.
_NOBODY: Final = b""


class Token:
    """`name` is shown; the secret nowhere. `clearance`: of the gateway."""

    def __init__(self, spec: TokenSpec, digest: bytes, clearance: Label, now_s: Callable[[], float]) -> None:
        self.name = spec.name
        self.digest = digest
        self.changes = 0  # of its secret, since it is there
        self.bucket = Bucket(spec.rate_per_s, now_s)
        self.to = spec.to
        self.clearance = clearance if spec.clearance is None else min(clearance, spec.clearance)
        self._may = spec.may
        self._actions = spec.actions
        self._patterns = spec.topics
        self._known: dict[str, bool] = {}

    def check(self, what: str) -> None:
        """Raises HTTP_DENIED where it may not do this."""
        if not self.may(what):
            raise FabricError(Code.HTTP_DENIED, f"{self.name}: its `may` does not say {what}")

    def may_ask(self, action: str, target_type: str) -> bool:
        """Whether one of its patterns allows the action on targets of the type."""
        return any(action_matches(pattern, action, target_type) for pattern in self._actions)

    def check_read(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Of these patterns all that it reads; of none, all that it may. Raises HTTP_DENIED where it may not."""
        for pattern in wanted:
            if not any(covers(own, pattern) for own in self._patterns):
                raise FabricError(Code.HTTP_DENIED, f"{self.name}: no topic of it covers {pattern}")
        return tuple(wanted) or self._patterns

    def may(self, what: str) -> bool:
        """As `check` says."""
        return what in self._may

    def is_for(self, topic: str) -> bool:
        """Whether one of its patterns covers the topic."""
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= _TOPICS_MAX:
                self._known.clear()
            known = self._known[topic] = any(matches(pattern, topic) for pattern in self._patterns)
        return known


class Tokens:
    """Reads the secrets. `credential`: of the gateway itself. Raises NO_SECRET, HTTP_TOKEN."""

    def __init__(self, specs: Sequence[TokenSpec], credential: Credential, now_s: Callable[[], float]) -> None:
        self._salt = os.urandom(32)
        self._specs = tuple(specs)
        self._tokens: list[Token] = []
        for spec in specs:
            _check_granted(spec, credential)
            self._tokens.append(Token(spec, self._read(spec), credential.clearance, now_s))

    def look(self) -> list[tuple[Token, FabricError | None]]:
        """Those whose file has another secret than before, or none that can be used, and why."""
        changed: list[tuple[Token, FabricError | None]] = []
        for spec, token in zip(self._specs, self._tokens, strict=True):
            if spec.secret.where != "file":
                continue
            why: FabricError | None = None
            try:
                digest = self._read(spec, token)
            except FabricError as error:
                digest, why = _NOBODY, error
            if digest != token.digest:
                token.digest = digest
                token.changes += 1
                changed.append((token, why))
        return changed

    def that_may(self, what: str) -> list[Token]:
        """Those of which `may` says this."""
        return [token for token in self._tokens if token.may(what)]

    def find(self, authorization: str) -> Token:
        """Whose this header is. Raises HTTP_UNKNOWN."""
        has_scheme = authorization[: len(_BEARER)].lower() == _BEARER
        given = authorization[len(_BEARER) :].strip() if has_scheme else ""
        digest = self._digest(given.encode(errors="replace"))
        found: Token | None = None
        for token in self._tokens:
            if hmac.compare_digest(digest, token.digest):
                found = token
        if found is None or not given:
            raise FabricError(Code.HTTP_UNKNOWN)
        return found

    def _read(self, spec: TokenSpec, own: Token | None = None) -> bytes:
        """The digest of a secret. `own`: whose it is, if that is there. Raises NO_SECRET, HTTP_TOKEN."""
        secret = spec.secret.read()
        if len(secret) < _SECRET_CHARS_MIN:
            raise FabricError(Code.HTTP_TOKEN, f"{spec.name}: its secret is shorter than {_SECRET_CHARS_MIN}")
        digest = self._digest(secret.encode())
        if any(token is not own and hmac.compare_digest(digest, token.digest) for token in self._tokens):
            raise FabricError(Code.HTTP_TOKEN, f"{spec.name}: another token has the same secret")
        return digest

    def _digest(self, secret: bytes) -> bytes:
        return hashlib.blake2b(secret, key=self._salt, digest_size=32).digest()


def _check_granted(spec: TokenSpec, credential: Credential) -> None:
    grants = credential.grants
    for pattern in spec.topics if STREAM in spec.may else ():
        if not any(covers(granted, pattern) for granted in grants.subscribe):
            raise FabricError(Code.HTTP_TOKEN, f"{spec.name}: the gateway has no subscribe grant on {pattern}")
    if spec.clearance is not None and spec.clearance > credential.clearance:
        raise FabricError(Code.HTTP_TOKEN, f"{spec.name}: {spec.clearance.short} is above the gateway's clearance, "
                                           f"{credential.clearance.short}")
    for pattern in spec.topics if PUBLISH in spec.may else ():
        if not any(covers(grant.pattern, pattern) for grant in grants.publish):
            raise FabricError(Code.HTTP_TOKEN, f"{spec.name}: the gateway has no publish grant on {pattern}")
    for pattern in spec.actions:
        if not any(action_covers(grant.action, pattern) for grant in grants.request):
            raise FabricError(Code.HTTP_TOKEN, f"{spec.name}: the gateway has no request grant for {pattern}")
