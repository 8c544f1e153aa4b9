"""What nodes see of iSCSI: portals, sessions, logins, the paths of maps, volume groups. Delays as a real stack showed them."""

from __future__ import annotations

from collections.abc import Iterator

from events.base import Event, Seen, Source
from events.block import LvmVgComplete, LvmVgMissing, ScsiLunPresent, ScsiLunsChanged, ScsiLunVanished
from events.entity import Entity, EntityKind
from events.iscsi import (
    IscsiConnectionFailed,
    IscsiConnectionRecovered,
    IscsiLoginFailed,
    IscsiLoginRejected,
    IscsiPortalReachable,
    IscsiPortalUnreachable,
    IscsiSessionEstablished,
    IscsiSessionExpired,
    LoginRefusal,
)
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
from tests.sim.plan import Portal, Storage, Target
from tests.sim.stage import SECOND, STORM, Stage, Watch
from tests.sim.world import REFUSED, SILENT

_PROBE = Seen(source=Source.ISCSI, excerpt="simulated")
_JOURNAL = Seen(source=Source.JOURNALD, excerpt="simulated")
_MAPS = Seen(source=Source.MULTIPATH, excerpt="simulated")
_LVM = Seen(source=Source.LVM, excerpt="simulated")
_RECOVERY, _RECOVERY_ALONE = 5 * SECOND, 120 * SECOND
"""Time that a session has to recover: multipathd sets 5 s; open-iscsi's own default."""
_QUEUEING = 60 * SECOND
"""`no_path_retry 12` at a polling interval of 5 s."""
_CLOSED, _TIMED_OUT = 1020, 1022
"""Kernel's errors."""


def iscsi_watches(stage: Stage) -> Iterator[Watch]:
    """Yield what every node looks at of its targets."""
    for target, nodes in stage.plan.targets.items():
        for node in nodes:
            for number, portal in enumerate(target.portals, 1):
                yield _portal(stage, node, target, portal)
                yield _refused(stage, node, target, portal)
                yield _session(stage, node, target, portal, number)
            yield from _logins(stage, node, target)
            for lun in target.luns:
                if target.multipath:
                    yield _Map(stage, node, target, lun).watch
                    yield _identity(stage, node, lun)
                    yield _conflict(stage, node, lun)
                yield _presence(stage, node, lun)
    for storage in stage.plan.volume_groups.values():
        for node in stage.plan.users(storage):
            yield _group(stage, node, storage)


def _subject(portal: Portal) -> Entity:
    return Entity(EntityKind.ISCSI_PORTAL, portal.key)


def _portal(stage: Stage, node: str, target: Target, portal: Portal) -> Watch:
    """Return the TCP probe: each 2 s with a deadline of 1.5 s, of all portals or of those without a session only."""
    subject, world, local, key = _subject(portal), stage.world, stage.local, (target.iqn, portal.key)
    reasons = {SILENT: "Connection timed out", REFUSED: "Connection refused"}

    def look() -> str:
        return world.service(node, portal) if stage.plan.tcp_always or key in local[node].failed else ""

    def wait(word: str) -> int:
        return stage.between(*{SILENT: (1.5, 5.0), REFUSED: (0.1, 2.5)}.get(word, (0.0, 2.0)))

    return Watch(
        node,
        look,
        wait,
        lambda word: [IscsiPortalUnreachable(subject=subject, seen=_PROBE, reason=reasons[word])],
        lambda: [IscsiPortalReachable(subject=subject, seen=_PROBE)],
        typical=SILENT,
    )


def _refused(stage: Stage, node: str, target: Target, portal: Portal) -> Watch:
    """Return iscsid's `connect to … failed (Connection refused)`, each 3 s and thinned."""
    subject, world, local, key = _subject(portal), stage.world, stage.local, (target.iqn, portal.key)
    return Watch(
        node,
        lambda: REFUSED if key in local[node].failed and world.service(node, portal) == REFUSED else "",
        lambda word: stage.between(0.5, 3) if word else 0,
        lambda _: [IscsiPortalUnreachable(subject=subject, seen=_JOURNAL, reason="Connection refused")],
        again=STORM,
        blind=True,
    )


