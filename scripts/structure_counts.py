"""How the code hangs together, counted from its source. Nothing is imported or run.

A room is a folder or a module directly below the part that is looked at. An arrow leads from the room that imports to
the one that is imported, once for each pair. Storeys are the rooms on the longest way along arrows; rooms that reach
each other are one circle, and count as one storey.

Exit codes: 0 counted; 2 usage.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.help_texts import parser_of

ROOT = Path(__file__).parent.parent
PARTS = ("fabric/protocol", "fabric/edge", "fabric/spool", "fabric/transport", "relays")


@dataclass(frozen=True)
class Module:
    """One file: its dotted name, the modules and names that it imports, its classes with their bases."""

    name: str
    lines: int
    imports: frozenset[str]
    classes: tuple[tuple[str, tuple[str, ...]], ...]
    without_docstring: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """`chain`: the classes of the longest way from a class to its last base of this project, itself counted."""

    part: str
    rooms: int
    arrows: int
    storeys: int
    circles: int
    modules: int
    module_arrows: int
    chain: int
    chain_of: str
    largest: int
    largest_of: str
    without_docstring: int


def read(root: Path, part: str) -> list[Module]:
    return [_module(root, path) for path in sorted((root / part).rglob("*.py"))]


def count(part: str, modules: list[Module]) -> Counts:
    """Of the modules of one part."""
    names = {module.name for module in modules}
    arrows = {
        module.name: {target for target in map(_known(names), module.imports) if target and target != module.name}
        for module in modules
    }
    depth = part.count("/") + 1
    rooms_arrows: dict[str, set[str]] = defaultdict(set)
    room_of = _rooms(names, depth)
    for name, targets in arrows.items():
        rooms_arrows[room_of[name]] |= {room_of[target] for target in targets} - {room_of[name]}
    # The folder itself is a room only where something is in it.
    own = ".".join(part.split("/"))
    if not rooms_arrows.get(own) and not any(own in targets for targets in rooms_arrows.values()):
        rooms_arrows.pop(own, None)
    circles = _circles(rooms_arrows)
    chain = max(_chains(modules), key=len, default=())
    largest = max(modules, key=lambda module: module.lines)
    return Counts(
        part, len(rooms_arrows), sum(map(len, rooms_arrows.values())), _storeys(rooms_arrows, circles),
        sum(len(circle) > 1 for circle in circles), len(modules), sum(map(len, arrows.values())),
        len(chain), " < ".join(chain[:3]) + (" < ..." if len(chain) > 3 else ""), largest.lines, largest.name,
        sum(len(module.without_docstring) for module in modules),
    )


# -- one file -------------------------------------------------------------------------------------------------


def _module(root: Path, path: Path) -> Module:
    text = path.read_text()
    tree = ast.parse(text, str(path))
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    nodes = list(ast.walk(tree))
    classes = tuple(
        (node.name, tuple(ast.unparse(base).rpartition(".")[2].partition("[")[0] for base in node.bases))
        for node in nodes if isinstance(node, ast.ClassDef)
    )
    return Module(name, text.count("\n"), frozenset(_imports(nodes)), classes, tuple(undocumented(tree)))


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Public modules, classes and functions of a module that nothing is said about."""
    if not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if not node.name.startswith("_") and not ast.get_docstring(node):
            yield node.name


# -- all of them ----------------------------------------------------------------------------------------------


def _known(names: set[str]):  # type: ignore[no-untyped-def]
    """Finds the module that a dotted name is, or is in."""

    def find(dotted: str) -> str | None:
        while dotted and dotted not in names:
            dotted = dotted.rpartition(".")[0]
        return dotted or None

    return find


def _rooms(names: Iterable[str], depth: int) -> dict[str, str]:
    return {name: ".".join(name.split(".")[: depth + 1]) for name in names}


def _reach(arrows: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    to_see = [start]
    while to_see:
        for target in arrows.get(to_see.pop(), ()):
            if target not in seen:
                seen.add(target)
                to_see.append(target)
    return seen


def _circles(arrows: dict[str, set[str]]) -> list[frozenset[str]]:
    """Rooms that reach each other, together; each other room alone."""
    reach = {room: _reach(arrows, room) for room in arrows}
    return list({
        frozenset({room} | {other for other in reach[room] if room in reach.get(other, ())}) for room in arrows
    })


def _storeys(arrows: dict[str, set[str]], circles: list[frozenset[str]]) -> int:
    of = {room: circle for circle in circles for room in circle}
    heights: dict[frozenset[str], int] = {}

    def height(circle: frozenset[str]) -> int:
        if circle not in heights:
            below = {of[target] for room in circle for target in arrows[room] if target in of} - {circle}
            heights[circle] = 1 + max(map(height, below), default=0)
        return heights[circle]

    return max(map(height, circles), default=0)


def _chains(modules: list[Module]) -> Iterator[tuple[str, ...]]:
    bases = {name: above for module in modules for name, above in module.classes}

    def chain(name: str, seen: tuple[str, ...]) -> tuple[str, ...]:
        ways = [chain(base, (*seen, name)) for base in bases[name] if base in bases and base not in seen]
        return (name, *max(ways, key=len, default=()))

    return (chain(name, ()) for name in bases)


def main() -> int:
    """Reads the arguments; the exit code."""
    parser = parser_of("scripts/structure", __doc__, "", "--root ../other-checkout --json")
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout of this project")
    parser.add_argument("--json", action="store_true", help="one object per part")
    asked = parser.parse_args()
    if not (asked.root / PARTS[0]).is_dir():
        parser.error(f"{asked.root} is no checkout of this project")
    found = [count(part, read(asked.root, part)) for part in PARTS]
    for counts in found:
        if asked.json:
            sys.stdout.write(json.dumps(asdict(counts)) + "\n")
            continue
        sys.stdout.write(
            f"{counts.part}: {counts.rooms} rooms, {counts.arrows} arrows, {counts.storeys} storeys, "
            f"{counts.circles} circles; {counts.modules} modules, {counts.module_arrows} arrows\n"
            f"  longest chain of bases {counts.chain} ({counts.chain_of}); largest file {counts.largest} lines "
            f"({counts.largest_of}); {counts.without_docstring} public names without a docstring\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
