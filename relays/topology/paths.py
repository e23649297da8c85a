"""Which files sources read that another source reads too, or that a sink writes: paths are compared, nothing is opened.

A path is one file, a pattern, or a folder with a slash behind it, as `relays.gateways.files.finding` reads it.
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from glob import has_magic
from typing import NamedTuple

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.topics import covers
from relays.gateways.declared import DeclaredSink, DeclaredSource, claims_of
from relays.topology.problems import Problem
from relays.topology.toml_lines import dotted
from relays.wording import shown

_CLAIM = "path "
# Of paths that are compared with one another; a topology has some dozens.
_COMPARED_MAX = 2_000


class Held(NamedTuple):
    """A source or sink of a control point, and where it is declared."""

    point: str
    key: tuple[str, ...]
    declared: DeclaredSource | DeclaredSink

    @property
    def path(self) -> str:
        """Of the files that it reads or writes; empty where it has none."""
        claims = claims_of(self.declared)
        return next((claim.removeprefix(_CLAIM) for claim in claims if claim.startswith(_CLAIM)), "")


def check_paths(held: Sequence[Held]) -> Iterator[Problem]:
    """Sources that read what a sink of their topology writes, and what another source of their control point reads."""
    with_paths = [(each, path) for each in held if (path := each.path)][:_COMPARED_MAX]
    sources = [(each, path) for each, path in with_paths if isinstance(each.declared, DeclaredSource)]
    sinks = [(each, path) for each, path in with_paths if isinstance(each.declared, DeclaredSink)]
    for number, (source, path) in enumerate(sources):
        for sink, written in sinks:
            if _may_be_in(written, path):
                yield from _loop(source, sink, written)
        for other, read in sources[:number]:
            if other.point == source.point and path != read and (_may_be_in(path, read) or _may_be_in(read, path)):
                yield Problem(
                    Code.TOPOLOGY_INVALID, dotted((*source.key, "path")),
                    f"files of {shown(path)} are read by '{other.declared.name}' too: each record would come twice",
                    "leave one of them out, or name paths that have no file in common",
                )


def _loop(source: Held, sink: Held, written: str) -> Iterator[Problem]:
    key, write = dotted((*source.key, "path")), "let the sink write into a folder that no source reads"
    what = f"'{sink.declared.name}' writes {shown(written)}"
    if sink.point == source.point:
        yield Problem(Code.TOPOLOGY_INVALID, key, f"{what}, which is read here: what comes is published again", write)
    elif _goes_round(source, sink):
        yield Problem(
            Code.TOPOLOGY_INVALID, key,
            f"{what} for {sink.point}, and gets what is published here: on one machine it goes round for ever", write,
            "warning",
        )


def _goes_round(source: Held, sink: Held) -> bool:
    assert isinstance(source.declared, DeclaredSource) and isinstance(sink.declared, DeclaredSink)
    return any(
        covers(topic, pattern) or covers(pattern, topic)
        for topic in sink.declared.topics for pattern in source.declared.published
    )


def _may_be_in(path: str, read: str) -> bool:
    """Whether a file of `path` is one that `read` stands for; of two patterns as far as an example shows it."""
    example = path.replace("**", "x").replace("*", "x").replace("?", "x") if has_magic(path) else path
    if path.endswith("/"):
        example = f"{path}x"
    return any(_matches(os.path.normpath(each).split("/"), _parts(read)) for each in {path, example})


def _parts(read: str) -> list[str]:
    return [*os.path.normpath(read).split("/"), *(["*"] if read.endswith("/") else [])]


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not path:
        return not pattern and not path
    if pattern[0] == "**":
        goes_on = not path[0].startswith(".") and (len(path) == len(pattern) == 1 or _matches(path[1:], pattern))
        return goes_on or _matches(path, pattern[1:])
    is_shown = not path[0].startswith(".") or pattern[0].startswith(".")
    is_fit = path[0] == pattern[0] or (is_shown and fnmatchcase(path[0], pattern[0]))
    return is_fit and _matches(path[1:], pattern[1:])
