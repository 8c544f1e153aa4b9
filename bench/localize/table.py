"""How results are shown: one table for each condition with a line for each engine, what was named wrong, the table of reliability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.localize.figures import Summary, reliability, summed
from bench.localize.trials import OURS, Result

_WIDTH: Final = 200
COLUMNS: Final = (
    "engine",
    "top-1",
    "with cause",
    "top-3",
    "all named",
    "precision",
    "recall",
    "per fault",
    "compression",
    "first p50/p99 s",
    "stable p50/p99 s",
    "false shared",
    "µs/event",
)
_WORST: Final = 20
"""Verbs listed as named wrong."""


def show(name: str, results: Sequence[Result], engines: Sequence[str], seconds: float, wrong: int) -> None:
    """Print one condition."""
    console = Console(width=_WIDTH)
    table = Table(
        title=f"\n{name}: {len(results)} trials, {len(results) / seconds:.0f} a second",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "engine" else "right", no_wrap=True)
    for engine in engines:
        table.add_row(engine, *cells(summed(results, engine)))
    console.print(table)
    for line in _details(results, wrong):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


class Progress:
    """Prints what the first trials of a long run came to, so that one that is stopped half way has said what it found."""

    def __init__(self, name: str, engine: str, each: int = 5000) -> None:
        self._name, self._engine, self._each = name, engine, each
        self._next = each

    def __call__(self, results: Sequence[Result]) -> None:
        """Take in all results so far, in order of their seeds; print a line for each ``each`` of them, at once."""
        if len(results) < self._next:
            return
        self._next = (len(results) // self._each + 1) * self._each
        marks = [one.marks[self._engine] for one in results]
        right = sum(one.cause == one.faults for one in marks)
        shared = sum(one.false_shared for one in marks)
        print(
            f"{self._name}: {len(results)} trials up to {results[-1].seed}, {self._engine}: {right} with all faults named right,"
            f" {shared} with a false shared one, {sum(bool(one.problem) for one in marks)} wrong or too many",
            flush=True,
        )


def cells(one: Summary) -> Iterator[str]:
    """Yield an engine's figures as text, in the order of :data:`COLUMNS`."""
    for share in (one.top1, one.cause, one.top3, one.both, one.precision, one.recall):
        yield f"{100 * share:.2f} %"
    yield f"{one.incidents:.2f}"
    yield f"{100 * one.compression:.2f} %"
    for p50, p99 in (one.first, one.stable):
        yield f"{p50:.1f} / {p99:.1f}"
    yield str(one.false_shared)
    yield f"{one.micros:.0f}"


def _details(results: Sequence[Result], wrong: int) -> Iterator[str]:
    buckets = [
        f"{least:.2f}–{most:.2f}: {100 * share:.1f} % of {count}" for least, most, count, share in reliability(results, OURS) if count
    ]
    yield f"share right by confidence: {', '.join(buckets)}"
    yield f"wrong or too many, by verb: {wrong_by_verb(results) or 'none'}"
    for one in [one for one in results if one.marks[OURS].problem][:wrong]:
        yield f"{one.seed} {one.verb} ({one.nodes} nodes): {one.marks[OURS].problem}"


def wrong_by_verb(results: Sequence[Result]) -> str:
    """Return the faults that this engine named wrong, or not alone, most often first: how many of how many."""
    times: Counter[str] = Counter(one.verb for one in results)
    bad: Counter[str] = Counter(one.verb for one in results if one.marks[OURS].problem)
    worst = sorted(bad, key=lambda verb: (-bad[verb], verb))
    return ", ".join(f"{verb} {bad[verb]}/{times[verb]}" for verb in worst[:_WORST])
