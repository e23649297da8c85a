"""What a node finds on its disk: written by an operator, an editor, another version, or half written when power went.

A file that cannot be read gives an error with a code, or counts as absent; a process does not end with a traceback.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import nacl.bindings

from fabric.edge.identity.identity import Defaults, Dial, issuers_at, load_identity, own_directory, save_identity
from fabric.protocol.base.errors import FabricError
from fabric.protocol.base.signing import Signer
from fabric.protocol.trust.chain import issue
from fabric.protocol.vocabulary.tlp import Label
from fabric.transport.clock import Clock
from relays.authority.keeping import open_authority
from relays.authority.lists import read_revocations
from relays.authority.sealing import is_protected, open_seed, public_of, read_document, seal_seed
from relays.process.drain import read_draining
from relays.process.pins import Pins
from relays.process.status import read_status
from relays.reading import place_of
from relays.topology.loader import check
from tests.fuzz.cast import AUTHORITY, revocation_lists
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes
from tests.support import FABRIC, T0, derive

_ROOT = Path(__file__).parents[2]
_NUMBERS = ("0", "-1", "1e999", "-1e999", "NaN", "Infinity", "1.5", "9" * 400, "9" * 5_000, "true", "null", '"5"')


@cache
def _folder() -> Path:
    """One folder for all inputs of this process, in memory where the machine has such a place."""
    memory = Path("/dev/shm")  # noqa: S108
    kept = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="fuzz-")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@contextmanager
def _file(name: str, raw: bytes) -> Iterator[Path]:
    path = _folder() / name
    path.write_bytes(raw)
    yield path


def json_near(dice: Dice, document: object) -> bytes:
    """A JSON file near a valid one: other values, other numbers, cut, deep, no JSON at all."""
    what = dice.randrange(8)
    if what == 0:
        return dice.damaged(json.dumps(document).encode())
    if what == 1:
        return dice.choice((b"", b"[]", b"{}", b"null", b"5", b"\xff", b"[" * 60_000, b'{"a":' * 60_000, b'"\\ud800"'))
    if what in (2, 3):
        text = json.dumps(document)
        places = [n for n, character in enumerate(text) if character in "0123456789"]
        if places:
            at = dice.choice(places)
            end = at
            while end < len(text) and text[end] in "0123456789":
                end += 1
            text = text[:at] + dice.choice(_NUMBERS) + text[end:]
        return text.encode()
    copied = json.loads(json.dumps(document))
    for _ in range(dice.choice((1, 1, 2))):
        copied = dice.changed(copied)
    return json.dumps(copied, default=lambda value: value.hex()).encode()


# -- kept by a relay ------------------------------------------------------------------------------------------

_DRAINING = {"within_ms": 10_000, "gone": True, "left": ["zeek-1"], "held": 3}
_STATE = {"relay": "mid", "at_ms": T0, "queue": {"urgent": 0}, "counters": {"received": 5}}
_CLOCK = {"boot": "b", "base_ms": T0, "wall_ahead_ms": 0}


def read_drain(raw: bytes) -> None:
    with _file("mid.drain", raw) as path:
        read_draining(path)


def read_state(raw: bytes) -> None:
    with _file("mid.json", raw) as path:
        read_status(path, T0)


def read_clock(raw: bytes) -> None:
    with _file(".clock", raw) as path:
        clock = Clock(path, lambda: T0 * 1_000_000, lambda: 5_000_000, "b")
        assert isinstance(clock.now_ms(), int) and isinstance(clock.wall_ahead_ms(), int)


def pins(dice: Dice) -> bytes:
    return dice.damaged(b"".join(derive("pin", n).hex().encode() + b" zeek-1\n" for n in range(3)))


def read_pins(raw: bytes) -> None:
    with _file("pinned", raw):
        Pins(_folder()).admits(derive("pin", 0))


def place(dice: Dice) -> bytes:
    return dice.damaged(b"12 3456 7 1024 99") if dice.one_in(2) else dice.text().encode()


def read_place(raw: bytes) -> None:
    kept = place_of(raw.decode(errors="replace"))
    assert kept is None or place_of(kept.text()) == kept


# -- identities and keys --------------------------------------------------------------------------------------


@cache
def _identity() -> dict[str, bytes]:
    """The files of a whole identity's folder."""
    folder, secret, signer = _folder() / "whole", derive("curve secret"), Signer(derive("seed"))
    base = AUTHORITY.issue("zeek-9").credential
    curve_key = nacl.bindings.crypto_scalarmult_base(secret)
    body = replace(base, curve_key=curve_key, sign_key=signer.public, raw=b"", digest=b"")
    raw = issue(body, AUTHORITY.signer)
    dial = Dial("mid", "127.0.0.1:7700", derive("relay key"))
    save_identity(
        folder, raw, fabric=FABRIC, id_="zeek-9", authority_key=AUTHORITY.key, secrets=(secret, derive("seed")),
        relay=dial, backups=[dial], defaults=Defaults(Label.AMBER, {"event": 1_000}), extra={"kind": "point"},
    )
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def identity(dice: Dice) -> bytes:
    """All files of the folder as one JSON object, one of them not as it was."""
    files = dict(_identity())
    name = dice.choice(sorted(files))
    files[name] = dice.near(files[name]) if name == "credential" else json_near(dice, json.loads(files[name]))
    return json.dumps({name: content.hex() for name, content in files.items()}).encode()


