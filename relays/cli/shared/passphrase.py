"""The authority's passphrase: typed, from a file, or from standard input. Never an argument: those can be listed."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from fabric.protocol.base.errors import Code, FabricError
from relays.authority.sealing import PASSPHRASE_MIN, Passphrase, check_length
from relays.streams import input_line

PassphraseFile = Annotated[Path | None, typer.Option(
    "--passphrase-file", metavar="FILE", help="Read the authority's passphrase from the first line of FILE; - is "
    "standard input. Default: it is asked for.", allow_dash=True)]


def passphrase_from(file: Path | None, *, new: bool = False) -> Passphrase:
    """Asked once, when it is needed; `new`: typed twice."""
    known: list[str] = []

    def ask() -> str:
        if not known:
            known.append(_read(file) if file is not None else _typed(new))
        return known[0]

    return ask


def _read(file: Path) -> str:
    text = input_line("the passphrase") if str(file) == "-" else _first_line(file)
    if not text.strip("\r\n"):
        raise FabricError(Code.NO_PASSPHRASE, f"{file} is empty", "write the passphrase into its first line")
    return text.strip("\r\n")


def _first_line(file: Path) -> str:
    try:
        with file.open() as opened:
            return opened.readline()
    except UnicodeDecodeError:
        raise FabricError(Code.NO_PASSPHRASE, f"{file} is not text", "write it into the first line") from None


def _typed(new: bool) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise FabricError(
            Code.NO_PASSPHRASE, "nobody is there to type it", "give --passphrase-file FILE, or - for standard input"
        )
    if not new:
        return getpass.getpass("Passphrase of the authority: ")
    first = getpass.getpass(f"Choose a passphrase for the authority, {PASSPHRASE_MIN} characters or more: ")
    check_length(first)
    if first != getpass.getpass("Once more: "):
        raise FabricError(Code.NO_PASSPHRASE, "the two that were typed differ", "run it again: nothing was made")
    return first
