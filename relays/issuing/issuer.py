"""What an issuer answers (SPEC 6.5). It decides; whoever runs it carries the questions and answers.

Guarantees: what a newcomer becomes follows from its token alone; a credential is in the register before it leaves; the
same question is answered the same again. Refuses with a code that the asker is told; says nothing of secrets.
"""

from __future__ import annotations

from collections.abc import Callable

from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.enrolment import joining
from fabric.protocol.enrolment.joining import JoinRequest, RenewRequest, Token, open_request
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import (
    Credential,
    Grants,
    check_validity,
    decode_grants,
    name_ok,
)
from fabric.protocol.trust.revocations import Revocations
from relays.authority.minting import during, life_of, mint
from relays.issuing.register import KnownToken, Register, TokenTerms

Revoked = Callable[[Credential], Reject | None]


class Issuer:
    """`entropy(n)` gives n random bytes."""

    def __init__(self, identity: Identity, register: Register, entropy: Callable[[int], bytes]) -> None:
        if identity.credential.issuing is None:
            raise FabricError(Code.WRONG_ROLE, f"{identity.id} is no issuer", "name one: fabric authority delegate")
        self.identity = identity
        self.credential = identity.credential
        self.revocations = Revocations()
        self._signer = identity.signer
        self._register = register
        self._entropy = entropy

    @property
    def roles(self) -> dict[str, Grants]:
        """What it may hand out, by name."""
        try:
            return {str(name): decode_grants(given) for name, given in self.identity.extra["roles"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FabricError(Code.BAD_IDENTITY, f"{self.identity.folder}: its roles cannot be read") from error

    # -- tokens -------------------------------------------------------------------------------------------

    def issue_token(self, terms: TokenTerms, uses: int, ttl_ms: int, now_ms: int) -> Token:
        """Refuses what it could not honour: a role that it does not have, or more than it may give."""
        relay = self.identity.relay
        if relay is None:
            raise FabricError(Code.BAD_IDENTITY, f"{self.identity.id} names no relay")
        if terms.role not in self.roles:
            raise FabricError(Code.USAGE, f"no role {terms.role}", f"write one of: {', '.join(self.roles)}")
        trial = self._claim(terms, terms.id or self._name(terms, bytes(32)), bytes(32), bytes(32), now_ms)
        mint(trial, self._signer, self.identity.authority_key, self.credential)
        id_, secret = self._entropy(joining.TOKEN_ID_BYTES), self._entropy(joining.SECRET_BYTES)
        self._register.add_token(id_, secret, terms, uses, now_ms + ttl_ms, now_ms)
        return Token(
            self.identity.fabric, self.identity.authority_key, relay.id, relay.address, relay.curve_key,
            self.identity.id, id_, secret,
        )

    # -- questions ----------------------------------------------------------------------------------------

    def answer(self, request: bytes, key: bytes, now_ms: int) -> bytes | Reject:
        """`key`: the CURVE key of the connection by which it was asked; `now_ms`: fabric time."""
        opened = open_request(request, self.identity.authority_key, self.identity.fabric)
        if isinstance(opened, Reject):
            return opened
        if opened.issuer != self.identity.id:
            return Reject(Code.NO_ISSUER, opened.issuer)
        over = check_validity(self.credential, now_ms, SKEW_MS)
        if over is not None:
            return over
        try:
            granted = (
                self._join(opened, key, now_ms) if isinstance(opened, JoinRequest) else self._renew(opened, key, now_ms)
            )
        except FabricError as error:
            if error.code is Code.SPOOL_FAILED:
                return Reject(Code.BUSY, "the issuer cannot write its register now")  # where that is concerns nobody
            return Reject(error.code, error.detail)
        if isinstance(granted, Reject):
            return granted
        defaults = self.identity.defaults
        return joining.answer(request, granted, self.credential, self._signer, defaults.label, defaults.ttl_ms)

    def _join(self, request: JoinRequest, key: bytes, now_ms: int) -> Credential | Reject:
        token = self._register.token(request.token)
        if token is None or not request.knows(token.secret):
            return Reject(Code.BAD_TOKEN, "it is not one of this issuer's")
        if key != request.curve_key:
            return Reject(Code.WRONG_KEY, "the request came by another connection than its maker's")
        known = self._register.with_keys(request.curve_key, request.sign_key)
        for member in known:
            same = (member.curve_key, member.sign_key, member.token) == (request.curve_key, request.sign_key, token.id)
            if not same or request.wanted_id not in ("", member.id):
                return Reject(Code.REUSED_KEY, f"of {member.id}")
            return self._read(member.credential)  # its answer was lost
        if now_ms > token.until_ms:
            return Reject(Code.TOKEN_EXPIRED)
        if token.uses_left <= 0:
            return Reject(Code.TOKEN_USED)
        if token.terms.role not in self.roles:
            return Reject(Code.WIDER_THAN_ISSUER, f"the role {token.terms.role} was taken away")
        id_ = self._id_for(token, request)
        if isinstance(id_, Reject):
            return id_
        claim = self._claim(token.terms, id_, request.curve_key, request.sign_key, now_ms)
        minted = mint(claim, self._signer, self.identity.authority_key, self.credential)
        return self._register.enter(minted, token.id, now_ms) or minted

    def _id_for(self, token: KnownToken, request: JoinRequest) -> str | Reject:
        fixed, wanted = token.terms.id, request.wanted_id
        if fixed and wanted not in ("", fixed):
            return Reject(Code.WIDER_THAN_ISSUER, f"the token is for {fixed}")
        id_ = fixed or wanted or self._name(token.terms, request.sign_key)
        return Reject(Code.REUSED_ID, id_) if self._register.member(id_) is not None else id_

    def _name(self, terms: TokenTerms, sign_key: bytes) -> str:
        """An id for somebody who named none: what this issuer's ids begin with, the role, and a bit of the key."""
        assert self.credential.issuing is not None
        prefix = next((pattern[:-1] for pattern in self.credential.issuing.ids if pattern.endswith("*")), "")
        name = f"{prefix}{terms.role}-{sign_key.hex()[:8]}"
        return name if name_ok(name) else f"{prefix}{sign_key.hex()[:8]}"

    def _claim(self, terms: TokenTerms, id_: str, curve_key: bytes, sign_key: bytes, now_ms: int) -> Credential:
        claim = Credential(
            fabric=self.identity.fabric, id=id_, kind=terms.kind, curve_key=curve_key, sign_key=sign_key,
            organisation=terms.organisation, clearance=terms.clearance, segment=terms.segment, not_before_ms=0,
            not_after_ms=0, serial=0, principal=terms.principal or id_,
            tags=tuple(sorted({**dict(terms.tags), "role": terms.role}.items())), grants=self.roles[terms.role],
            communities=terms.communities, client_of=terms.client_of,
        )
        return during(claim, now_ms, terms.life_ms, self.credential)

    def _renew(self, request: RenewRequest, key: bytes, now_ms: int) -> Credential | Reject:
        old = request.credential
        if old.issuers[:1] != (self.identity.id,):
            return Reject(Code.BAD_CREDENTIAL, f"{old.id} is not vouched for by {self.identity.id}")
        if key != old.curve_key:
            return Reject(Code.WRONG_KEY, "the request came by another connection than its maker's")
        problem = self.revocations.check(old) or check_validity(old, now_ms, SKEW_MS)
        if problem is not None:
            return problem
        known = self._register.member(old.id)
        if known is not None and (known.curve_key, known.sign_key) != (old.curve_key, old.sign_key):
            return Reject(Code.REUSED_ID, old.id)
        if known is not None and known.serial > old.serial:
            return self._read(known.credential)  # its answer was lost
        fresh = mint(
            during(old, now_ms, life_of(old), self.credential), self._signer, self.identity.authority_key,
            self.credential,
        )
        self._register.renewed(fresh, now_ms)
        return fresh

    def _read(self, raw: bytes) -> Credential | Reject:
        return verify_credential(raw, self.identity.authority_key, self.identity.fabric)