def _session(stage: Stage, node: str, target: Target, portal: Portal, number: int) -> Watch:
    """Return a session: kernel's and iscsid's lines first, sysfs (each 1 s) after them."""
    subject, world, key = _subject(portal), stage.world, (target.iqn, portal.key)
    common = {"subject": subject, "target": target.iqn, "session": number}

    def look() -> str:
        if world.has("off", node, target.iqn) or world.has("rejected", node, target.iqn):
            return "closed"
        return world.service(node, portal)

    def wait(word: str) -> int:
        # A ping each 5 s at any phase, given up after 5 s more; what the target closes is known at once; iscsid tries again each 3 s.
        return stage.between(*{SILENT: (5.5, 10.2), "": (1, 5)}.get(word, (0.05, 1.0)))

    def then(word: str) -> None:
        local = stage.local[node]
        if word:
            local.failed.add(key)
            code = _TIMED_OUT if word == SILENT else _CLOSED
            stage.emit(node, IscsiConnectionFailed(**common, seen=_JOURNAL, code=code))
            serial = watch.serial
            stage.after(_RECOVERY if target.multipath else _RECOVERY_ALONE, lambda: expire(serial))
        else:
            local.failed.discard(key)
            local.expired.discard(key)
            stage.emit(node, IscsiConnectionRecovered(**common, seen=_JOURNAL, attempts=3))
        stage.after(0, lambda: stage.changed(node))

    def expire(serial: int) -> None:
        if watch.serial == serial and watch.said and stage.is_up(node):
            stage.local[node].expired.add(key)
            after = _RECOVERY if target.multipath else _RECOVERY_ALONE
            stage.emit(node, IscsiSessionExpired(**common, seen=_JOURNAL, after=after / SECOND))
            stage.changed(node)

    def bad(word: str) -> list[IscsiConnectionFailed]:
        return [IscsiConnectionFailed(**common, seen=_PROBE, code=_TIMED_OUT if word == SILENT else _CLOSED)]

    watch = Watch(node, look, wait, bad, lambda: [IscsiSessionEstablished(**common, seen=_PROBE)], then, alike=True, typical=SILENT)
    return watch


def _logins(stage: Stage, node: str, target: Target) -> Iterator[Watch]:
    """Yield iscsid's lines of refused logins: every 2 s per path, thinned; their end is a session's login."""
    subject, world, local = Entity(EntityKind.ISCSI_TARGET, target.iqn), stage.world, stage.local
    pairs = list(enumerate(target.portals, 1))

    def look(mark: str) -> str:
        lost = any((target.iqn, one.key) in local[node].failed for one in target.portals)
        reached = any(not world.service(node, one) for one in target.portals)
        return mark if lost and reached and world.has(mark, node, target.iqn) else ""

    def rejected(_: str) -> list[IscsiLoginRejected]:
        refusal = LoginRefusal.AUTHENTICATION
        return [
            IscsiLoginRejected(subject=subject, seen=_JOURNAL, refusal=refusal, session=number, portal=_subject(one), repeats=0)
            for number, one in pairs
        ]

    def failed(_: str) -> list[IscsiLoginFailed]:
        return [
            IscsiLoginFailed(subject=subject, seen=_JOURNAL, status="03/01", session=number, portal=_subject(one)) for number, one in pairs
        ]

    def wait(word: str) -> int:
        return stage.between(0.8, 3) if word else 0

    yield Watch(node, lambda: look("rejected"), wait, rejected, again=STORM, blind=True)
    yield Watch(node, lambda: look("off"), wait, failed, again=STORM, blind=True)


