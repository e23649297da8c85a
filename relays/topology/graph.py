"""A topology as a picture: a tree for the terminal, a flowchart for a page. Order is the file's."""

from __future__ import annotations

from fabric.protocol.vocabulary.tlp import Label
from relays.topology.model import PointSpec, RelaySpec, Topology

_COLOURS = {
    Label.CLEAR: "fill:#ffffff,stroke:#666,color:#000",
    Label.GREEN: "fill:#d5f0d5,stroke:#2a7a2a,color:#000",
    Label.AMBER: "fill:#ffe8b8,stroke:#b57b00,color:#000",
    Label.AMBER_STRICT: "fill:#ffd591,stroke:#8f5f00,color:#000",
    Label.RED: "fill:#ffc9c9,stroke:#b00020,color:#000",
}
# Points of one relay and role beyond this share a line: a picture of hundreds of equal leaves shows nothing.
_ALIKE_SHOWN = 4


def draw(topology: Topology) -> str:
    """The tree: relays with segment, clearance, address; points with role, clearance. Ends in a newline."""
    lines = [topology.fabric]
    _draw_relay(topology, topology.root, "", last=not topology.points_nearest(), lines=lines)
    nearest = topology.points_nearest()
    if nearest:
        lines.append("└─ (nearest relay)")
        _draw_points(nearest, "   ", followed=False, lines=lines)
    return "\n".join(lines) + "\n"


def _draw_relay(topology: Topology, relay: RelaySpec, margin: str, *, last: bool, lines: list[str]) -> None:
    lines.append(f"{margin}{'└─' if last else '├─'} {_relay_text(topology, relay)}")
    below = margin + ("   " if last else "│  ")
    children = topology.children(relay.id)
    _draw_points(topology.points_of(relay.id), below, followed=bool(children), lines=lines)
    for child in children:
        _draw_relay(topology, child, below, last=child is children[-1], lines=lines)


def _relay_text(topology: Topology, relay: RelaySpec) -> str:
    address = (
        relay.advertise
        if relay.advertise == relay.listen
        else f"{relay.advertise} (listens on {relay.listen})"
    )
    text = f"■ {relay.id}  segment {relay.segment}, {relay.clearance.short}, {address}"
    if relay.dial == "child":
        text += f", dialled by {relay.parent}"
    text += _backup_text(relay.backups)
    if relay.organisation != topology.organisation:
        text += f", of {relay.organisation}"
    if relay.client_of:
        text += f", client of {', '.join(relay.client_of)}"
    if relay.communities:
        text += f", in {', '.join(relay.communities)}"
    if relay.carries_sealed:
        text += ", carries what is sealed"
    return text


def _backup_text(backups: tuple[str, ...]) -> str:
    return f", backup {', '.join(backups)}" if backups else ""


def _draw_points(points: tuple[PointSpec, ...], margin: str, *, followed: bool, lines: list[str]) -> None:
    texts = _point_texts(points)
    for index, text in enumerate(texts):
        last = index == len(texts) - 1 and not followed
        lines.append(f"{margin}{'└─' if last else '├─'} {text}")


def _point_texts(points: tuple[PointSpec, ...]) -> list[str]:
    """A line for each, or one for many that are alike."""
    alike: dict[tuple[str, str, Label, tuple[str, ...]], list[PointSpec]] = {}
    for point in points:
        alike.setdefault((point.role, point.kind, point.clearance, point.backups), []).append(point)
    texts = []
    for (role, kind, clearance, backups), members in alike.items():
        as_operator = ", operator" if kind == "operator" else ""
        suffix = f"  {role}, {clearance.short}{as_operator}{_backup_text(backups)}"
        if len(members) > _ALIKE_SHOWN:
            texts.append(f"{members[0].id} .. {members[-1].id} ({len(members)}){suffix}")
        else:
            texts += [f"{point.id}{suffix}" for point in members]
    return texts


def mermaid(topology: Topology) -> str:
    """A Mermaid flowchart: parents above children, each link says who dials; dotted ones are backups."""
    lines = ["flowchart TD"]
    for relay in topology.relays.values():
        text = f"{relay.id}<br/>segment {relay.segment}<br/>{relay.clearance.short}<br/>{relay.advertise}"
        lines.append(f'    {_id("r", relay.id)}["{text}"]:::{_class(relay.clearance)}')
    for point in topology.points.values():
        text = f"{point.id}<br/>{point.role}"
        lines.append(f'    {_id("p", point.id)}(["{text}"]):::{_class(point.clearance)}')
    for relay in topology.relays.values():
        me = _id("r", relay.id)
        if relay.parent is not None:
            who = relay.id if relay.dial == "parent" else relay.parent
            lines.append(f'    {_id("r", relay.parent)} ---|"{who} dials"| {me}')
        lines += [f'    {_id("r", backup)} -.-|"backup"| {me}' for backup in relay.backups]
    for point in topology.points.values():
        if point.relay is not None:
            lines.append(f"    {_id('r', point.relay)} --- {_id('p', point.id)}")
        lines += [f'    {_id("r", backup)} -.-|"backup"| {_id("p", point.id)}' for backup in point.backups]
    lines += [f"    classDef {_class(label)} {colour}" for label, colour in _COLOURS.items()]
    return "\n".join(lines) + "\n"


def _id(kind: str, name: str) -> str:
    """Names have no `_`, so no two become one; the prefix keeps Mermaid's own words (`end`) out."""
    return f"{kind}_{name.replace('-', '_')}"


def _class(label: Label) -> str:
    return f"tlp_{label.name.lower()}"
