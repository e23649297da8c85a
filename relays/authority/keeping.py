"""The authority of a fabric on this machine: where its key lies, and how it comes to another machine.

    FABRIC_HOME/<fabric>/authority/key.json     the key, sealed (`sealing`)

Guarantees: the key leaves its folder only sealed; the passphrase is asked for when something has to be signed, not
before. Refuses to put one authority in the place of another.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fabric.documents import parse_object
from fabric.edge.arguments.suggestions import near
from fabric.edge.identity.home import fabric_folder, fabric_home, make_private, revocations_path, write_private
from fabric.files import append_private
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.signing import Signer
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.trust.revocations import verify_revocations
from relays.authority.sealing import (
    Cost,
    Passphrase,
    is_protected,
    open_seed,
    public_of,
    read_document,
    seal_seed,
)

_KEY = "key.json"


def _no_passphrase() -> str:
    raise FabricError(Code.NO_PASSPHRASE, "none was given", "give --passphrase-file FILE, or - for standard input")


@dataclass(frozen=True)
class Authority:
    """An authority whose key file was read. Its `signer` asks for the passphrase, and raises WRONG_PASSPHRASE."""

    fabric: str
    folder: Path
    public: bytes
    document: dict[str, Any]
    passphrase: Passphrase = _no_passphrase

    @cached_property
    def signer(self) -> Signer:
        try:
            return Signer(open_seed(self.document, self.passphrase))
        except (ValueError, KeyError, TypeError) as error:
            raise FabricError(Code.NO_AUTHORITY, f"{self.folder / _KEY} is damaged") from error

    @property
    def protected(self) -> bool:
        return is_protected(self.document)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.public)


def fingerprint(key: bytes) -> str:
    """A public key in groups of four, to compare by eye."""
    text = key.hex()
    return " ".join(text[i : i + 4] for i in range(0, len(text), 4))


def authority_folder(fabric: str, home: Path | None = None) -> Path:
    """Where this machine has the fabric's authority; `home` is FABRIC_HOME where it is not given."""
    return fabric_folder(fabric, home) / "authority"


def authorities(home: Path | None = None) -> list[str]:
    """The fabrics whose authority is on this machine, by name."""
    return sorted(path.parent.parent.name for path in (home or fabric_home()).glob(f"*/authority/{_KEY}"))


def open_authority(fabric: str, home: Path | None = None, passphrase: Passphrase = _no_passphrase) -> Authority:
    """The fabric's authority on this machine. Raises NO_AUTHORITY; asks for no passphrase yet."""
    folder = authority_folder(fabric, home)
    try:
        document = read_document((folder / _KEY).read_bytes())
        return Authority(fabric, folder, public_of(document), document, passphrase)
    except FileNotFoundError:
        meant = near(fabric, authorities(home))
        instead = f"write {' or '.join(meant)}; else " if meant else ""
        raise FabricError(
            Code.NO_AUTHORITY, str(folder),
            f"{instead}run `fabric authority init {fabric}`, or add `--dev` to `fabric up` for a throwaway one",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FabricError(Code.NO_AUTHORITY, f"{folder / _KEY} cannot be read") from error


@contextmanager
def alone(authority: Authority) -> Iterator[None]:
    """Two who sign at once sign one document after the other, not two of one version."""
    with append_private(authority.folder / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def init_authority(
    fabric: str, home: Path | None = None, passphrase: Passphrase | None = None, cost: Cost | None = None
) -> Authority:
    """A new key, or the one that is there. Without a passphrase it lies open: for throwaway fabrics."""
    folder = authority_folder(fabric, home)
    if not (folder / _KEY).exists():
        make_private(folder)
        document = seal_seed(os.urandom(32), passphrase() if passphrase is not None else None, cost)
        write_private(folder / _KEY, (json.dumps(document, indent=2) + "\n").encode())
    return open_authority(fabric, home, passphrase or _no_passphrase)


def new_authority(
    fabric: str, home: Path | None = None, passphrase: Passphrase | None = None, cost: Cost | None = None
) -> Authority:
    """A new key. Raises AUTHORITY_EXISTS where there is one, before anything is asked."""
    if (authority_folder(fabric, home) / _KEY).exists():
        raise _exists(open_authority(fabric, home))
    return init_authority(fabric, home, passphrase, cost)


def _exists(authority: Authority) -> FabricError:
    if authority.protected:
        return FabricError(
            Code.AUTHORITY_EXISTS, str(authority.folder), f"see it with `fabric authority show {authority.fabric}`"
        )
    return FabricError(
        Code.AUTHORITY_EXISTS, f"{authority.folder}, without a passphrase: for trying things only",
        f"for a real one: `fabric down {authority.fabric}`, move {authority.folder.parent} away (all in it was issued "
        f"by the old one), then `fabric authority init {authority.fabric}`",
    )


def back_up(authority: Authority, output: Path) -> None:
    """One file with the sealed key and the revocation list. Raises USAGE for a key that lies open."""
    if not authority.protected:
        raise FabricError(
            Code.USAGE, f"the key of {authority.fabric} has no passphrase",
            "make an authority with `fabric authority init`: this one was made by --dev",
        )
    if output.exists():
        raise FabricError(Code.USAGE, f"{output} exists", "name a new file")
    lists = revocations_path(authority.fabric, authority.folder.parent.parent)
    document = {
        "version": 1, "fabric": authority.fabric, "key": authority.document,
        "revocations": lists.read_bytes().hex() if lists.is_file() else "",
    }
    write_private(output, (json.dumps(document, indent=2) + "\n").encode())


def restore_authority(source: Path, passphrase: Passphrase, home: Path | None = None) -> Authority:
    """Take a backup's authority to this machine. The passphrase is tried before anything is written."""
    try:
        document = parse_object(source.read_bytes())
        fabric, key, lists = str(document["fabric"]), dict(document["key"]), bytes.fromhex(document["revocations"])
        public = public_of(key)
        if document["version"] != 1 or not name_ok(fabric):
            raise ValueError("version")
    except (ValueError, KeyError, TypeError) as error:
        raise FabricError(Code.BAD_INPUT, f"{source} is no backup of an authority", "name the file that `fabric "
                          "authority backup` wrote") from error
    folder = authority_folder(fabric, home)
    restored = Authority(fabric, folder, public, key, passphrase)
    if (folder / _KEY).exists():
        if open_authority(fabric, home).public != public:
            raise FabricError(Code.USAGE, f"{fabric} has another authority here", "move its folder away first")
        return restored
    assert restored.signer.public == public
    if lists and isinstance(verify_revocations(lists, public, fabric), Reject):
        raise FabricError(Code.BAD_INPUT, f"{source}: the revocation list in it is not its authority's")
    make_private(folder)
    if lists and not revocations_path(fabric, home).exists():
        write_private(revocations_path(fabric, home), lists)
    write_private(folder / _KEY, (json.dumps(key, indent=2) + "\n").encode())
    return restored
