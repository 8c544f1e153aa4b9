"""What a check is and what it says: findings, and what could not be looked at.

A check is an entry of a table: what it is called, why it matters, what to do, and a function that finds where it applies. Findings take
their words from that entry, so that `docs/checks.md` and the command's output cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from controller.check.view import View

States = Mapping[tuple[str, str, str], str]
"""``bad``, ``ok`` or ``unknown`` by (node that says so, entity as text, aspect), as the controller's evidence has it."""


class Severity(StrEnum):
    """How bad a finding is, the worst first."""

    ERROR = "error"
    """Guests will stand still, or lose data, in a fault that this cluster is meant to survive; or something is broken now."""
    WARNING = "warning"
    """A fault is more likely, reaches further, or is found later than it need be."""
    NOTE = "note"
    """Worth knowing; right on purpose in many clusters."""

    @property
    def rank(self) -> int:
        """Return 0 for the worst, and on."""
        return list(Severity).index(self)


class Need(StrEnum):
    """Facts that a check looks at; the text says where they come from."""

    STORAGES = "storage.cfg"
    COROSYNC = "corosync.conf"
    CEPH = "ceph.conf"
    MOUNTS = "mounts of each node"
    ISCSI = "iSCSI sessions of each node"
    MULTIPATH = "multipath maps of each node"
    VOLUMES = "LVM volume groups of each node"
    NETWORKS = "addresses of each node"
    DAEMONS = "Ceph's CRUSH map, or Ceph daemons of each node"
    STATES = "live states"


class Hit(NamedTuple):
    """One place where a check applies: an entity as text, a sentence, the nodes concerned, and what the remedy's fields stand for."""

    object: str
    message: str
    node: str = ""
    """Empty when it is not one node's."""
    values: Mapping[str, str] = {}


Find = Callable[["View"], Iterator[Hit]]
Where = Callable[["View"], Iterable[str]]


def _nowhere(_view: View) -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Check:
    """One check. ``remedy`` holds fields in braces: ``{name}`` is the object's key, ``{node}`` the first node, others the hit's own."""

    id: str
    severity: Severity
    title: str
    """What is wrong when it applies, in a few words."""
    why: str
    remedy: str
    find: Find
    needs: tuple[Need, ...] = (Need.STORAGES,)
    where: Where = _nowhere
    """Nodes whose own facts are needed. A node of these that did not tell them is listed as not checked."""

    def finding(self, hit: Hit, nodes: tuple[str, ...]) -> Finding:
        """Return what a hit means in this check's words."""
        values = {"name": hit.object.partition("/")[2], "node": nodes[0] if nodes else "NODE", **hit.values}
        return Finding(self.id, self.severity, hit.object, hit.message, self.why, self.remedy.format_map(_Fields(values)), nodes)

    @property
    def general_remedy(self) -> str:
        """Return the remedy with each field's name in capitals in its place, for documents."""
        return self.remedy.format_map(_Fields({}))


class _Fields(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key.upper()


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What a check found at one object. Fields are an interface: they are only ever added to."""

    id: str
    severity: Severity = field(compare=False)
    object: str
    """An entity as text: ``storage/nfs1``."""
    message: str
    why: str = field(compare=False)
    remedy: str = field(compare=False)
    nodes: tuple[str, ...] = ()
    """Nodes on which it is so; empty when it is the configuration's, which is the same on all."""

    @property
    def order(self) -> tuple[int, str, str, str]:
        """Return what findings are sorted by: the worst first, then by check and object."""
        return self.severity.rank, self.id, self.object, self.message


class Gap(NamedTuple):
    """A check that could not look: on one node, or at all when ``node`` is empty; the reason says what would be needed."""

    id: str
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a run of all checks said."""

    findings: tuple[Finding, ...]
    not_checked: tuple[Gap, ...]
    checks: int
    """How many checks there are."""

    def worst(self) -> Severity | None:
        """Return the worst severity found, None when nothing was."""
        return min((one.severity for one in self.findings), key=lambda one: one.rank, default=None)


LIVE: Final = "no running controller was asked: only it knows live states"
"""Why checks of live states are not done on copies of files."""
