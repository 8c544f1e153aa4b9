"""Accuracy against loss and against false alarms, one line for each engine, as an SVG written by hand: no library is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Engine to (share lost or false, share named right with cause)."""
_COLOURS: Final = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f")
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 420, 300, 60, 40, 90
_LEGEND: Final = 170


def write(path: Path, panels: Sequence[tuple[str, Curves]]) -> None:
    """Write one panel beside the other: its title, which is that of its horizontal axis, and its curves."""
    width = _LEFT + len(panels) * (_WIDTH + _GAP) + _LEGEND
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT + _TOP + 60}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (title, curves) in enumerate(panels):
        parts += _panel(_LEFT + number * (_WIDTH + _GAP), title, curves)
    parts += _legend(_LEFT + len(panels) * (_WIDTH + _GAP) - _GAP // 2, list(panels[0][1]) if panels else [])
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def _panel(left: int, title: str, curves: Curves) -> list[str]:
    most = max((x for points in curves.values() for x, _ in points), default=1.0) or 1.0
    bottom = _TOP + _HEIGHT
    parts = [f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#999"/>']
    for step in range(6):
        y = bottom - _HEIGHT * step / 5
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + _WIDTH}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{20 * step} %</text>')
    parts += [
        f'<text x="{left + _WIDTH * x / most:.1f}" y="{bottom + 18}" text-anchor="middle">{100 * x:.0f} %</text>'
        for x in sorted({x for points in curves.values() for x, _ in points})
    ]
    parts.append(f'<text x="{left + _WIDTH / 2:.0f}" y="{bottom + 40}" text-anchor="middle">{escape(title)}</text>')
    parts.append(f'<text x="{left}" y="{_TOP - 12}">faults named with entity and cause</text>')
    for number, points in enumerate(curves.values()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [(left + _WIDTH * x / most, bottom - _HEIGHT * y) for x, y in points]
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="{3 if number == 0 else 1.5}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
    return parts


def _legend(left: int, names: Sequence[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        y = _TOP + 14 + 20 * number
        parts.append(
            f'<line x1="{left}" y1="{y - 4}" x2="{left + 22}" y2="{y - 4}" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="3"/>'
        )
        parts.append(f'<text x="{left + 28}" y="{y}">{escape(name)}</text>')
    return parts