def read_identity(raw: bytes) -> None:
    folder = _folder() / "ids" / "zeek-9"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        files = {name: bytes.fromhex(content) for name, content in json.loads(raw).items()}
    except (ValueError, AttributeError):
        return  # what was left of it is no folder
    for name, content in files.items():
        if name in _identity():
            (folder / name).write_bytes(content)
    with suppress(FabricError):
        load_identity(folder)
    with suppress(FabricError):
        issuers_at(folder.parent, "mid")
    own_directory(folder)


@cache
def _sealed() -> dict[str, object]:
    return {"version": 1, "fabric": FABRIC, **seal_seed(derive("authority's seed"), None)}


def key_file(dice: Dice) -> bytes:
    return json_near(dice, _sealed())


def read_key_file(raw: bytes) -> None:
    with suppress(FabricError, ValueError, KeyError, TypeError):  # `open_authority` turns these into an error
        document = read_document(raw)
        public_of(document)
        is_protected(document)
        if document.get("protection") == "none":
            open_seed(document, lambda: "")
    home = _folder() / "home"
    folder = home / FABRIC / "authority"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key.json").write_bytes(raw)
    with suppress(FabricError):
        open_authority(FABRIC, home)


def kept_list(dice: Dice) -> bytes:
    return dice.near(dice.choice(revocation_lists()))


def read_kept_list(raw: bytes) -> None:
    with _file("revocations", raw) as path, suppress(FabricError):
        read_revocations(path, AUTHORITY.key, FABRIC)


# -- topology -------------------------------------------------------------------------------------------------


@cache
def _topologies() -> tuple[str, ...]:
    return tuple(path.read_text() for path in sorted((_ROOT / "topologies").glob("*.toml")))


_VALUES = (
    '"red"', '"x"', "5", "-1", "true", "1.5", "nan", "[]", "{}", '[""]', '["a", 1]', '"127.0.0.1:99999"', '"::1"',
    '"9999999999d"', '"role="', '"a..b"', '"10.0.0.0/33"', "1979-05-27T07:32:00Z", '"\\u0000"', '"*"', '">"',
    "{ a = { b = 1 } }", "99999999999999999999", '"' + "x" * 300 + '"',
)


def topology(dice: Dice) -> bytes:
    """A topology file with other lines, values and names than it had."""
    lines = dice.choice(_topologies()).splitlines()
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = dice.randrange(len(lines))
        what = dice.randrange(6)
        name, equals, _ = lines[at].partition("=")
        if what == 0:
            del lines[at]
        elif what == 1:
            lines.insert(at, lines[dice.randrange(len(lines))])
        elif what in (2, 3) and equals:
            lines[at] = f"{name}= {dice.choice(_VALUES)}"
        elif what == 4 and equals:
            words = lines[at].split(",")
            key = dice.choice(("serves", "to", "x", "tags"))
            words[dice.randrange(len(words))] = f" {key} = {dice.choice(_VALUES)}"
            lines[at] = ",".join(words)
        else:
            lines[at] = dice.damaged(lines[at].encode()).decode(errors="replace")
        lines = lines or [""]
    raw = "\n".join(lines).encode()
    return dice.damaged(raw) if dice.one_in(10) else raw


def read_topology(raw: bytes) -> None:
    with _file("fabric.toml", raw) as path:
        read = check(path)
    assert (read.topology is None) == any(p.severity == "error" for p in read.problems), "neither read nor refused"
    for problem in read.problems:
        assert str(problem)


def _json(document: object) -> Callable[[Dice], bytes]:
    return lambda dice: json_near(dice, document)


TARGETS = (
    Bytes("drain-file", _json(_DRAINING), read_drain),
    Bytes("state-file", _json(_STATE), read_state),
    Bytes("clock-file", _json(_CLOCK), read_clock),
    Bytes("pins-file", pins, read_pins),
    Bytes("place", place, read_place),
    Bytes("identity", identity, read_identity),
    Bytes("key-file", key_file, read_key_file),
    Bytes("list-file", kept_list, read_kept_list),
    Bytes("topology", topology, read_topology, ms_max=1_000),
)
