"""What one path of a multipath map is: whether it works, and whether it leads where its map says.

``row`` is a disk as :meth:`agent.sources.multipath.Paths.look` finds it, ``said`` what multipathd says of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from agent.classify.changes import BELIEVED
from agent.classify.host_block import lun_id

_WORKING: Final = frozenset({"running", "created", "quiesce", "live", ""})
"""States in which a disk takes I/O or soon will; empty when it vanished while being read (drivers/scsi/scsi_sysfs.c, sdev_states). ``live``
is that of an NVMe disk's controller (drivers/nvme/host/sysfs.c, nvme_sysfs_show_state)."""
_WAITING: Final = frozenset({"blocked", "resetting", "connecting"})
"""States in which I/O waits until the disk's session, remote port or NVMe controller is back."""
_FAULTY: Final = frozenset({"faulty", "shaky", "i/o timeout", "delayed"})
"""A checker's verdicts that keep a path out of use. ``ghost`` is the standby path of an active-passive array: it works."""
_COMPARABLE: Final = ("2", "3")
"""First digit of WWIDs that tell LUNs apart: the other forms are texts, which udev and multipath write differently."""
Row = Mapping[str, Any]


def settled(row: Row) -> bool:
    """Tell whether a disk's state can be judged: one that was only just blocked may go on at once."""
    return bool(row["state"] not in _WAITING or row["times"] >= BELIEVED)


def fault(row: Row, said: Row) -> str:
    """Return why a path does not work, empty when it does."""
    if row["state"] not in _WORKING:
        return f"the disk is {row['state']}"
    if said.get("dm_st") == "failed":
        return f"failed, checker says {said.get('chk_st') or 'nothing'}"
    return f"checker says {said['chk_st']}" if said.get("chk_st") in _FAULTY else ""


def said_of(rows: Iterable[Row]) -> dict[tuple[str, str], Row]:
    """Return multipathd's rows of paths by disk and ``major:minor``."""
    return {(path["dev"], path["dev_t"]): path for one in rows for path in one["paths"]}


def names_of(row: Row, told: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the LUN that a disk leads to: what the disk itself told, else what the kernel read of it last."""
    if told:
        return tuple(told)
    return tuple(row["names"]) or ((own,) if (own := lun_id(row["wwid"])) else ())


def leads_to(names: Collection[str], wwid: str) -> bool | None:
    """Tell whether a disk with these names is the LUN of that WWID; None when they cannot be compared.

    Another name of the same form and length is another LUN: of each form multipath and the kernel prefer the same kind.
    """
    if wwid in names:
        return True
    alike = any(name[0] == wwid[0] and len(name) == len(wwid) for name in names)
    return False if alike and wwid.startswith(_COMPARABLE) else None


class Firsts:
    """What each disk led to when it was first seen: the only yardstick for a disk without a map, and for WWIDs that are texts."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def before(self, disk: str, row: Row, names: tuple[str, ...]) -> str:
        """Return the LUN that a disk led to before, empty when it is the same."""
        key = (disk, row["dev"], row["address"])
        first = self._names.setdefault(key, names) if names else ()
        if not first or set(first) & set(names) or leads_to(names, first[0]) is None:
            return ""
        return first[0]

    def keep(self, disks: Mapping[str, Row]) -> None:
        """Forget disks that are gone: another one may come under their name."""
        self._names = {key: names for key, names in self._names.items() if key[0] in disks and _is(key, disks[key[0]])}


def _is(key: tuple[str, str, str], row: Row) -> bool:
    return key[1:] == (row["dev"], row["address"])


def conflicts(disks: Mapping[str, Row], names: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Yield WWIDs that stand for two LUNs of one target, each with the reason; ``names`` of the disks that are to be compared.

    The paths to a LUN differ in the way, not at its end: a target that gives one WWID under two numbers has two LUNs for one,
    or one twice, and multipath puts both into one map.
    """
    claimed: dict[tuple[str, str], str] = {}
    said: set[str] = set()
    for disk, known in sorted(names.items()):
        target = disks[disk]["address"].rpartition(":")[0]
        if not known or not target or known[0] in said:
            continue
        other = claimed.setdefault((known[0], target), disk)
        if other != disk:
            said.add(known[0])
            yield known[0], f"{other} and {disk} are two LUN numbers of one target with the same WWID"
