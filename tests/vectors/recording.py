"""A recorded conversation on disk: who took part, each frame once, and the turns of each node.

`cast.json`: who is who. `frames.jsonl`: what was on the wire, a frame a line, in order. `turns.jsonl`: what happened to
a node at a time and what it answered, where frames are named by their line in `frames.jsonl`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.vectors.played import Person, Played, Turn
from tests.vectors.reader import name_of


@dataclass
class Recording:
    """`turns`: (node, turn), in order. `frames`: (from, to, bytes); their order is that in which they were sent."""

    fabric: str
    begins_ms: int
    authority_key: bytes
    people: dict[str, Person]
    frames: list[tuple[str, str, bytes]] = field(default_factory=list)
    turns: list[tuple[str, Turn]] = field(default_factory=list)

    def play(self, name: str) -> Played:
        """This node, as it was at the beginning."""
        return Played(self.people[name], self.authority_key, self.fabric, self.begins_ms)

    def write(self, folder: Path) -> None:
        """Into a folder that is not there. Raises FileExistsError."""
        folder.mkdir()
        (folder / "cast.json").write_text(json.dumps({
            "fabric": self.fabric, "begins_ms": self.begins_ms, "authority_key": self.authority_key.hex(),
            "people": [person.to_json() for person in self.people.values()],
        }, indent=1) + "\n")
        numbers: dict[bytes, int] = {}
        lines = []
        for number, (sender, receiver, raw) in enumerate(self.frames):
            numbers.setdefault(raw, number)
            lines.append({"frame": number, "what": name_of(raw), "from": sender, "to": receiver, "hex": raw.hex()})
        _write_lines(folder / "frames.jsonl", lines)
        _write_lines(folder / "turns.jsonl", [
            {"at": turn.at_ms, "node": name, "did": [_out(each, numbers) for each in turn.did]}
            | {"said": [[link, numbers[raw]] for link, raw in turn.said]}
            | {"told": [_out(each, numbers) for each in turn.told], "ended": [list(each) for each in turn.ended]}
            for name, turn in self.turns
        ])

    @classmethod
    def read(cls, folder: Path) -> Recording:
        cast = json.loads((folder / "cast.json").read_text())
        people = [Person.of(each) for each in cast["people"]]
        recording = cls(
            cast["fabric"], cast["begins_ms"], bytes.fromhex(cast["authority_key"]), {each.id: each for each in people}
        )
        for line in _lines(folder / "frames.jsonl"):
            recording.frames.append((line["from"], line["to"], bytes.fromhex(line["hex"])))
        frames = [raw for _, _, raw in recording.frames]
        for line in _lines(folder / "turns.jsonl"):
            recording.turns.append((line["node"], Turn(
                line["at"], [_in(each, frames) for each in line["did"]],
                [(link, frames[number]) for link, number in line["said"]],
                [_in(each, frames) for each in line["told"]], [(link, code) for link, code in line["ended"]],
            )))
        return recording


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _out(value: Any, numbers: dict[bytes, int]) -> Any:
    match value:
        case ["frame", link, raw]:
            return ["frame", link, numbers[raw]]
        case bytes():
            return "x" + value.hex()  # no text of a recording begins with an x
        case list():
            return [_out(each, numbers) for each in value]
        case str():
            assert not value.startswith("x")
    return value


def _in(value: Any, frames: list[bytes]) -> Any:
    match value:
        case ["frame", link, number]:
            return ["frame", link, frames[number]]
        case list():
            return [_in(each, frames) for each in value]
        case str() if value.startswith("x"):
            return bytes.fromhex(value[1:])
    return value
