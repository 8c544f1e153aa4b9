"""What nodes see of their Ceph cluster. The cluster agrees on what is down first; then every node tells the same, at its own moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial

from events.base import Event, Seen, Source
from events.ceph import (
    CephCapacityNormal,
    CephFull,
    CephHostDown,
    CephHostUp,
    CephMonDown,
    CephMonReachable,
    CephMonUnreachable,
    CephMonUp,
    CephNearFull,
    CephOpsNormal,
    CephOpsSlow,
    CephOsdDown,
    CephOsdUp,
    CephPgsActive,
    CephPgsClean,
    CephPgsDegraded,
    CephPgsInactive,
    CephQuorumFormed,
    CephQuorumLost,
    CephRecoveryCalm,
    CephRecoverySaturated,
    CephSilence,
)
from events.entity import Entity, EntityKind
from tests.sim.membership import several
from tests.sim.plan import FSID, Ceph
from tests.sim.stage import Stage, Watch
from tests.sim.world import REFUSED, SILENT

_SEEN = Seen(source=Source.CEPH, excerpt="simulated")
_FAILED, _LOST = "failed", "lost"
"""A daemon's process died, which its peers notice at once; or its host is out of reach, which takes the heartbeats' grace."""


def ceph_watches(stage: Stage) -> Iterator[Watch]:
    """Yield the cluster's own view, then each node's."""
    ceph = stage.plan.ceph
    if ceph is None:
        return
    yield from _agreed(stage, ceph)
    for node in stage.plan.nodes:
        yield from _seen_by(stage, ceph, node)


# -- what the cluster agrees on -------------------------------------------------------------------------------------


def _agreed(stage: Stage, ceph: Ceph) -> Iterator[Watch]:
    world = stage.world
    for host, osds in ceph.osds:
        for number in osds:
            yield _fact(
                stage, ceph, f"osd {number}", partial(_osd, stage, ceph, host, number), {_FAILED: (0.8, 1.5), _LOST: (20, 26)}, (3, 10)
            )
        names = {f"osd {number}" for number in osds}
        yield _fact(stage, ceph, f"host {host}", partial(_all_of, stage, names), {_FAILED: (0, 0.3)}, (0, 0.3))
    for rack, hosts in ceph.racks:
        names = {f"host {host}" for host in hosts}
        yield _fact(stage, ceph, f"host {rack}", partial(_all_of, stage, names), {_FAILED: (0, 0.3)}, (0, 0.3))
    for node in ceph.monitors:
        yield _fact(stage, ceph, f"mon {node}", partial(_monitor, stage, ceph, node), {_FAILED: (5, 10), _LOST: (5, 10)}, (2, 8))
    yield _fact(
        stage,
        ceph,
        "degraded",
        lambda: _FAILED if _down(stage, "osd ") or world.has("ceph", "degraded") else "",
        {_FAILED: (1, 4)},
        (5, 30),
    )
    yield _fact(
        stage, ceph, "inactive", lambda: _FAILED if _too_few(stage) or world.has("ceph", "inactive") else "", {_FAILED: (2, 6)}, (2, 6)
    )


def _all_of(stage: Stage, names: set[str]) -> str:
    return _FAILED if names <= stage.facts else ""


def _fact(
    stage: Stage,
    ceph: Ceph,
    name: str,
    look: Callable[[], str],
    bad: dict[str, tuple[float, float]],
    good: tuple[float, float],
) -> Watch:
    def then(word: str) -> None:
        (stage.facts.add if word else stage.facts.discard)(name)
        stage.after(0, stage.changed)

    def found() -> str | None:
        # Without a majority of monitors nothing is agreed on.
        return None if _no_quorum(stage, ceph) else look()

    return Watch("", found, lambda word: stage.between(*bad.get(word, good)), then=then, again=0, alike=True)


def _osd(stage: Stage, ceph: Ceph, host: str, number: int) -> str:
    if stage.world.has("osd", str(number)):
        return _FAILED
    return _LOST if _is_cut(stage, ceph, host) else ""


def _monitor(stage: Stage, ceph: Ceph, node: str) -> str:
    if stage.world.has("mon", node):
        return _FAILED
    return _LOST if _is_cut(stage, ceph, node) else ""


def _is_cut(stage: Stage, ceph: Ceph, node: str) -> bool:
    world = stage.world
    if world.is_well:
        return False
    return world.has("node", node) or world.has("cut", node, ceph.public) or world.has("subnet", ceph.public)


def _no_quorum(stage: Stage, ceph: Ceph) -> bool:
    if stage.world.is_well:
        return not ceph.monitors
    return sum(bool(_monitor(stage, ceph, node)) for node in ceph.monitors) * 2 >= len(ceph.monitors)


def _down(stage: Stage, kind: str) -> list[str]:
    return [one for one in stage.facts if one.startswith(kind)]


def _too_few(stage: Stage) -> bool:
    """Tell whether placement groups have lost two of three replicas: two hosts have OSDs that are down."""
    ceph = stage.plan.ceph
    assert ceph is not None
    return sum(any(f"osd {number}" in stage.facts for number in osds) for _, osds in ceph.osds) > 1


# -- what each node tells -------------------------------------------------------------------------------------------


def _seen_by(stage: Stage, ceph: Ceph, node: str) -> Iterator[Watch]:
    yield _quorum(stage, ceph, node)
    yield from (_listening(stage, ceph, node, monitor) for monitor in ceph.monitors)
    hosts = {str(number): host for host, osds in ceph.osds for number in osds}
    osds = dict(ceph.osds)
    osds |= {rack: tuple(number for host in inside for number in osds[host]) for rack, inside in ceph.racks}

    def facts(kind: str) -> Callable[[], Collection[str] | None]:
        return lambda: None if _blind(stage, ceph, node) else [one.partition(" ")[2] for one in _down(stage, kind)]

    def marks(what: str, things: Collection[str]) -> Callable[[], Collection[str] | None]:
        return lambda: None if _blind(stage, ceph, node) else [one for one in things if stage.world.has("ceph", what, one)]

    def flag(name: str) -> Callable[[], Collection[str] | None]:
        return lambda: None if _blind(stage, ceph, node) else [name] if name in stage.facts or stage.world.has("ceph", name) else []

    def osd(one: str, bad: bool) -> list[Event]:
        subject = Entity(EntityKind.CEPH_OSD, f"{FSID}/{one}")
        fields = {"subject": subject, "seen": _SEEN, "host": hosts[one]}
        return [CephOsdDown(**fields, planned=_is_planned(stage)) if bad else CephOsdUp(**fields)]

    def host(one: str, bad: bool) -> list[Event]:
        subject = Entity(EntityKind.CEPH_HOST, f"{FSID}/{one}")
        fields = {"subject": subject, "seen": _SEEN, "within": ceph.rack(one)}
        return [CephHostDown(**fields, osds=osds[one], planned=_is_planned(stage)) if bad else CephHostUp(**fields)]

    def mon(one: str, bad: bool) -> list[Event]:
        return [(CephMonDown if bad else CephMonUp)(subject=Entity(EntityKind.CEPH_MON, f"{FSID}/{one}"), seen=_SEEN)]

    def near(one: str, bad: bool) -> list[Event]:
        subject = Entity(EntityKind.CEPH_POOL, f"{FSID}/{one}")
        return [CephNearFull(subject=subject, seen=_SEEN, percent=86) if bad else CephCapacityNormal(subject=subject, seen=_SEEN)]

    def full(one: str, bad: bool) -> list[Event]:
        subject = Entity(EntityKind.CEPH_POOL, f"{FSID}/{one}")
        return [CephFull(subject=subject, seen=_SEEN, percent=95) if bad else CephCapacityNormal(subject=subject, seen=_SEEN)]

    def slow(one: str, bad: bool) -> list[Event]:
        subject = Entity(EntityKind.CEPH_OSD, f"{FSID}/{one}")
        return [CephOpsSlow(subject=subject, seen=_SEEN, count=12, oldest=40) if bad else CephOpsNormal(subject=subject, seen=_SEEN)]

    log, detail = (0.1, 1.5), (0.5, 2.5)
    yield several(stage, node, facts("osd "), osd, slow=log, keys=list(hosts))
    yield several(stage, node, facts("host "), host, slow=log, keys=list(osds))
    yield several(stage, node, facts("mon "), mon, slow=log, keys=ceph.monitors)
    yield several(stage, node, flag("degraded"), _degraded, slow=detail, keys=("degraded",))
    yield several(stage, node, flag("inactive"), _inactive, slow=detail, keys=("inactive",))
    yield several(stage, node, flag("recovery"), _recovery, slow=detail, keys=("recovery",))
    yield several(stage, node, marks("nearfull", ceph.pools), near, slow=detail, keys=ceph.pools)
    yield several(stage, node, marks("full", ceph.pools), full, slow=detail)
    yield several(stage, node, marks("slow", hosts), slow, slow=detail, keys=list(hosts))


def _is_planned(stage: Stage) -> bool:
    return stage.world.has("flag", "noout")


def _blind(stage: Stage, ceph: Ceph, node: str) -> bool:
    return _is_cut(stage, ceph, node) or _no_quorum(stage, ceph)


_CLUSTER = Entity(EntityKind.CEPH, FSID)


def _degraded(_: str, bad: bool) -> list[Event]:
    return [CephPgsDegraded(subject=_CLUSTER, seen=_SEEN, pgs=33) if bad else CephPgsClean(subject=_CLUSTER, seen=_SEEN)]


def _inactive(_: str, bad: bool) -> list[Event]:
    return [CephPgsInactive(subject=_CLUSTER, seen=_SEEN, pgs=8) if bad else CephPgsActive(subject=_CLUSTER, seen=_SEEN)]


def _recovery(_: str, bad: bool) -> list[Event]:
    """Tell slow requests while data moves: the saturation, and the requests themselves."""
    if bad:
        return [
            CephRecoverySaturated(subject=_CLUSTER, seen=_SEEN, bytes_per_second=900_000_000),
            CephOpsSlow(subject=_CLUSTER, seen=_SEEN, count=40, oldest=35),
        ]
    return [CephRecoveryCalm(subject=_CLUSTER, seen=_SEEN), CephOpsNormal(subject=_CLUSTER, seen=_SEEN)]


def _way(stage: Stage, ceph: Ceph, node: str, monitor: str) -> str:
    """Return how a node fails to hear a monitor; nothing when it hears it. To one's own no network leads."""
    if node != monitor and (_is_cut(stage, ceph, node) or _is_cut(stage, ceph, monitor)):
        return SILENT
    return REFUSED if stage.world.has("mon", monitor) else ""


