"""What `--help` says, put right before it is shown.

A value has a word of its own, `--topic TOPIC`, and not the type that it has in Python. An example that is longer than a
line goes on behind a backslash, so that it can be copied: the library would break it like a sentence.
"""

from __future__ import annotations

import inspect
import re
import shutil
from typing import Any

# As the library has it: help is that wide at most, and at least, whatever the terminal is.
_COLUMNS_MAX, _COLUMNS_MIN, _MARGIN = 80, 50, 2
_INDENT = "  "
# What is quoted stays in one line.
_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|[^\s'"])+""")
_EXAMPLE = "fabric "
# What is behind one of these says more of what stands before it.
_BREAK = re.compile(r"[.:;] ")


def put_right(command: Any) -> None:
    """A command, and all that are below it."""
    for each in getattr(command, "commands", {}).values():
        put_right(each)
        each.short_help = in_short(each.help or "")
    columns = max(min(shutil.get_terminal_size().columns, _COLUMNS_MAX) - _MARGIN, _COLUMNS_MIN) - len(_INDENT)
    command.help = with_examples(command.help or "", columns)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: ""
        elif not (parameter.metavar or parameter.is_flag or parameter.count):
            name = str(parameter.name).strip("_").upper().replace("_", "-")
            parameter.metavar = "N" if parameter.type_descriptor.is_ranged else name


def in_short(text: str) -> str:
    """What a list of commands has of a help text: the library would cut a sentence where its line ends."""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    return f"{_BREAK.split(paragraph, maxsplit=1)[0].rstrip('.')}." if paragraph else ""


def with_examples(text: str, columns: int) -> str:
    """A help text whose examples are not folded as sentences are, and have at most so many columns."""
    return "\n\n".join(_paragraph(paragraph, columns) for paragraph in inspect.cleandoc(text).split("\n\n"))


def _paragraph(text: str, columns: int) -> str:
    head, _, command = text.strip().rpartition("Example: ")
    if head or not command.startswith(_EXAMPLE):
        return text
    title = "Example:\n\n" if text.strip() != command else ""
    return f"{title}\b\n{folded_command(command, columns)}"


def folded_command(command: str, columns: int) -> str:
    """One command in lines of at most so many columns, as far as its words let it, to be typed as they stand."""
    lines = [_INDENT]
    for word in _WORD.findall(command):
        begun = lines[-1].strip()
        if begun and len(lines[-1]) + len(word) + len(" \\") > columns:
            lines[-1] += "\\"
            lines.append(_INDENT * 3)
        lines[-1] += f"{word} "
    return "\n".join(line.rstrip() for line in lines)
