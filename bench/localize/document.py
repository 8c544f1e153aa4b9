"""The document of a run: docs/benchmark.md with its tables, and the plots beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from bench.localize.baselines.catalog import BASELINES
from bench.localize.conditions import BY_NAME, Condition
from bench.localize.figures import Summary, reliability, summed
from bench.localize.table import COLUMNS, cells, wrong_by_verb
from bench.localize.trials import OURS, Result

_PROSE: Final = Path(__file__).with_name("document.md")
"""How truths are made, how baselines work and where their sources are: all that no run changes."""


def write(path: Path, found: Mapping[str, Sequence[Result]], engines: Sequence[str], plot: str, today: date) -> None:
    """Write tables of each condition's results into the prose; ``plot`` is the plot's name beside the document, empty for none."""
    lines = [f"{today.isoformat()}, {sum(len(one) for one in found.values())} trials.", ""]
    for name, results in found.items():
        lines += _condition(BY_NAME[name], results, engines)
    if plot:
        lines += ["## Accuracy against loss and false alarms", "", f"![Accuracy against loss and against false alarms]({plot})", ""]
    path.write_text(_PROSE.read_text(encoding="utf-8").replace("<!-- results -->\n", "\n".join(lines)), encoding="utf-8")


def _condition(condition: Condition, results: Sequence[Result], engines: Sequence[str]) -> Iterator[str]:
    yield from (f"### {condition.name}", "", f"{condition.about} {len(results)} trials, 3 to 64 nodes.", "")
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|---|{'---:|' * (len(COLUMNS) - 1)}"
    sums = {engine: summed(results, engine) for engine in engines}
    for engine, one in sums.items():
        yield f"| {engine} | {' | '.join(cells(one))} |"
    yield ""
    yield _winners(sums)
    yield ""
    yield "| confidence | incidents | right |"
    yield "|---|---:|---:|"
    for least, most, count, share in reliability(results, OURS):
        if count:
            yield f"| {least:.2f}–{most:.2f} | {count} | {100 * share:.1f} % |"
    yield ""
    if wrong := wrong_by_verb(results):
        yield f"Not all right, by fault: {wrong}."
        yield ""


def _winners(sums: Mapping[str, Summary]) -> str:
    """Say on which axes which baseline does better than this engine."""
    ours = sums[OURS]
    better = {
        engine: [name for name, value in _axes(sums[engine]).items() if value > _axes(ours)[name]] for engine in BASELINES if engine in sums
    }
    won = [f"{engine} ({', '.join(axes)})" for engine, axes in better.items() if axes]
    return f"Better than this engine: {'; '.join(won)}." if won else "No baseline is better on any axis."


def _axes(one: Summary) -> dict[str, float]:
    """Return what is compared, higher is better; rounded as printed, so that nobody wins by what nobody sees."""
    shares = {
        "top-1": one.top1,
        "with cause": one.cause,
        "top-3": one.top3,
        "all named": one.both,
        "precision": one.precision,
        "recall": one.recall,
        "compression": one.compression,
    }
    rounded = {name: round(value, 4) for name, value in shares.items()}
    times = {"first p50": one.first[0], "first p99": one.first[1], "stable p50": one.stable[0], "stable p99": one.stable[1]}
    return {
        **rounded,
        **{name: -round(value, 1) for name, value in times.items()},
        "false shared": -one.false_shared,
        "CPU": -round(one.micros),
    }
