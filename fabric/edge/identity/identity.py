"""An identity's folder: everything that a node needs to connect, and nothing that it could leak by being logged.

    credential      the authority's signed bytes
    secret.json     the CURVE and the signing key, mode 0600
    identity.json   fabric, id, the authority's public key, the relay to dial and its backups, the fabric's defaults
    ledger          what this identity was given to execute (SPEC 9.3), where it executes
    actions         what this identity asked for, and what became of it, where it asks for actions
    directory       the authority's directory of relays (SPEC 6.6), the newest that came to this folder
    policies        the authority's approval policies (SPEC 6.7), likewise

Guarantees: an `Identity` that was loaded holds keys that match its credential, and a credential that its authority
signed. Refuses a folder where one of these is not so, with the file at fault.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nacl.bindings

from fabric.documents import parse_object
from fabric.edge.arguments.suggestions import near
from fabric.edge.identity.home import fabric_folder, fabrics, home_path, ids_folder, make_private, write_private
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import DIRECTORY_BYTES_MAX, KEY_BYTES, POLICIES_BYTES_MAX
from fabric.protocol.base.signing import Signer, signing_public
from fabric.protocol.trust.chain import verify_credential
from fabric.protocol.trust.credentials import Credential, name_ok
from fabric.protocol.vocabulary.tlp import Label, parse_label

DIRECTORY = "directory"
POLICIES = "policies"
# In `extra`, of a control point that is to find the nearest relay by itself.
NEAREST = "nearest"

@dataclass(frozen=True)
class Dial:
    """A relay to dial: its id, where it listens, and the CURVE key that it must prove to have."""

    id: str
    address: str
    curve_key: bytes

@dataclass(frozen=True)
class Defaults:
    """What a fabric's messages get where their program says nothing: a label, and by kind a time to live in ms."""

    label: Label = Label.AMBER
    ttl_ms: Mapping[str, int] = field(default_factory=dict)

@dataclass(frozen=True)
class Identity:
    """Secrets are kept out of `repr`."""

    fabric: str
    id: str
    authority_key: bytes
    credential: Credential
    folder: Path
    relay: Dial | None = None
    backups: tuple[Dial, ...] = ()  # to dial while `relay` is away, in this order
    defaults: Defaults = field(default_factory=Defaults)
    extra: Mapping[str, Any] = field(default_factory=dict)  # what a relay's configuration adds
    curve_secret: bytes = field(default=b"", repr=False)
    sign_seed: bytes = field(default=b"", repr=False)

    @property
    def dials(self) -> tuple[Dial, ...]:
        """Whom to dial, the preferred first; nobody where this node is dialled."""
        return () if self.relay is None else (self.relay, *self.backups)

    @property
    def nearest(self) -> bool:
        """Whether it names no relay: `dials` is for the case that there is no directory."""
        return self.extra.get(NEAREST) is True

    @property
    def signer(self) -> Signer:
        return Signer(self.sign_seed)

def save_identity(
    folder: Path,
    credential_raw: bytes,
    *,
    fabric: str,
    id_: str,
    authority_key: bytes,
    secrets: tuple[bytes, bytes],
    relay: Dial | None,
    backups: Sequence[Dial] = (),
    defaults: Defaults,
    extra: Mapping[str, Any],
) -> None:
    """`secrets`: the CURVE secret and the signing seed, 32 bytes each."""
    make_private(folder)
    curve, sign = secrets
    write_private(folder / "secret.json", json.dumps({"curve": curve.hex(), "sign": sign.hex()}).encode())
    write_private(folder / "credential", credential_raw)
    document = {
        "version": 1,
        "fabric": fabric,
        "id": id_,
        "authority": authority_key.hex(),
        "relay": dial_out(relay) if relay else None,
        "backups": [dial_out(backup) for backup in backups],
        "defaults": {"label": defaults.label.short, "ttl_ms": dict(defaults.ttl_ms)},
        **extra,
    }
    write_private(folder / "identity.json", (json.dumps(document, indent=2) + "\n").encode())

