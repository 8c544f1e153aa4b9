"""``/etc/pve/.rrd``: the latest values that every node's pvestatd has told the cluster. Not JSON, whatever the manual says.

Sources: pve-cluster ``status.c`` (``cfs_rrd_dump``), pve-manager ``PVE/Service/pvestatd.pm``, stable-8 and 9.2. One line per object:
``<kind>/<object>:<value>:<value>…``, ``U`` for an undefined value, a NUL after the last line. Lines come in no order. pmxcfs makes
the body anew at most every 2 s and leaves out what it got more than 300 s ago. Only storages that are active are told anew.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

KEPT_S: Final = 300
"""An entry vanishes this many seconds after it came in (``rrd_entry_is_old``)."""
ROUND_S: Final = 10
"""pvestatd starts a round every 10 s, later when the round before took longer."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_MAX_CTIME: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class NodeStat:
    """A node. ``ctime`` is its own clock at the beginning of pvestatd's round, seconds since 1970. None is "not told".

    Memory and disk sizes are bytes, ``cpu`` and ``iowait`` fractions of 1, pressures (from Proxmox VE 9) percents of 10 s.
    """

    ctime: int
    uptime_s: float | None = None
    load: float | None = None
    cpus: float | None = None
    cpu: float | None = None
    iowait: float | None = None
    memory_total: float | None = None
    memory_used: float | None = None
    root_total: float | None = None
    root_used: float | None = None
    io_some: float | None = None
    io_full: float | None = None


@dataclass(frozen=True, slots=True)
class StorageStat:
    """A storage that a node found active. ``ctime`` is one value for all storages of a round. Sizes are bytes."""

    ctime: int
    total: float | None = None
    used: float | None = None


@dataclass(frozen=True, slots=True)
class GuestStat:
    """A guest; the line does not say on which node. ``status`` of a VM is QEMU's run state, as ``io-error``. Sizes are bytes."""

    ctime: int
    name: str
    status: str
    template: bool
    uptime_s: float | None = None
    cpus: float | None = None
    cpu: float | None = None
    memory_total: float | None = None
    memory_used: float | None = None
    disk_read: float | None = None
    disk_written: float | None = None
    io_some: float | None = None
    io_full: float | None = None


class NodeStorage(NamedTuple):
    """A storage as one node sees it."""

    node: str
    storage: str


@dataclass(frozen=True, slots=True)
class Rrd:
    """All entries of one read, each the newest of its object: for 300 s after an upgrade both releases' lines are there."""

    nodes: Mapping[str, NodeStat]
    storages: Mapping[NodeStorage, StorageStat]
    guests: Mapping[int, GuestStat]
    skipped: int = 0
    """Lines that were not understood, those of other kinds not counted."""
    torn: bool = False
    """The last line had no end and was left out: the body was cut. What is missing then says nothing."""


class _Values:
    """The values of a line by their place."""

    __slots__ = ("_texts",)

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def text(self, place: int) -> str:
        return self._texts[place] if place < len(self._texts) and self._texts[place] != "U" else ""

    def number(self, place: int) -> float | None:
        text = self.text(place)
        value = float(text) if _NUMBER.fullmatch(text) else math.inf
        return value if math.isfinite(value) else None

    def ctime(self, place: int) -> int:
        """Return the time, 0 when there is none; the entry is of no use then."""
        value = self.number(place)
        return int(value) if value is not None and 0 < value < _MAX_CTIME else 0


def _node(values: _Values) -> NodeStat:
    # 0 uptime, 1 subscription level, 2 ctime, 3 load, 4 CPUs, 5 cpu, 6 iowait, 7-8 memory, 9-10 swap, 11-12 root, 13-14 network;
    # from Proxmox VE 9: 15 available memory, 16 ARC, 17 CPU pressure, 18-19 I/O pressure, 20-21 memory pressure.
    number = values.number
    return NodeStat(values.ctime(2), number(0), *map(number, (3, 4, 5, 6, 7, 8, 11, 12, 18, 19)))


def _storage(values: _Values) -> StorageStat:
    return StorageStat(values.ctime(0), values.number(1), values.number(2))


def _guest(values: _Values) -> GuestStat:
    # 0 uptime, 1 name, 2 status, 3 template, 4 ctime, 5 CPUs, 6 cpu, 7-8 memory, 9-10 disk size, 11-12 network, 13-14 disk I/O;
    # from Proxmox VE 9: 15 host memory, 16-17 CPU pressure, 18-19 I/O pressure, 20-21 memory pressure.
    number = values.number
    head = values.ctime(4), values.text(1), values.text(2), values.text(3) not in ("", "0")
    return GuestStat(*head, number(0), *map(number, (5, 6, 7, 8, 13, 14, 18, 19)))


_Stat = TypeVar("_Stat", NodeStat, StorageStat, GuestStat)


def parse(data: bytes) -> Rrd:
    """Read the file's bytes. Any bytes give a value: lines stand for themselves, and those not understood are counted."""
    body, _, rest = data.partition(b"\0")[0].decode("utf-8", "replace").rpartition("\n")
    nodes: dict[str, NodeStat] = {}
    storages: dict[NodeStorage, StorageStat] = {}
    guests: dict[int, GuestStat] = {}
    skipped = 0
    for line in filter(None, body.split("\n")):
        key, _, values = line.partition(":")
        kind, _, name = key.partition("/")
        texts = values.split(":", 24)
        if kind in _NODE_KINDS:
            skipped += not _keep(nodes, name if "/" not in name else "", texts, _node)
        elif kind in _STORAGE_KINDS:
            node, _, storage = name.partition("/")
            skipped += not _keep(storages, NodeStorage(node, storage) if node and storage else None, texts, _storage)
        elif kind in _GUEST_KINDS:
            skipped += not _keep(guests, int(name) if re.fullmatch("[0-9]{1,10}", name, re.ASCII) else None, texts, _guest)
    return Rrd(nodes, storages, guests, skipped, bool(rest))


_NODE_KINDS: Final = frozenset({"pve2-node", "pve-node-9.0"})
_STORAGE_KINDS: Final = frozenset({"pve2-storage", "pve-storage-9.0"})
_GUEST_KINDS: Final = frozenset({"pve2.3-vm", "pve-vm-9.0"})

_Key = TypeVar("_Key")


def _keep(found: dict[_Key, _Stat], key: _Key | None, texts: list[str], build: Callable[[_Values], _Stat]) -> bool:
    """Put an entry into its table when it is the newest; return whether the line was understood."""
    if not key:
        return False
    stat = build(_Values(texts))
    if stat.ctime and (key not in found or found[key].ctime < stat.ctime):
        found[key] = stat
    return bool(stat.ctime)