class _Map:
    """A map of one node: multipathd's lines, and the source that asks it and reads sysfs each second."""

    def __init__(self, stage: Stage, node: str, target: Target, lun: str) -> None:
        self._stage, self._node, self._target, self._lun = stage, node, target, lun
        self._subject, self._name = Entity(EntityKind.LUN, lun), f"mpath{lun[-2:]}"
        self._total = self._before = len(target.portals)
        self.watch = self._watch()

    def _watch(self) -> Watch:
        stage = self._stage

        def wait(word: str) -> int:
            return stage.between(0.05, 1.2) if word and int(word) < self._before else stage.between(0.2, 5)

        return Watch(
            self._node,
            self._look,
            wait,
            lambda word: self._said(int(word), 0, _MAPS),
            lambda: self._said(self._total, self._total, _MAPS),
            self._then,
            typical=str(self._total - 1),
        )

    def _look(self) -> str:
        stage, node = self._stage, self._node
        if stage.world.has("unmapped", node, self._lun):
            return "0"
        now = sum((self._target.iqn, one.key) not in stage.local[node].expired for one in self._target.portals)
        return "" if now == self._total else str(now)

    def _then(self, word: str) -> None:
        stage, node = self._stage, self._node
        left = int(word) if word else self._total
        was, self._before = self._before, left
        path = Entity(EntityKind.PATH, f"{node}/{self._lun}/8:{16 * (1 + min(left, was))}")
        kind = MultipathPathFailed if left < was else MultipathPathRestored
        for _ in range(abs(left - was)):
            stage.emit(node, kind(subject=path, seen=_JOURNAL, map=self._name))
        for event in self._said(left, was, _JOURNAL):
            stage.emit(node, event)
        if left == 0:
            serial = self.watch.serial
            stage.after(_QUEUEING, lambda: self._fail(serial))
        elif self._lun in stage.local[node].dropped:
            stage.local[node].dropped.discard(self._lun)
            stage.after(0, lambda: stage.changed(node))

    def _fail(self, serial: int) -> None:
        stage, node = self._stage, self._node
        if self.watch.serial == serial and self.watch.said == "0" and stage.is_up(node):
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
    """Return the comparison of each path's WWID with its map's."""
    subject, world = Entity(EntityKind.LUN, lun), stage.world
    other = f"36001405f{lun[9:]}"

    def then(word: str) -> None:
        if word:
            stage.emit(node, ScsiLunsChanged(subject=Entity(EntityKind.SCSI_DEVICE, f"{node}/2:0:0:0"), seen=_JOURNAL))

    return Watch(
        node,
        lambda: "swapped" if world.has("swapped", node, lun) else "",
        lambda _: stage.between(0.2, 5),
        lambda _: [MultipathWwidChanged(subject=subject, seen=_MAPS, device="sdb", expected=lun, found=other)],
        lambda: [MultipathWwidConfirmed(subject=subject, seen=_MAPS)],
        then,
    )


def _conflict(stage: Stage, node: str, lun: str) -> Watch:
    subject, world, name = Entity(EntityKind.LUN, lun), stage.world, f"mpath{lun[-2:]}"
    return Watch(
        node,
        lambda: "conflict" if world.has("conflict", node, lun) else "",
        lambda _: stage.between(0.2, 6),
        lambda _: [MultipathIdentityConflict(subject=subject, seen=_MAPS, map=name, reason="two maps claim one WWID")],
        lambda: [MultipathIdentityUnique(subject=subject, seen=_MAPS, map=name)],
    )


def _group(stage: Stage, node: str, storage: Storage) -> Watch:
    """Return a volume group: the LVM source each 5 s, and pvestatd's `no such volume group`."""
    subject, world = Entity(EntityKind.VG, storage.vg), stage.world

    def look() -> str:
        gone = world.has("vg", node, storage.vg) or world.has("unmapped", node, storage.lun) or storage.lun in stage.local[node].dropped
        return "missing" if gone else ""

    def then(word: str) -> None:
        if word:
            stage.emit(node, LvmVgMissing(subject=subject, seen=_JOURNAL, reason="no such volume group"), stage.between(0, 8))

    return Watch(
        node,
        look,
        lambda _: stage.between(5, 10),
        lambda _: [LvmVgMissing(subject=subject, seen=_LVM, reason="not found")],
        lambda: [LvmVgComplete(subject=subject, seen=_LVM)],
        then,
    )