def load_identity(folder: Path) -> Identity:
    """The identity in this folder. Raises NO_IDENTITY where none is, BAD_IDENTITY where one is damaged."""
    if not (folder / "identity.json").is_file():
        raise FabricError(Code.NO_IDENTITY, str(folder))
    try:
        document = parse_object((folder / "identity.json").read_bytes())
        secret = parse_object((folder / "secret.json").read_bytes())
        raw = (folder / "credential").read_bytes()
        authority_key = _key(document["authority"])
        curve_secret, sign_seed = _key(secret["curve"]), _key(secret["sign"])
        relay = dial_in(document["relay"]) if document["relay"] else None
        backups = tuple(dial_in(backup) for backup in document.get("backups", ()))  # an older identity has none
        label = parse_label(document["defaults"]["label"])
        defaults = Defaults(Label.AMBER if label is None else label, dict(document["defaults"]["ttl_ms"]))
        fabric, id_ = str(document["fabric"]), str(document["id"])
    except PermissionError as error:
        raise FabricError(Code.BAD_IDENTITY, f"{folder}: not readable by this user") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FabricError(Code.BAD_IDENTITY, f"{folder}: {type(error).__name__} while reading it") from error
    credential = verify_credential(raw, authority_key, fabric)
    if isinstance(credential, Reject):
        raise FabricError(Code.BAD_IDENTITY, f"{folder}/credential: {credential}")
    # The public halves are derived from the secrets: a folder that mixes two identities is found here.
    pairs = (
        ("id", credential.id, id_),
        ("CURVE key", credential.curve_key, nacl.bindings.crypto_scalarmult_base(curve_secret)),
        ("signing key", credential.sign_key, signing_public(sign_seed)),
    )
    for name, said, found in pairs:
        if said != found:
            raise FabricError(Code.BAD_IDENTITY, f"{folder}: the credential names another {name}")
    known = {"version", "fabric", "id", "authority", "relay", "backups", "defaults"}
    extra = {key: value for key, value in document.items() if key not in known}
    return Identity(
        fabric, id_, authority_key, credential, folder, relay, backups, defaults, extra, curve_secret, sign_seed
    )

def own_directory(folder: Path) -> bytes:
    """The directory of relays in a folder, to be verified; empty where there is none that could be one."""
    return _own(folder / DIRECTORY, DIRECTORY_BYTES_MAX)

def own_policies(folder: Path) -> bytes:
    """The approval policies in a folder, to be verified; empty where there are none that could be some."""
    return _own(folder / POLICIES, POLICIES_BYTES_MAX)

def _own(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(bytes_max + 1)
    except OSError:
        return b""
    return raw if len(raw) <= bytes_max else b""

def dial_out(dial: Dial) -> dict[str, str]:
    """A peer to dial, as identity.json holds it."""
    return {"id": dial.id, "address": dial.address, "curve_key": dial.curve_key.hex()}

def dial_in(document: Mapping[str, str]) -> Dial:
    """A peer to dial from identity.json. Raises KeyError, ValueError or TypeError where it is none."""
    return Dial(document["id"], document["address"], _key(document["curve_key"]))


def _key(text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != KEY_BYTES:
        raise ValueError("not a key")
    return key

def find_identity(name: str, home: Path | None = None) -> Identity:
    """By `id`, `fabric/id`, or the path of an identity's folder."""
    if "/" in name and (home_path(Path(name)) / "identity.json").is_file():
        return load_identity(home_path(Path(name)))
    fabric, _, id_ = name.rpartition("/")
    if not name_ok(id_) or (fabric and not name_ok(fabric)):
        raise FabricError(Code.NO_IDENTITY, f"{name!r} is not an id, a fabric/id or an identity's folder")
    candidates = [fabric] if fabric else fabrics(home)
    found = [f for f in candidates if (fabric_folder(f, home) / "ids" / id_ / "identity.json").is_file()]
    if not found:
        raise FabricError(Code.NO_IDENTITY, name, _instead(fabric, id_, home))
    if len(found) > 1:
        choices = " or ".join(f"{f}/{id_}" for f in found)
        raise FabricError(Code.USAGE, f"{id_} is in more than one fabric", f"write {choices}")
    return load_identity(fabric_folder(found[0], home) / "ids" / id_)


def _instead(fabric: str, id_: str, home: Path | None) -> str:
    """What there is that it may have been meant to be; empty where there is nothing like it."""
    here = fabrics(home)
    if fabric and here and fabric not in here:
        return f"there is no fabric {fabric} here: write one of {', '.join(here)}"
    ids = {path.name for f in ([fabric] if fabric else here) for path in ids_folder(f, home).glob("*")}
    found = near(id_, sorted(ids))
    return f"write {' or '.join(found)}; else {Code.NO_IDENTITY.next_step}" if found else ""


def issuers_at(folder: Path, relay: str) -> list[Identity]:
    """The issuers among the identities in this folder that dial this relay."""
    issuers = [load_identity(path.parent) for path in sorted(folder.glob("*/identity.json")) if _is_issuer(path)]
    return [issuer for issuer in issuers if any(dial.id == relay for dial in issuer.dials)]


def _is_issuer(path: Path) -> bool:
    """Whether an identity's file says so. One that is damaged is nobody's here: whose it is finds out."""
    try:
        return bool(parse_object(path.read_bytes()).get("kind") == "issuer")
    except (OSError, ValueError):
        return False
