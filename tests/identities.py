"""The identities of a small topology, made in a folder as `fabric up` makes them."""

from __future__ import annotations

from pathlib import Path

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import Identity, load_identity
from relays.authority import init_authority, make_identities
from relays.topology.loader import load


def made(home: Path, text: str) -> list[str]:
    """Their ids. `text`: a topology of the fabric `small`, which is written to `small.toml`."""
    file = home / "small.toml"
    file.write_text(text)
    return make_identities(load(file), init_authority("small", home), home)


def identity(home: Path, id_: str) -> Identity:
    return load_identity(ids_folder("small", home) / id_)
