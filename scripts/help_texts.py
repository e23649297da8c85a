"""How scripts say what they do: the name by which they are called, prose in lines that a terminal has, and examples."""

from __future__ import annotations

import argparse
import shutil
import textwrap

_COLUMNS_MAX = 80


def parser_of(prog: str, about: str, *examples: str) -> argparse.ArgumentParser:
    """`about` is prose in paragraphs; each example a command line without `prog`, as it is typed behind it."""
    typed = "".join(f"\n  {f'{prog} {example}'.rstrip()}" for example in examples)
    return argparse.ArgumentParser(
        prog=prog, description=filled(about), epilog=f"examples:{typed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def filled(about: str) -> str:
    """A docstring's paragraphs, folded for the terminal instead of for the source file."""
    columns = min(shutil.get_terminal_size().columns, _COLUMNS_MAX) - 2
    paragraphs = (" ".join(part.split()) for part in about.strip().split("\n\n"))
    return "\n\n".join(textwrap.fill(each, columns, break_on_hyphens=False) for each in paragraphs)
