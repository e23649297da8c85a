"""A control point's identity whose relay does not answer."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fabric.edge.identity.identity import Dial, Identity
from fabric.transport.keys import curve_public
from tests.support import Authority, Member, derive


@contextmanager
def unreachable_relay(authority: Authority, member: Member, folder: Path) -> Iterator[Identity]:
    """The member's identity, kept in this folder. While this is open, its relay's port is bound and nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        secret = os.urandom(32)
        credential = replace(member.credential, curve_key=curve_public(secret))
        yield Identity(
            authority.fabric, member.id, authority.key, credential, folder,
            Dial("hq", f"127.0.0.1:{bound.getsockname()[1]}", bytes(range(32))), curve_secret=secret,
            sign_seed=derive("signing", authority.seed, member.id),
        )
