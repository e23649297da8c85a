"""How scripts say what they do: the name by which they are called, prose in lines that a terminal has, and examples."""

from __future__ import annotations

import argparse
import shutil
import textwrap

_COLUMNS_MAX = 80


def parser_of(prog: str, about: str, *examples: str | tuple[str, str]) -> argparse.ArgumentParser:
    """`about` is prose in paragraphs; each example a command line without `prog`, as it is typed behind it, alone or
    with what it is for."""
    typed = "".join(_example(prog, *((each, "") if isinstance(each, str) else each)) for each in examples)
    return argparse.ArgumentParser(
        prog=prog, description=filled(about), epilog=f"examples:{typed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _example(prog: str, typed: str, purpose: str) -> str:
    """Its purpose is a comment above it, so that all of it can be copied into a shell."""
    return (f"\n  # {purpose}" if purpose else "") + f"\n  {prog} {typed}".rstrip()


def filled(about: str) -> str:
    """A docstring's paragraphs, folded for the terminal instead of for the source file."""
    columns = min(shutil.get_terminal_size().columns, _COLUMNS_MAX) - 2
    paragraphs = (" ".join(part.split()) for part in about.strip().split("\n\n"))
    return "\n\n".join(textwrap.fill(each, columns, break_on_hyphens=False) for each in paragraphs)
