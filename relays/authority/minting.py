"""Making a credential, by whoever's key signs: the authority's or an issuer's.

Guarantees: what comes out was verified like a stranger's, so nothing is handed out that a relay would refuse. Raises
FabricError with the code that a relay would have given.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nacl.bindings

from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import FabricError, Reject
from fabric.protocol.base.signing import Signer, signing_public
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Credential

# A credential is valid from a little before it was issued, for clocks that are a little behind: an eighth of its life.
_BACKDATE_MS_MAX = 3_600_000

Keys = tuple[bytes, bytes]  # the CURVE secret and the signing seed


def keys_of(folder: Path) -> Keys:
    """Those of the identity in this folder, or new ones."""
    if (folder / "identity.json").is_file():
        known = load_identity(folder)
        return known.curve_secret, known.sign_seed
    return os.urandom(32), os.urandom(32)


def claim(
    wanted: Mapping[str, Any], keys: Keys, now_ms: int, life_ms: int, issuer: Credential | None = None
) -> Credential:
    """An unsigned credential for somebody whose keys we have. It ends when its issuer's does, if not before."""
    curve, sign = keys
    return during(
        Credential(
            **wanted, curve_key=nacl.bindings.crypto_scalarmult_base(curve), sign_key=signing_public(sign),
            not_before_ms=0, not_after_ms=0, serial=0,
        ),
        now_ms, life_ms, issuer,
    )


def during(credential: Credential, now_ms: int, life_ms: int, issuer: Credential | None = None) -> Credential:
    """The same from now on, for this long, but within its issuer's validity; newer than any before."""
    begin_ms, end_ms = now_ms - min(_BACKDATE_MS_MAX, life_ms // 8), now_ms + life_ms
    if issuer is not None:
        begin_ms, end_ms = max(begin_ms, issuer.not_before_ms), min(end_ms, issuer.not_after_ms)
    return replace(
        credential, not_before_ms=begin_ms, not_after_ms=end_ms, serial=max(now_ms, credential.serial + 1),
    )


def life_of(credential: Credential) -> int:
    """For how long it was issued, in ms: what `during` was told."""
    whole_ms = credential.not_after_ms - credential.not_before_ms
    return max(whole_ms - _BACKDATE_MS_MAX, whole_ms * 8 // 9)


def mint(
    credential: Credential, signer: Signer, authority_key: bytes, issuer: Credential | None = None
) -> Credential:
    """Sign it, and read it again as its peers will."""
    minted = verify_credential(issue(credential, signer, issuer), authority_key, credential.fabric)
    if isinstance(minted, Reject):
        raise FabricError(minted.code, minted.detail or credential.id)
    return minted
