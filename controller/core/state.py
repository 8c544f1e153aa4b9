"""All that the core remembers, as one value: cells, nodes, incidents. What changed is listed, so that it can be stored.

A state is owned by whoever calls :func:`controller.core.correlate.step` and changed in place by it; nobody else holds on to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from controller.core.causes import Cause
from controller.core.evidence import SECOND, Answer
from controller.core.facts import Facts, record_name
from controller.core.happenings import Happening, Recent
from controller.core.incident import IncidentState
from controller.core.topology.topology import Topology
from events.base import Event

if TYPE_CHECKING:
    from controller.core.inference.verdict import Verdict

SEPARATOR = "\x1f"
"""Between the parts of a cell's key; entities hold no control characters."""
_FACTS = "facts"
CONTROLLER = "controller"
"""Observer's name in cells that the controller itself fills, such as an agent's silence."""


@dataclass(slots=True)
class Cell:
    """One node's answer to one question about one entity. Times are UTC microseconds."""

    node: str
    entity: str
    aspect: str
    via: str
    layer: int
    answer: Answer
    since: int
    """When this answer began."""
    seen: int
    """When it was last confirmed."""
    broke: int = 0
    """When it last went bad; kept while it is well again, for faults that recover node by node."""
    relapsed: int = 0
    """When it last went bad right after it had been well; 0 when it never did. What flaps counts as bad until it has been calm."""
    calm: int = 0
    """When what flaps and is well now counts as well; 0 when it is bad, or does not flap."""
    expires: int = 0
    """When an unrenewed bad answer turns unknown; 0 is never."""
    notices: int | None = None
    lapsed: bool = False
    """Whether it was bad when it was forgotten, and nobody called it well since: what is bad after a reboot was so before."""
    was_ok: bool = False
    """Whether it was ever well."""
    silent: bool = False
    """Whether the way was last lost without an answer from the far end."""
    planned: bool = False
    """Whether an administrator meant it to be bad."""
    repeated: bool = False
    """Whether it was said again since it went bad, or went bad twice: then it was no accident."""
    excerpt: str = ""
    origin: str = ""
    """Identity of the event that brought this answer."""
    probe: str = ""
    """The source that looks at this all the time, empty while none ever called it bad: what it calls bad it calls so again each minute."""

    key: str = field(init=False, repr=False, compare=False)
    """Its stable key, under which it is stored: the parts never change, and a verdict asks for it thousands of times."""

    def __post_init__(self) -> None:
        """Set the key."""
        self.key = cell_key(self.node, self.entity, self.aspect, self.via)


def cell_key(node: str, entity: str, aspect: str, via: str) -> str:
    """Return the key of a cell: its four parts, between unit separators, which no name may hold."""
    return f"{node}{SEPARATOR}{entity}{SEPARATOR}{aspect}{SEPARATOR}{via}"


@dataclass(slots=True)
class NodeInfo:
    """What is known of a node's agent."""

    name: str
    heard: int = 0
    """About when the controller last heard it, controller's clock; 0 when liveness is not watched (replay)."""
    silent: bool = False
    ahead: int = 0
    """Microseconds that its clock is ahead of the controller's, where that matters; its observations are put right by it."""