def _listening(stage: Stage, ceph: Ceph, node: str, monitor: str) -> Watch:
    """Return whether a node hears a monitor that it connects to.

    It does so each 6 s, each 2 s while one is silent, with a deadline of 1.5 s, hurries when `health` is not answered within 3 s, and
    believes the second of two looks (agent/sources/ceph.py). Measured on real clusters (README): the first that refuses after 2.0 to
    3.6 s, the first that is silent after 5.4 s.
    """
    subject, address = Entity(EntityKind.CEPH_MON, f"{FSID}/{monitor}"), stage.plan.address(monitor, ceph.public)
    how = {SILENT: CephSilence.NO_REPLY, REFUSED: CephSilence.REFUSED}
    return Watch(
        node,
        lambda: _way(stage, ceph, node, monitor),
        lambda word: stage.between(*{SILENT: (4.5, 9.5), REFUSED: (1.8, 6.5)}.get(word, (0.3, 3.6))),
        lambda word: [CephMonUnreachable(subject=subject, seen=_SEEN, how=how[word], address=address)],
        lambda: [CephMonReachable(subject=subject, seen=_SEEN, address=address)],
        typical=SILENT,
    )


def _quorum(stage: Stage, ceph: Ceph, node: str) -> Watch:
    """Return whether commands are answered. Nodes whose own monitor is left alone wait longer: it answers for 10 s from its memory."""

    def reachable() -> int:
        return sum(not _way(stage, ceph, node, one) for one in ceph.monitors)

    def look() -> str | None:
        if _is_cut(stage, ceph, node) or _no_quorum(stage, ceph):
            return "lost"
        return ""

    def wait(word: str) -> int:
        if not word:
            return stage.between(1, 4)
        return stage.between(11, 15) if node in ceph.monitors and not stage.world.has("mon", node) else stage.between(5, 10)

    return Watch(
        node,
        look,
        wait,
        lambda _: [CephQuorumLost(subject=_CLUSTER, seen=_SEEN, reason="no monitor answers", reachable=reachable())],
        lambda: [CephQuorumFormed(subject=_CLUSTER, seen=_SEEN, leader=ceph.monitors[0], members=ceph.monitors)],
    )
