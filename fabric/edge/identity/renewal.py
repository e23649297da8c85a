"""A credential is renewed at two thirds of its life, while the node goes on (SPEC 6.5).

Guarantees: what is taken up is this node's own: the same id and keys, verified, and newer. Anything else in the folder
is ignored. An issuer that is away is asked again, more often as the end comes nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from fabric.edge.identity.home import write_private
from fabric.edge.identity.identity import Identity
from fabric.edge.identity.watched import Watched
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CREDENTIAL_BYTES_MAX, ID_BYTES
from fabric.protocol.core.ready import Answered, Ask
from fabric.protocol.enrolment.joining import ask_to_renew, open_answer
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential

# Between two questions: a twentieth of what is left, but neither nagging nor forgetful.
_AGAIN_MS_MIN, _AGAIN_MS_MAX = 5_000, 3_600_000


def renew_at_ms(credential: Credential) -> int:
    """When two thirds of its life are over; a third is left for an issuer that is away."""
    life_ms = credential.not_after_ms - credential.not_before_ms
    return credential.not_after_ms - life_ms // 3


class OwnCredential:
    """The credential in an identity's folder, as others issue it anew there."""

    def __init__(self, folder: Path, authority_key: bytes, held: Credential) -> None:
        self._file = Watched(folder / "credential", CREDENTIAL_BYTES_MAX)
        self._authority_key = authority_key
        self.held = held

    def newer(self) -> Credential | None:
        """One that was put there since the last look."""
        raw = self._file.changed()
        return None if raw is None else self.take(raw)

    def take(self, raw: bytes) -> Credential | None:
        """The bytes as this node's newer credential; None where they are not that."""
        fresh = verify_credential(raw, self._authority_key, self.held.fabric)
        if not isinstance(fresh, Credential) or fresh.serial <= self.held.serial:
            return None
        mine = (fresh.id, fresh.kind, fresh.curve_key, fresh.sign_key)
        if mine != (self.held.id, self.held.kind, self.held.curve_key, self.held.sign_key):
            return None
        self.held = fresh
        return fresh


class Renewal:
    """A node's own: what to ask, and what became of it. `entropy(n)` gives n random bytes."""

    def __init__(
        self, identity: Identity, entropy: Callable[[int], bytes], log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._identity = identity
        self._log = log
        self._signer = identity.signer
        self._own = OwnCredential(identity.folder, identity.authority_key, identity.credential)
        self._entropy = entropy
        self._asked: dict[bytes, bytes] = {}  # question -> request
        self._not_before_ms = 0

    @property
    def held(self) -> Credential:
        """This node's newest credential."""
        return self._own.held

    def newer(self) -> Credential | None:
        """One that somebody else put into the folder."""
        return self._own.newer()

    def due(self, now_ms: int) -> Ask | None:
        """A question to its issuer, when it is time for one. `now_ms`: fabric time."""
        credential = self._own.held
        if self._asked or not credential.issuers or now_ms < max(renew_at_ms(credential), self._not_before_ms):
            return None
        left_ms = max(0, credential.not_after_ms - now_ms)
        self._not_before_ms = now_ms + min(max(left_ms // 20, _AGAIN_MS_MIN), _AGAIN_MS_MAX)
        return self.ask(now_ms)

    def ask(self, now_ms: int) -> Ask:
        """The question, whether it is time or not."""
        credential = self._own.held
        question, request = self._entropy(ID_BYTES), ask_to_renew(credential, self._signer, now_ms)
        self._asked[question] = request
        return Ask(question, credential.issuers[0], request)

    def answered(self, answered: Answered) -> Credential | Reject | None:
        """The newer credential; why there is none; or None where it was no question of this.

        A folder that cannot be written keeps the former one: said, and asked for again at the next start.
        """
        request = self._asked.pop(answered.id, None)
        if request is None:
            return None
        fresh = answered.refused or self._read(answered.answer, request)
        if isinstance(fresh, Reject):
            self._log.warning("not renewed", code=fresh.code.label, why=fresh.detail, next=fresh.code.next_step)
            return fresh
        try:
            write_private(self._identity.folder / "credential", fresh.raw)
        except OSError as error:
            self._log.warning("renewed credential not kept", why=type(error).__name__)
        return fresh

    def _read(self, answer: bytes, request: bytes) -> Credential | Reject:
        of, held = self._identity, self._own.held
        opened = open_answer(answer, request, of.authority_key, of.fabric, held.issuers[0])
        if isinstance(opened, Reject):
            return opened
        return self._own.take(opened.credential.raw) or Reject(
            Code.BAD_CREDENTIAL, "the issuer answered with another credential than this node's"
        )
