"""Credentials for people: what one says, how long it has left, and issuing it again where its issuer is.

Two thirds of its life is when a credential is renewed: early enough that an issuer may be away for the last third.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fabric.edge.identity.home import ids_folder, write_private
from fabric.edge.identity.identity import Identity, load_identity
from fabric.edge.identity.renewal import renew_at_ms
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import Credential, Grants, Issuing, encode_grants
from relays.authority.keeping import Authority, fingerprint
from relays.authority.minting import during, life_of, mint


def description(credential: Credential) -> dict[str, Any]:
    """Everything that it says, as JSON; keys as hex."""
    said: dict[str, Any] = {
        "fabric": credential.fabric, "id": credential.id, "kind": credential.kind.name.lower(),
        "serial": credential.serial, "issuers": list(credential.issuers), "organisation": credential.organisation,
        "segment": credential.segment, "clearance": credential.clearance.short, "principal": credential.principal,
        "communities": list(credential.communities), "client_of": list(credential.client_of),
        "tags": dict(credential.tags), "grants": _grants(credential.grants),
        "not_before_ms": credential.not_before_ms, "not_after_ms": credential.not_after_ms,
        "renew_at_ms": renew_at_ms(credential), "curve_key": credential.curve_key.hex(),
        "sign_key": credential.sign_key.hex(), "fingerprint": fingerprint(credential.digest),
    }
    if credential.carries_sealed:
        said["carries_sealed"] = True
    if credential.issuing is not None:
        said["issuing"] = _issuing(credential.issuing)
    return said


def _issuing(may: Issuing) -> dict[str, Any]:
    return {
        "ids": list(may.ids), "kinds": [kind.name.lower() for kind in may.kinds], "segments": list(may.segments),
        "organisations": list(may.organisations), "clearance": may.clearance.short,
        "communities": list(may.communities), "client_of": list(may.client_of),
        "tags": [f"{name}={value}" for name, value in may.tags], "principals": list(may.principals),
        "grants": _grants(may.grants),
    }


def _grants(grants: Grants) -> dict[str, Any]:
    names = ("publish", "subscribe", "request", "execute", "approve")
    shown: dict[str, Any] = {name: given for name, given in zip(names, encode_grants(grants), strict=False) if given}
    if grants.keep is not None:
        full = "wait" if grants.keep.waits else "shed"
        shown["keep"] = {"bytes": grants.keep.bytes, "for_ms": grants.keep.ms, "full": full}
    if grants.declassify:
        shown["declassify"] = [[g.pattern, g.from_.short, g.to.short] for g in grants.declassify]
    return shown


def needs_renewal(credential: Credential, now_ms: int) -> bool:
    """Whether two thirds of its life are over."""
    return now_ms >= renew_at_ms(credential)


def issue_again(folder: Path, by: Authority | Identity, now_ms: int) -> Credential:
    """The same credential for as long again as it was valid, by the authority or by the issuer that vouches for it.

    A node that runs takes it up from its folder by itself.
    """
    identity = load_identity(folder)
    old = identity.credential
    issuer = by.credential if isinstance(by, Identity) else None
    authority_key = by.authority_key if isinstance(by, Identity) else by.public
    if authority_key != identity.authority_key:
        raise FabricError(Code.BAD_CREDENTIAL, f"{old.id} belongs to another authority")
    fresh = mint(during(old, now_ms, life_of(old), issuer), by.signer, authority_key, issuer)
    write_private(folder / "credential", fresh.raw)
    return fresh


def issuer_here(identity: Identity, home: Path | None = None) -> Identity | None:
    """The issuer that signed it, where its folder is on this machine."""
    for id_ in identity.credential.issuers[:1]:
        folder = ids_folder(identity.fabric, home) / id_
        if (folder / "identity.json").is_file():
            return load_identity(folder)
    return None


def identities_here(fabric: str, home: Path | None = None) -> Sequence[Identity | tuple[str, FabricError]]:
    """Those of a fabric on this machine by name; of a damaged one its name and what is wrong."""
    found: list[Identity | tuple[str, FabricError]] = []
    for folder in sorted(path for path in ids_folder(fabric, home).glob("*") if path.is_dir()):
        try:
            found.append(load_identity(folder))
        except FabricError as error:
            found.append((folder.name, error))
    return found
