"""What nodes see of iSCSI: portals, sessions, logins, volume groups.

Delays are those of two real nodes: `tests/samples/lab/two-nodes-1`, and the table "What is seen, and how soon" of README. Where those are a
few only, the paces of the sources (`agent/sources`) give the rest of the range.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.base import Seen, Source
from events.block import LvmVgComplete, LvmVgMissing
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
from tests.sim.maps import map_watches
from tests.sim.plan import Portal, Storage, Target
from tests.sim.stage import SECOND, STORM, Stage, Watch
from tests.sim.world import REFUSED, SILENT

_PROBE = Seen(source=Source.ISCSI, excerpt="simulated")
_JOURNAL = Seen(source=Source.JOURNALD, excerpt="simulated")
_LVM = Seen(source=Source.LVM, excerpt="simulated")
_RECOVERY, _RECOVERY_ALONE = 5 * SECOND, 120 * SECOND
"""Time that a session has to recover: multipathd sets 5 s; open-iscsi's own default."""
_CLOSED, _TIMED_OUT = 1020, 1022
"""Kernel's errors."""


def iscsi_watches(stage: Stage) -> Iterator[Watch]:
    """Yield what every node looks at of its targets."""
    for target, nodes in stage.plan.targets.items():
        for node in nodes:
            for number, portal in enumerate(target.portals, 1):
                yield _portal(stage, node, portal)
                yield _refused(stage, node, target, portal)
                yield _session(stage, node, target, portal, number)
            yield from _logins(stage, node, target)
            yield from map_watches(stage, node, target)
    for storage in stage.plan.volume_groups.values():
        for node in stage.plan.users(storage):
            yield _group(stage, node, storage)


def _subject(portal: Portal) -> Entity:
    return Entity(EntityKind.ISCSI_PORTAL, portal.key)


def _portal(stage: Stage, node: str, portal: Portal) -> Watch:
    """Return the TCP probe: each 6 s where a session lives, at once where one is lost; deadline 2 s, believed the second time.

    Recorded: 9.9 and 10.3 s for a silent portal, 1.4 to 5.5 s for one that refuses, 0.5 and 1.4 s for its return.
    """
    subject, world = _subject(portal), stage.world
    reasons = {SILENT: "Connection timed out", REFUSED: "Connection refused"}

    def wait(word: str) -> int:
        return stage.between(*{SILENT: (4.5, 10.5), REFUSED: (1.0, 5.5)}.get(word, (0.3, 1.5)))

    return Watch(
        node,
        lambda: world.service(node, portal),
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
        # A ping each 5 s at any phase, given up after 5 s more (recorded: 9.1 and 12.1 s); what is closed is known at once, a port that is
        # closed within 4 s (recorded: 0 to 3.6 s), a rejected one within 1.3 s (0.4 to 1.2 s). Back: 0.1 to 3.5 s.
        return stage.between(*{SILENT: (6, 12.5), REFUSED: (0.05, 4), "": (0.2, 4)}.get(word, (0.3, 1.3)))

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
        # After the session fell iscsid asks each 2 s; recorded 2.1 and 2.6 s after it.
        return stage.between(1.0, 3) if word else 0

    yield Watch(node, lambda: look("rejected"), wait, rejected, again=STORM, blind=True)
    yield Watch(node, lambda: look("off"), wait, failed, again=STORM, blind=True)


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
        # Recorded: 6.0 and 8.5 s, back in 2.9 and 4.9 s.
        lambda word: stage.between(5, 10) if word else stage.between(1, 6),
        lambda _: [LvmVgMissing(subject=subject, seen=_LVM, reason="not found")],
        lambda: [LvmVgComplete(subject=subject, seen=_LVM)],
        then,
    )
