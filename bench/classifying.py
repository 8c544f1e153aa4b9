"""Journal entries a second through the agent's source and classifiers, beside ``journalctl -o json`` reading the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.classify.journald import JournalClassifier
from bench.figures import Figure, middle, spread
from bench.journal_source import make_journal, read_with_journalctl, read_with_source

GROUP: Final = "classify"
HEADING: Final = "Journal source and classifiers, against journalctl -o json"
LIMIT: Final = 1.0


def measure(place: Path, entries: int, rounds: int) -> list[Figure]:
    """Return rates and their ratio, medians of alternating rounds over a file of at least ``entries`` entries."""
    place.mkdir()
    path = place / "big.journal"
    made = make_journal(path, entries)
    pairs = [(made / read_with_source(path, JournalClassifier("pve1").classify), made / read_with_journalctl(path)) for _ in range(rounds)]
    ours, theirs = zip(*pairs, strict=True)
    ratios = [one / other for one, other in pairs]
    return [
        Figure(GROUP, "ratio", middle(ratios), limit=LIMIT, note=spread(ratios)),
        Figure(
            GROUP, "source and classifiers", middle(ours), "entries/s", note=f"{made} entries; only what is wanted is read; {spread(ours)}"
        ),
        Figure(GROUP, "journalctl -o json", middle(theirs), "entries/s", note=f"reads every entry, as who pipes it must; {spread(theirs)}"),
    ]
