"""What a declaration says to its kind: read by name and type, with every fault at once.

A fault has its key, a cause and what to write instead. A value that is wrong is shown, unless it stands where a secret
belongs.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.sizes import parse_size
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.secret import Secret
from relays.wording import closest, shown

_T = TypeVar("_T")
_OF_A_SECRET = ("file", "env")
_A_FILE = '"/..."'


class Fault(NamedTuple):
    """What is wrong with a declaration. `key`: within it, dotted; empty for the declaration itself."""

    key: str
    cause: str
    write: str
    code: Code = Code.TOPOLOGY_INVALID


def whole_path(path: str | Path) -> str:
    """One way to write it, of several: without "..", and of a folder with the slash behind it."""
    written = str(path)
    whole = f"/{os.path.normpath(written).lstrip('/')}"
    return f"{whole}/" if written.endswith("/") and whole != "/" else whole


class Options:
    """`given`: what the declaration has besides what all sources or sinks have. Whoever reads names every option.

    A wrong value is a fault, and reads as the default: reading goes on, and what it gives is not to be used then.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self.faults: list[Fault] = []

    @property
    def names(self) -> list[str]:
        """Of all that was given."""
        return list(self._given)

    def has(self, name: str) -> bool:
        return name in self._given

    def value(self, name: str) -> Any:
        """As it was written; None where it was not."""
        return self._given.get(name)

    def wrong(self, name: str, cause: str, write: str, code: Code = Code.TOPOLOGY_INVALID) -> None:
        """Something is wrong with this one. Never say a secret's value."""
        self.faults.append(Fault(name, cause, write, code))

    def missing(self, name: str, example: str) -> None:
        """It has to be there, and is not."""
        self.wrong(name, f"'{name}' is missing", f"write {name} = {example}")

    def text(self, name: str, default: str = "", *, needed: str = "") -> str:
        """`needed`: it has to be there; an example, as TOML has it."""
        value, example = self._given.get(name), needed or '"..."'
        if value is None:
            if needed:
                self.missing(name, needed)
            return default
        if not isinstance(value, str) or not value or "\0" in value:
            self.wrong(name, f"text is expected, and {shown(value)} is none", f"write {name} = {example}")
            return default
        return value

    def path(self, name: str, *, needed: str = "") -> Path | None:
        """A whole path: who runs it may be in any folder. `needed` as for `text`."""
        value = self.text(name, needed=needed)
        if value and not value.startswith("/"):
            self.wrong(name, f"{shown(value)} depends on where it is run", f'write the whole path: {name} = "/..."')
            return None
        return Path(value) if value else None

    def file(self, name: str, *, needed: str = "") -> Path | None:
        """A whole path of a file, and not of a folder."""
        path = self.path(name, needed=needed)
        if path is not None and (str(self._given[name]).endswith("/") or not path.name):
            self.wrong(name, "it is a folder", f"write {name} = {needed or _A_FILE}")
        return path

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of these words."""
        value = self._given.get(name, default)
        if value not in choices:
            spelt = " or ".join(f'"{choice}"' for choice in choices)
            self.wrong(name, f"{shown(value)} is not known here", f"write {name} = {spelt}")
            return default
        return str(value)

    def label(self, name: str, default: Label) -> Label:
        """A TLP label, in any spelling."""
        value = self._given.get(name)
        if value is None:
            return default
        found = parse_label(value) if isinstance(value, str) else None
        if found is None:
            spelt = " or ".join(f'"{label.short}"' for label in Label)
            self.wrong(name, f"{shown(value)} is no TLP label", f"write {name} = {spelt}", Code.BAD_LABEL)
        return default if found is None else found

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            self.wrong(name, f"{shown(value)} is neither", f"write {name} = true or false")
            return default
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number between these, both included."""
        value = self._given.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.wrong(name, f"{shown(value)} is no such number", f"write {name} and a number from {low} to {high}")
            return default
        return value

    def seconds(self, name: str, default: str, low_s: float = 0.001, high_s: float = 366 * 86_400.0) -> float:
        """A time like "30s"."""
        return self._measured(name, default, lambda text: parse_duration(text) / 1000, low_s, high_s, "10m", "24h")

    def size(self, name: str, default: str, low: int = 1, high: int = 2**50) -> int:
        """Bytes, from text like "64MB"."""
        return int(self._measured(name, default, parse_size, low, high, "64MB", "1GB"))

    def _measured(
        self, name: str, default: str, parse: Callable[[str], float], low: float, high: float, *examples: str
    ) -> float:
        value = self._given.get(name, default)
        try:
            found = parse(value) if isinstance(value, str) else -1.0
        except FabricError:
            found = -1.0
        if not low <= found <= high:
            spelt = " or ".join(f'"{example}"' for example in examples)
            self.wrong(name, f"{shown(value)} cannot be used", f"write it like {name} = {spelt}")
            return parse(default)
        return found

    def texts(self, name: str, *, needed: str = "") -> list[str]:
        """A list of texts; one text alone stands for a list of it. `needed`: an example of the list."""
        value, example = self._given.get(name), needed or '["..."]'
        if value is None:
            if needed:
                self.missing(name, needed)
            return []
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not found or not all(isinstance(each, str) and each for each in found):
            self.wrong(name, "a list of texts is expected", f"write {name} = {example}")
            return []
        return list(found)

    def table(self, name: str) -> Mapping[str, Any]:
        """A table, as it was written."""
        value = self._given.get(name, {})
        if not isinstance(value, Mapping):
            self.wrong(name, f"a table is expected, and {shown(value)} is none", f"write {name} = {{ ... }}")
            return {}
        return value

    def secret(self, name: str, *, needed: bool = False) -> Secret | None:
        """Where it is. What stands in its place is a fault, and is said nowhere."""
        instead = f'write {name} = {{ file = "/etc/fabric/{name}" }} or {{ env = "{name.upper()}" }}'
        value = self._given.get(name)
        if value is None:
            if needed:
                self.wrong(name, f"'{name}' is missing", instead)
            return None
        if not isinstance(value, Mapping):
            self.wrong(name, "a secret stands here itself", instead, Code.SECRET_INLINE)
            return None
        (where, what), *more = list(value.items()) or [("", "")]
        if more or where not in _OF_A_SECRET or not isinstance(what, str) or not what or "\0" in what:
            self.wrong(name, "it does not say where the secret is", instead)
            return None
        if where == "file" and not what.startswith("/"):
            self.wrong(name, "the secret's file depends on where it is run", instead)
            return None
        return Secret(where, what)

    def only(self, known: Sequence[str]) -> None:
        """Every option that was given has to be one of these."""
        for name in self._given:
            if name not in known:
                self.wrong(name, f"there is no key '{name}' here",
                           f"remove it, or use one of {', '.join(known)}{closest(name, known)}")


def checked(read: Callable[[Options], _T], options: Options, known: Sequence[str]) -> _T:
    """The settings that `read` makes of them; whether they may be used, `options.faults` says."""
    options.only(known)
    return read(options)
