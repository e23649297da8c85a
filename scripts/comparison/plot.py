"""The row `growth` as a picture: a line for each kind, by how many there are. SVG as it stands, without a library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, log10
from xml.sax.saxutils import escape

from scripts.comparison.figures import NotRun, Row

_WIDTH, _HEIGHT, _MARGIN = 720, 420, 60
_COLOURS = ("#1f5fa8", "#b8452c", "#3a7d44", "#7a4fa0")
Line = list[tuple[int, float]]


def lines_of(rows: Iterable[Row | NotRun]) -> dict[str, Line]:
    """By kind: how many, and what a message costs there, in us."""
    lines: dict[str, Line] = {}
    for row in rows:
        if isinstance(row, Row) and row.name == "growth":
            kind, _, size = row.figure.name.rpartition(" ")
            lines.setdefault(kind, []).append((int(size), row.ours))
    return lines


def plot(rows: Sequence[Row | NotRun]) -> str:
    """Both scales are logarithmic: whatever grows in proportion goes up as steeply as the frame's diagonal would if it
    were square."""
    lines = lines_of(rows)
    points = [point for line in lines.values() for point in line]
    decades_x = max(1, ceil(log10(max((size for size, _ in points), default=10))))
    low = min((log10(max(us, 1.0)) for _, us in points), default=0.0)
    bottom = int(low)
    decades_y = max(1, ceil(max((log10(max(us, 1.0)) for _, us in points), default=1.0)) - bottom)

    def x(size: float) -> float:
        return _MARGIN + log10(size) / decades_x * (_WIDTH - 2 * _MARGIN)

    def y(us: float) -> float:
        return _HEIGHT - _MARGIN - (log10(max(us, 1.0)) - bottom) / decades_y * (_HEIGHT - 2 * _MARGIN)

    def text(at_x: float, at_y: float, words: str, more: str = "") -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" {more}>{escape(words)}</text>'

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="13" fill="#222">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        text(_MARGIN, _MARGIN / 2, "microseconds of processor time per message", 'font-weight="bold"'),
    ]
    for decade in range(decades_x + 1):
        at = x(10.0**decade)
        drawn.append(f'<path d="M{at:.1f} {y(10.0 ** bottom):.1f}V{_MARGIN}" stroke="#ddd"/>')
        drawn.append(text(at, _HEIGHT - _MARGIN + 20, f"{10 ** decade:,}", 'text-anchor="middle"'))
    for decade in range(bottom, bottom + decades_y + 1):
        at = y(10.0**decade)
        drawn.append(f'<path d="M{_MARGIN} {at:.1f}H{_WIDTH - _MARGIN}" stroke="#ddd"/>')
        drawn.append(text(_MARGIN - 6, at + 4, f"{10 ** decade:,}", 'text-anchor="end"'))
    for (kind, line), colour in zip(lines.items(), _COLOURS, strict=False):
        way = " ".join(f"{x(size):.1f},{y(us):.1f}" for size, us in line)
        drawn.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x(size):.1f}" cy="{y(us):.1f}" r="3" fill="{colour}"/>' for size, us in line]
        size, us = line[-1]
        drawn.append(text(x(size) + 6, y(us) - 6, kind, f'fill="{colour}"'))
    return "\n".join([*drawn, "</svg>"]) + "\n"