@dataclass(slots=True)
class Incident:
    """One fault's life. Roots are the cells that the cause explains directly, consequences those that follow from them."""

    id: str
    state: IncidentState
    cause: Cause
    entity: str
    scope: str
    """What a node lost, when the fault is one node's: an entity or empty for all of its storage network."""
    roots: list[str]
    consequences: list[str]
    opened_at: int
    changed_at: int
    number: int = 0
    confidence: float = 0.0
    score: float = 0.0
    nodes: list[str] = field(default_factory=list)
    alternatives: list[dict[str, Any]] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    recovered_at: int | None = None
    resolved_at: int | None = None
    relapses: int = 0
    planned: bool = False
    """Whether an administrator meant it, and nobody was told otherwise yet: then nobody is called."""
    called: bool = False
    """Whether people have been called for it."""
    halted: bool = False
    """Whether data of a Ceph cluster serves no I/O by it, although its cause alone leaves that be."""
    merged_into: str = ""
    joined: bool = False
    """Whether cells became part of it of which nobody was told yet."""
    timeline: list[tuple[int, str, str]] = field(default_factory=list)
    proof: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Cell key to (when it went bad, excerpt): kept when the cell itself has moved on."""

    @property
    def cells(self) -> set[str]:
        """Return the keys of all its cells."""
        return {*self.roots, *self.consequences}


class CoreState:
    """The tables. Use :meth:`touch` after changing a record, so that :meth:`take_changes` lists it."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.cells: dict[str, Cell] = {}
        self.nodes: dict[str, NodeInfo] = {}
        self.incidents: dict[str, Incident] = {}
        self.facts = Facts()
        """Changed only through :meth:`learn`."""
        self.topology = Topology(self.facts)
        self.recent = Recent()
        """Changed only through :meth:`happen`."""
        self.heard: dict[str, int] = {}
        """When each watched node was last heard; stored now and then as :attr:`NodeInfo.heard`."""
        self.awaited: set[str] = set()
        """Nodes that were heard before a restart and are not heard again yet."""
        self.awaited_until = 0
        """Until then nothing new is opened while somebody is awaited: backlogs arrive one after the other."""
        self.version = 0
        """Grows with every change of a cell or fact: what was judged at one version is right until the next."""
        self.judged: tuple[tuple[int, frozenset[str]], list[Verdict]] | None = None
        """The verdicts of the last look, where time alone does not change them. Not stored: they are found again."""
        self.now = 0
        """The time of the last step, controller's clock. After :meth:`load` the latest that it can have been."""
        self.holds = False
        """Whether a verdict waits for more evidence. Not stored: a restart looks at once."""
        self.look_at: int | None = None
        """When the verdict must be looked at again."""
        self._touched: set[tuple[str, str]] = set()

    def learn(self, event: Event, at: int) -> bool:
        """Take in a fact, observed at ``at`` (UTC µs); return whether it says anything new."""
        news = self.facts.take(event, at)
        self.version += bool(news)
        for changed in news:
            self.topology.changed(*changed)
            self.touch(_FACTS, record_name(changed))
        return bool(news)

    def happen(self, one: Happening) -> None:
        """Take note of something that was done to the cluster."""
        self.version += 1
        for key in self.recent.take(one):
            self.touch("happenings", key)

    def touch(self, table: str, key: str) -> None:
        """Note that a record was changed or deleted."""
        self._touched.add((table, key))

    def take_changes(self) -> Iterator[tuple[str, str, dict[str, Any] | None]]:
        """Yield (table, key, plain record or None when deleted) of all changes since the last call."""
        touched, self._touched = self._touched, set()
        for table, key in sorted(touched):
            if table == _FACTS:
                yield table, key, self.facts.dump(key)
            else:
                record = self._table(table).get(key)
                yield table, key, None if record is None else plain(record)

    def load(self, records: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
        """Restore what :meth:`take_changes` once yielded."""
        for table, key, record in records:
            if table == _FACTS:
                self.facts.load(record)
            else:
                self._table(table)[key] = _RECORDS[table](record)
        for cell in self.cells.values():
            self.meet(cell)
        times = [cell.seen - SECOND for cell in self.cells.values()]
        times += [incident.changed_at for incident in self.incidents.values()]
        times += [node.heard for node in self.nodes.values()]
        # Nodes' clocks may be ahead by less than that, which is never put right.
        self.now = max(0, *times, self.facts.latest() - SECOND)

    def meet(self, cell: Cell) -> None:
        """Let the topology know of the way that a new cell tells of: a session's portal and target."""
        self.version += 1
        if cell.aspect == "session" and cell.via:
            self.topology.meet(cell.node, cell.via.partition("/")[2], cell.entity)

    def _table(self, name: str) -> dict[str, Any]:
        tables: dict[str, dict[str, Any]] = {
            "cells": cast("dict[str, Any]", self.cells),
            "nodes": cast("dict[str, Any]", self.nodes),
            "incidents": cast("dict[str, Any]", self.incidents),
            "happenings": cast("dict[str, Any]", self.recent.all),
        }
        return tables[name]

    def live_incidents(self) -> list[Incident]:
        """Return incidents that are not resolved, oldest first."""
        live = [one for one in self.incidents.values() if one.state is not IncidentState.RESOLVED]
        return sorted(live, key=lambda one: (one.opened_at, one.id))


def plain(record: Cell | NodeInfo | Incident | Happening) -> dict[str, Any]:
    """Return a record as plain maps, lists, texts and numbers; what follows from the rest is left out."""
    found = asdict(record)
    if isinstance(record, Cell):
        del found["key"]
    return found


def _load_cell(record: dict[str, Any]) -> Cell:
    return Cell(**{**record, "answer": Answer(record["answer"])})


def _load_incident(record: dict[str, Any]) -> Incident:
    timeline = [(at, change, text) for at, change, text in record["timeline"]]
    proof = {key: (at, text) for key, (at, text) in record["proof"].items()}
    called = record.get("called", not record["planned"])
    fixed = {
        "state": IncidentState(record["state"]),
        "cause": Cause(record["cause"]),
        "timeline": timeline,
        "proof": proof,
        "called": called,
    }
    return Incident(**{**record, **fixed})


_RECORDS: dict[str, Any] = {
    "cells": _load_cell,
    "nodes": lambda record: NodeInfo(**record),
    "incidents": _load_incident,
    "happenings": lambda record: Happening(**record),
}
