"""What nodes see of LUNs: multipathd's lines and the source that asks it, the kernel's word on a LUN, identities.

Delays as in :mod:`tests.sim.sessions`.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.base import Event, Seen, Source
from events.block import ScsiLunPresent, ScsiLunsChanged, ScsiLunVanished
from events.entity import Entity, EntityKind
from events.multipath import (
    MultipathIdentityConflict,
    MultipathIdentityUnique,
    MultipathMapDegraded,
    MultipathMapLost,
    MultipathMapRestored,
    MultipathMapUsable,
    MultipathPathFailed,
    MultipathPathRestored,
    MultipathQueueingDisabled,
    MultipathWwidChanged,
    MultipathWwidConfirmed,
)
from tests.sim.plan import Target
from tests.sim.stage import SECOND, Stage, Watch

_JOURNAL = Seen(source=Source.JOURNALD, excerpt="simulated")
_MAPS = Seen(source=Source.MULTIPATH, excerpt="simulated")
_QUEUEING = 60 * SECOND
"""`no_path_retry 12` at a polling interval of 5 s."""
_CHECK = 5 * SECOND
"""multipathd's checker: it restores a path to a LUN that is gone, and loses it again (recorded)."""


def map_watches(stage: Stage, node: str, target: Target) -> Iterator[Watch]:
    """Yield what a node sees of a target's LUNs."""
    for lun in target.luns:
        if target.multipath:
            yield from _Map(stage, node, target, lun).watches()
            yield _identity(stage, node, lun)
            yield _conflict(stage, node, lun)
        yield _presence(stage, node, lun)


class _Map:
    """A map of one node. The source sees disks blocked as soon as their session fails; multipathd acts when the session is given up."""

    def __init__(self, stage: Stage, node: str, target: Target, lun: str) -> None:
        self._stage, self._node, self._target, self._lun = stage, node, target, lun
        self._subject, self._name = Entity(EntityKind.LUN, lun), f"mpath{lun[-2:]}"
        self._total = self._before = self._seen = len(target.portals)
        self._doubted = False
        """Whether the source saw a path work that multipathd's checker has not accepted yet."""
        self._log = Watch(node, self._of_daemon, self._soon, then=self._logged, again=0, blind=True)

    def watches(self) -> Iterator[Watch]:
        """Yield the source's watch and that of the journal."""
        yield Watch(
            self._node,
            self._of_kernel,
            self._at_once,
            lambda word: self._said(int(word), 0, _MAPS),
            lambda: self._said(self._total, self._total, _MAPS),
            self._looked,
            typical=str(self._total - 1),
        )
        yield self._log

    def _of_kernel(self) -> str:
        return self._without(self._stage.local[self._node].failed)

    def _of_daemon(self) -> str:
        return self._without(self._stage.local[self._node].expired)

    def _without(self, lost: set[tuple[str, str]]) -> str:
        if self._stage.world.has("unmapped", self._node, self._lun):
            return "0"
        left = sum((self._target.iqn, one.key) not in lost for one in self._target.portals)
        return "" if left == self._total else str(left)

    def _at_once(self, word: str) -> int:
        if self._stage.world.has("unmapped", self._node, self._lun):
            return self._stage.between(3, 5)
        return self._stage.between(0.3, 1.3) if word else self._stage.between(0.3, 1.5)

    def _soon(self, word: str) -> int:
        # The checker of a failed path runs each 5 to 20 s: recorded 3.2 to 32 s after the session was back.
        worse = bool(word) and int(word) < self._before
        return self._stage.between(0.05, 0.4) if worse else self._stage.between(1.5, 26)

    def _looked(self, word: str) -> None:
        left = int(word) if word else self._total
        was, self._seen = self._seen, left
        if left > was and self._before < left and self._stage.chance.random() < 0.5:
            # Recorded for one path in two: it works, then its checker calls it failed once more until it runs again.
            self._stage.after(self._stage.between(1.3, 2.6), self._doubt)

    def _doubt(self) -> None:
        if self._before < self._seen and self._stage.is_up(self._node):
            self._doubted = True
            for event in self._said(self._before, self._before, _MAPS):
                self._stage.emit(self._node, event)

    def _logged(self, word: str) -> None:
        stage, node = self._stage, self._node
        left = int(word) if word else self._total
        was, self._before = self._before, left
        path = Entity(EntityKind.PATH, f"{node}/{self._lun}/8:{16 * (1 + min(left, was))}")
        kind = MultipathPathFailed if left < was else MultipathPathRestored
        for _ in range(abs(left - was)):
            stage.emit(node, kind(subject=path, seen=_JOURNAL, map=self._name))
        for event in self._said(left, was, _JOURNAL):
            stage.emit(node, event)
        if left >= self._seen and self._doubted:
            self._doubted = False
            for event in self._said(left, was, _MAPS):
                stage.emit(node, event, stage.between(0.2, 1.2))
        if left == 0:
            serial = self._log.serial
            stage.after(_QUEUEING, lambda: self._fail(serial))
            self._recheck(serial)
        elif self._lun in stage.local[node].dropped:
            stage.local[node].dropped.discard(self._lun)
            stage.after(0, lambda: stage.changed(node))

    def _is_still_lost(self, serial: int) -> bool:
        return self._log.serial == serial and self._log.said == "0" and self._stage.is_up(self._node)

    def _recheck(self, serial: int) -> None:
        if self._stage.world.has("unmapped", self._node, self._lun):
            self._stage.after(_CHECK, lambda: self._restore(serial))

    def _restore(self, serial: int) -> None:
        if self._is_still_lost(serial) and self._stage.world.has("unmapped", self._node, self._lun):
            for event in self._said(self._total, 0, _JOURNAL):
                self._stage.emit(self._node, event)
            for event in self._said(0, self._total, _JOURNAL):
                self._stage.emit(self._node, event, self._stage.between(0.3, 2))
            self._recheck(serial)

    def _fail(self, serial: int) -> None:
        stage, node = self._stage, self._node
        if self._is_still_lost(serial):
            stage.emit(node, MultipathQueueingDisabled(subject=self._subject, seen=_JOURNAL, map=self._name))
            stage.local[node].dropped.add(self._lun)
            stage.changed(node)

    def _said(self, left: int, was: int, seen: Seen) -> Iterator[Event]:
        if left == 0:
            yield MultipathMapLost(subject=self._subject, seen=seen, map=self._name, expected=self._total)
        elif left == self._total:
            yield MultipathMapRestored(subject=self._subject, seen=seen, map=self._name, active=left)
        else:
            if was == 0:
                yield MultipathMapUsable(subject=self._subject, seen=seen, map=self._name, active=left)
            yield MultipathMapDegraded(subject=self._subject, seen=seen, map=self._name, active=left, expected=self._total)


