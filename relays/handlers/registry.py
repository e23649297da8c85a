"""Which handlers there are, and what was said on the command line of one: `NAME option=value ...`.

Those that come with the command are named here. Others are entry points of the group `message_fabric.handlers` in
packages of the same Python: `name = "package.module:KIND"`, a `relays.handlers.kinds.Kind`. Nothing of such a package
is imported before its name is asked for, and none takes the name of one of ours.
"""

from __future__ import annotations

import importlib
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from fabric.edge.arguments.suggestions import near
from fabric.protocol.base.errors import Code, FabricError
from relays.handlers.kinds import Kind, Need, Options, Pair

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP: Final = "message_fabric.handlers"
_OURS: Final = {
    "nftables": "relays.handlers.nftables",
    "webhook": "relays.handlers.webhook",
    "processes": "relays.handlers.processes",
    "quarantine": "relays.handlers.quarantine",
}


class Asked(NamedTuple):
    """A handler as it was asked for."""

    kind: Kind
    options: Options

    @property
    def pairs(self) -> list[Pair]:
        return list(self.kind.pairs(self.options))

    def missing(self) -> list[Need]:
        """What it needs and this machine has not."""
        return [need for need in self.kind.needs(self.options) if need.problem]


def names() -> list[str]:
    """Of all handlers, ours first. Nothing is imported for it."""
    return [*_OURS, *sorted(_others())]


def kind_of(name: str) -> Kind:
    """Raises USAGE for a name that is none, HANDLER_UNFIT for a package that cannot be used."""
    if name in _OURS:
        kind: Kind = importlib.import_module(_OURS[name]).KIND
        return kind
    point = _others().get(name)
    if point is None:
        like = near(name, names())
        raise FabricError(
            Code.USAGE, f"there is no handler {name!r}",
            f"write {' or '.join(like)}" if like else "see which there are: fabric edge handlers",
        )
    return _loaded(point)


def asked_for(text: str) -> Asked:
    """What `--handler` says. Raises USAGE with what to write instead, HANDLER_UNFIT for a package that is broken."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise FabricError(Code.USAGE, f"--handler: {str(error).lower()}", "close what was opened") from None
    if not words or "\0" in text:
        raise FabricError(Code.USAGE, "--handler names none", "see which there are: fabric edge handlers")
    kind = kind_of(words[0])
    known = {option.name: option for option in kind.options}
    given: dict[str, list[str]] = {}
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if name not in known or not equals or not value:
            # A value may be a secret that somebody put into the wrong place: it is not said again.
            like = near(name, list(known)) or list(known)
            spelt = " or ".join(f"{each}={known[each].metavar}" for each in like)
            instead = f"write {spelt}" if spelt else "leave it out"
            slip = f"{name} has no value" if name in known else f"{name!r} is none of its options"
            raise FabricError(Code.USAGE, f"--handler {kind.name}: {slip}", instead)
        if name in given and not known[name].many:
            raise FabricError(Code.USAGE, f"--handler {kind.name}: {name} comes twice", "give it once")
        given.setdefault(name, []).append(value)
    return Asked(kind, Options(kind.name, given))


def _others() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - it takes a while, and few need it

    return {point.name: point for point in entry_points(group=GROUP) if point.name not in _OURS}


def _loaded(point: EntryPoint) -> Kind:
    try:
        kind = point.load()
    except Exception as error:  # noqa: BLE001 - whatever somebody else's package does when it is imported
        raise FabricError(
            Code.HANDLER_UNFIT, f"{point.name} ({point.value}): {type(error).__name__} while it was loaded",
            "repair or remove the package that brings it",
        ) from error
    if not isinstance(kind, Kind) or kind.name != point.name:
        raise FabricError(
            Code.HANDLER_UNFIT, f"{point.name} ({point.value}) is no handler of this name",
            "repair or remove the package that brings it",
        )
    return kind
