"""What a measurement yields: figures, some with a limit; and how they are shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Final, Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. ``limit`` is the least that is wanted, or with ``sense`` ``at most`` the most; None: only shown."""

    group: str
    name: str
    value: float
    unit: str = ""
    limit: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return ``PASS``, ``below`` or ``above``; empty without a limit."""
        if self.limit is None:
            return ""
        if self.sense == "at least":
            return "PASS" if self.value >= self.limit else "below"
        return "PASS" if self.value <= self.limit else "above"


def shown(value: float) -> str:
    """Return a number with three significant digits, thousands apart."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(figures: Iterable[Figure], headings: dict[str, str]) -> None:
    """Print figures under their group's heading."""
    console = Console(width=_WIDTH)
    for group, some in groupby(figures, key=lambda one: one.group):
        table = Table(title=f"\n{headings[group]}", title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
        for column in range(5):
            table.add_column(justify="right" if column == 1 else "left", no_wrap=True)
        for one in some:
            limit = "" if one.limit is None else f"{'≥' if one.sense == 'at least' else '≤'} {shown(one.limit)}"
            colour = "green" if one.verdict == "PASS" else "red"
            table.add_row(
                f"  {one.name}", f"{shown(one.value)} {one.unit}", limit, f"[{colour}]{one.verdict}[/]" if one.verdict else "", one.note
            )
        console.print(table)


_WIDTH: Final = 200
"""A line stays a line, also in a log of a machine without a terminal."""


def print_json(figures: Iterable[Figure], machine: dict[str, object]) -> None:
    """Print figures and what they were measured on as one JSON object."""
    print(json.dumps({"machine": machine, "figures": [{**asdict(one), "verdict": one.verdict or None} for one in figures]}, indent=2))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 1000) // 1000) - 1)]


def spread(values: Sequence[float]) -> str:
    """Say how far single rounds lay apart."""
    return f"median of {len(values)}: {shown(min(values))} to {shown(max(values))}"


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)