def _presence(stage: Stage, node: str, lun: str) -> Watch:
    """Return the kernel's word on a LUN that its target no longer has."""
    subject, world = Entity(EntityKind.LUN, lun), stage.world
    return Watch(
        node,
        lambda: "gone" if world.has("unmapped", node, lun) else "",
        lambda _: stage.between(0.1, 3),
        lambda _: [ScsiLunVanished(subject=subject, seen=_JOURNAL)],
        lambda: [ScsiLunPresent(subject=subject, seen=_JOURNAL)],
        again=0,
        blind=True,
    )


def _identity(stage: Stage, node: str, lun: str) -> Watch:
    """Return the comparison of each path's WWID with its map's, from the rescan on; recorded 1.3 to 2.2 s."""
    subject, world = Entity(EntityKind.LUN, lun), stage.world
    other = f"36001405f{lun[9:]}"

    def then(word: str) -> None:
        if word:
            stage.emit(node, ScsiLunsChanged(subject=Entity(EntityKind.SCSI_DEVICE, f"{node}/2:0:0:0"), seen=_JOURNAL))

    return Watch(
        node,
        lambda: "swapped" if world.has("swapped", node, lun) else "",
        lambda word: stage.between(0.8, 2.5) if word else stage.between(0.5, 5),
        lambda _: [MultipathWwidChanged(subject=subject, seen=_MAPS, device="sdb", expected=lun, found=other)],
        lambda: [MultipathWwidConfirmed(subject=subject, seen=_MAPS)],
        then,
    )


def _conflict(stage: Stage, node: str, lun: str) -> Watch:
    """Return multipathd's word on another disk with a LUN's identity: recorded 4.8 to 9.4 s, over after 15.2 to 17.0 s."""
    subject, world, name = Entity(EntityKind.LUN, lun), stage.world, f"mpath{lun[-2:]}"
    return Watch(
        node,
        lambda: "conflict" if world.has("conflict", node, lun) else "",
        lambda word: stage.between(4, 10) if word else stage.between(12, 17),
        lambda _: [MultipathIdentityConflict(subject=subject, seen=_MAPS, map=name, reason="two maps claim one WWID")],
        lambda: [MultipathIdentityUnique(subject=subject, seen=_MAPS, map=name)],
    )
