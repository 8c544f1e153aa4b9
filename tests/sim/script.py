"""Scripts of scenarios: a cluster, steps at virtual times, how bad the reports are, and what is true.

``script.toml`` holds:

- ``cluster``: a name of `layouts/`, or ``{seed = …, nodes = …}``; ``nodes``: another number of nodes than the layout's.
- ``steps``: ``"SECONDS WHAT …"``. What: ``fault …`` and ``end …`` (words of :mod:`tests.sim.breaking`; what ends is named as it began),
  ``flap PERIOD TIMES …`` (broken for one period, well for the next, so many times), ``happens …`` (:mod:`tests.sim.happening`),
  ``partition NODES SECONDS`` (their agents cannot reach the controller, and send later what they saw),
  ``controller SECONDS`` (the controller is away for so long and takes up its stored state).
- ``until``: when it ends, seconds; else 120 s after the last step.
- ``channel``: fields of :class:`tests.sim.channel.Channel`; ``skew``: seconds by which nodes' clocks are wrong.
- ``journals``: whether there are only journals, as in `faultline replay`: no probe, no heartbeat, no fact.
- ``truth``: ``"BEGIN-END CAUSE ENTITY [NODES]"`` of each incident that must be told, in seconds; without END it lasts.
  ``planned``: the same, and nobody may be called. ``outgrown``: planned at first, and people are called while it lasts.
  ``passing``: ``"CAUSE ENTITY"`` that may be told first; a comment says why.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sim.channel import Channel
from tests.sim.layout import cluster
from tests.sim.plan import Plan
from tests.sim.stage import SECOND
from tests.sim.truth import Name

_AFTERWARDS = 120
"""Seconds that a scenario goes on after its last step."""
_KEYS = frozenset({"cluster", "nodes", "steps", "until", "channel", "skew", "journals", "truth", "planned", "outgrown", "passing"})


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done, at µs after the beginning."""

    at: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """One incident that must be told. Times are µs after the beginning."""

    begin: int
    end: int | None
    name: Name
    nodes: tuple[str, ...] = ()
    """That are named; empty where it does not matter."""
    planned: bool = False
    outgrown: bool = False
    """Planned when it is told first, and not any more while it lasts."""


@dataclass(frozen=True, slots=True)
class Script:
    """One scenario."""

    name: str
    plan: Plan
    steps: tuple[Step, ...]
    until: int
    channel: Channel
    skews: Mapping[str, int] = field(default_factory=dict)
    """µs by node."""
    journals: bool = False
    claims: tuple[Claim, ...] = ()
    passing: frozenset[Name] = frozenset()


def read(folder: Path) -> Script:
    """Return the script of a scenario's folder.

    :raises ValueError: when it says what nobody understands.
    """
    given = tomllib.loads((folder / "script.toml").read_text())
    if unknown := set(given) - _KEYS:
        raise ValueError(f"{folder.name}: unknown: {', '.join(sorted(unknown))}")
    steps = sorted((one for text in given["steps"] for one in _steps(str(text))), key=lambda one: one.at)
    last = steps[-1].at if steps else 0
    return Script(
        folder.name,
        cluster(given["cluster"], given.get("nodes")),
        tuple(steps),
        _micros(given["until"]) if "until" in given else last + _AFTERWARDS * SECOND,
        Channel(**given.get("channel", {})),
        {node: _micros(seconds) for node, seconds in given.get("skew", {}).items()},
        bool(given.get("journals")),
        tuple(_claims(given)),
        frozenset(_name(one.split()) for one in given.get("passing", ())),
    )


def _micros(seconds: float | str) -> int:
    return round(float(seconds) * SECOND)


def _steps(text: str) -> Iterator[Step]:
    at, *words = text.split()
    if words[0] != "flap":
        yield Step(_micros(at), tuple(words))
        return
    period, times, what = _micros(words[1]), int(words[2]), words[3:]
    for turn in range(times):
        yield Step(_micros(at) + 2 * turn * period, ("fault", *what))
        yield Step(_micros(at) + (2 * turn + 1) * period, ("end", *what))


def _claims(given: Mapping[str, Any]) -> Iterator[Claim]:
    for key in ("truth", "planned", "outgrown"):
        for text in given.get(key, ()):
            span, cause, entity, *nodes = text.split()
            begin, _, end = span.partition("-")
            named = tuple(nodes[0].split(",")) if nodes else ()
            yield Claim(_micros(begin), _micros(end) if end else None, (cause, entity), named, key == "planned", key == "outgrown")


def _name(words: list[str]) -> Name:
    cause, entity = words
    return cause, entity
