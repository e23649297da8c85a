"""The one nftables table of a control point: as text, and how it gets into the kernel.

Guarantees: a table is replaced as a whole, in one transaction, so that at no moment less is blocked than before and
after; networks reach `nft` on its standard input, and never stand in a list of processes; no table but the named one is
touched, and that only where it is not another control point's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Code, FabricError
from relays.handlers.blocklist import Network

HOOKS: Final = ("input", "output", "forward")
VERDICTS: Final = ("drop", "reject")
# Before those who filter otherwise: what they accept was looked at here first, and their own drops stay theirs.
_PRIORITY: Final = "filter - 10"
# Which ends of a packet are looked at.
_ENDS: Final = {"input": ("saddr",), "output": ("daddr",), "forward": ("saddr", "daddr")}
_NFT_S: Final = 20.0
# Where `nft` is for those whose PATH has no programs of the administrator.
_SBIN: Final = "/usr/sbin:/sbin"
_FAULT: Final = re.compile(r"Error: (.*)")


class Table(NamedTuple):
    """`owner`: the control point whose it is, kept as the table's comment."""

    name: str
    owner: str
    hooks: Sequence[str] = HOOKS
    verdict: str = "drop"


def script(table: Table, ipv4: Sequence[Network], ipv6: Sequence[Network]) -> str:
    """What makes the table be this and nothing else."""
    lines = [f"add table inet {table.name}", f"delete table inet {table.name}", f"table inet {table.name} {{",
             f'\tcomment "{_comment(table.owner)}"']
    for name, type_, networks in (("blocked4", "ipv4_addr", ipv4), ("blocked6", "ipv6_addr", ipv6)):
        elements = f" elements = {{ {', '.join(map(str, networks))} }};" if networks else ""
        lines.append(f"\tset {name} {{ type {type_}; flags interval;{elements} }}")
    for hook in table.hooks:
        lines.append(f"\tchain {hook} {{")
        lines.append(f"\t\ttype filter hook {hook} priority {_PRIORITY}; policy accept;")
        for end in _ENDS[hook]:
            lines.append(f"\t\tip {end} @blocked4 counter {table.verdict}")
            lines.append(f"\t\tip6 {end} @blocked6 counter {table.verdict}")
        lines.append("\t}")
    return "\n".join([*lines, "}", ""])


def nft_path() -> str | None:
    """Where the program is."""
    return shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_SBIN}")


class NftError(Exception):
    """What `nft` says of it, without what it was given."""


def apply(text: str) -> None:
    """All of it, or nothing. Raises NftError."""
    _nft(["-f", "-"], text)


def check_rights() -> str:
    """Why this process may not change tables; empty where it may."""
    try:
        _nft(["list", "tables"])
    except NftError as error:
        return str(error)
    return ""


def listing(table: Table) -> str:
    """This table as the kernel has it now, without what it counts; empty where it is not there. Raises HANDLER_UNFIT
    where it is another control point's, or was made by hand."""
    try:
        listed = _nft(["--stateless", "list", "table", "inet", table.name])
    except NftError:
        return ""
    if f'comment "{_comment(table.owner)}"' not in listed:
        found = re.search(r'^\tcomment "(.*)"$', listed, re.MULTILINE)
        whose = f"is that of {found[1]}" if found else "was not made by this handler"
        raise FabricError(
            Code.HANDLER_UNFIT, f"the table inet {table.name} {whose}",
            "name another one: --handler 'nftables table=NAME'; or remove it: nft delete table inet " + table.name,
        )
    return listed


def _comment(owner: str) -> str:
    return f"message-fabric {owner}"


def _nft(args: Sequence[str], given: str = "") -> str:
    path = nft_path()
    if path is None:
        raise NftError("no program nft is on PATH")
    try:
        done = subprocess.run(
            [path, *args], input=given, capture_output=True, text=True, timeout=_NFT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise NftError(f"nft did not end in {_NFT_S:.0f} s") from None
    except OSError as error:
        raise NftError(f"nft cannot be run: {os.strerror(error.errno or 0)}") from None
    if done.returncode != 0:
        # What follows the first line is an excerpt of what it was given.
        said = _FAULT.search(done.stderr) or re.match(r"(.*)", done.stderr)
        raise NftError(said[1] if said and said[1] else f"nft: exit code {done.returncode}")
    return done.stdout
