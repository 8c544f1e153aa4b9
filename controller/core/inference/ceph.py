"""Faults of Ceph clusters: OSDs, CRUSH hosts, monitors and their quorum, capacity, placement groups.

All nodes repeat what the same monitors say, so several nodes' words on one thing are one. What a node finds out by itself is whether it
reaches the monitors: that is its network's matter as well as theirs (:mod:`controller.core.inference.reaching`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from controller.core.causes import Cause
from controller.core.facts import Facts
from controller.core.inference.hypothesis import Hypothesis, suppose
from controller.core.inference.likelihood import COMPONENT, DIRECT, HOST
from controller.core.inference.scene import Scene, kind_of
from controller.core.state import Cell
from events.definitions import CephHostDefined, CephPoolDefined

_OF_ITSELF: Final = {
    ("ceph-osd", "up"): Cause.CEPH_OSD_DOWN,
    ("ceph", "active"): Cause.CEPH_PG_INACTIVE,
    ("ceph", "redundancy"): Cause.CEPH_PG_DEGRADED,
    ("ceph", "recovery"): Cause.CEPH_RECOVERY_SATURATION,
}
"""What a cell means by itself, by kind of entity and aspect."""
_SPACE: Final = frozenset({"capacity", "full"})
QUOTA: Final = "quota"
"""Way of a pool that is full by its own quota: that is no matter of its OSDs."""


def fsid_of(entity: str) -> str:
    """Return the cluster that a part of Ceph belongs to."""
    return entity.partition("/")[2].partition("/")[0]


def is_ceph(cell: Cell) -> bool:
    """Tell whether a cell is about a Ceph cluster or a part of it."""
    return cell.entity.startswith("ceph")


def host_of_daemon(cell: Cell) -> str:
    """Return the host of a cell about an OSD, a host or a monitor of Ceph; empty for others. Proxmox VE names all three by the node."""
    if cell.entity.startswith("ceph-mon/"):
        return cell.entity.rpartition("/")[2]
    host = cell.entity if cell.entity.startswith("ceph-host/") else cell.via
    return host.rpartition("/")[2] if host.startswith("ceph-host/") and cell.aspect == "up" else ""


def daemons(scene: Scene, cells: Iterable[Cell], nodes: AbstractSet[str]) -> dict[str, list[Cell]]:
    """Return cells about OSDs, hosts and monitors of these nodes, by node; a rack all of whose hosts are such nodes is each of theirs."""
    found: dict[str, list[Cell]] = defaultdict(list)
    for mine in by_cluster(cells):
        above = parts(scene.topology.facts, fsid_of(mine[0].entity), mine)
        for cell in mine:
            inside = hosts_in(cell.entity, above) if cell.entity.startswith("ceph-host/") else set()
            hosts = {one.rpartition("/")[2] for one in inside} or {host_of_daemon(cell)}
            if hosts <= nodes:
                for host in hosts:
                    found[host].append(cell)
    return found


def clusters(scene: Scene, cells: Iterable[Cell]) -> Iterator[Hypothesis]:
    """Yield the faults that cells about Ceph speak of."""
    for mine in by_cluster(cells):
        fsid = fsid_of(mine[0].entity)
        yield from _plainly(scene, mine)
        yield from _buckets(scene, mine)
        yield from _monitors(scene, fsid, mine)
        yield from _space(scene, fsid, mine)
        yield from _slow(scene, fsid, mine)


def by_cluster(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the cells about Ceph, those of each cluster together."""
    return list(_grouped((cell for cell in cells if is_ceph(cell)), lambda cell: fsid_of(cell.entity)).values())


def _grouped(cells: Iterable[Cell], name: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[name(cell)].append(cell)
    return groups


def _plainly(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    for entity, group in _grouped((cell for cell in cells if kind_of(cell) in _OF_ITSELF), lambda cell: cell.entity).items():
        for cause in sorted({_OF_ITSELF[kind_of(cell)] for cell in group}):
            yield suppose(scene, cause, entity, [cell for cell in group if _OF_ITSELF[kind_of(cell)] is cause], (), DIRECT)
    checks = [cell for cell in cells if cell.aspect == "check"]
    for entity, group in _grouped(checks, lambda cell: cell.entity).items():
        yield suppose(scene, Cause.UNEXPLAINED, entity, group, (), DIRECT, scope="check")


def _buckets(scene: Scene, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield CRUSH hosts, and larger failure domains, all of whose OSDs are down."""
    up = [cell for cell in cells if cell.aspect == "up" and cell.entity.startswith(("ceph-osd/", "ceph-host/"))]
    if not up:
        return
    above = parts(scene.topology.facts, fsid_of(up[0].entity), up)
    for bucket in sorted({name for cell in up for name in _chain(cell.entity, above) if name.startswith("ceph-host/")}):
        group = [cell for cell in up if bucket in _chain(cell.entity, above)]
        osds = {cell.entity for cell in group if cell.entity.startswith("ceph-osd/")}
        whole = any(cell.entity == bucket for cell in group)
        if not whole and (len(osds) < 2 or (bucket not in {cell.via for cell in up} and len({cell.via for cell in group}) < 2)):
            continue
        # Of one that is down as a whole nothing is well any more, whatever was said of its OSDs a moment ago.
        inside = [] if whole else [one for one in above if one.startswith("ceph-osd/") and one not in osds and bucket in _chain(one, above)]
        well = [cell for one in inside for cell in scene.well_of[one] if cell.entity == one and cell.aspect == "up"]
        yield suppose(scene, Cause.CEPH_HOST_DOWN, bucket, group, well, DIRECT if whole else HOST)


def parts(facts: Facts, fsid: str, cells: Iterable[Cell]) -> dict[str, str]:
    """Return what each OSD and CRUSH bucket of a cluster is part of: as defined, and as signs (cells) say."""
    found = {}
    for key, host in facts.of(CephHostDefined).items():
        if key.startswith(f"{fsid}/"):
            if host.within:
                found[f"ceph-host/{key}"] = f"ceph-host/{fsid}/{host.within}"
            found.update({f"ceph-osd/{fsid}/{osd}": f"ceph-host/{key}" for osd in host.osds})
    signs = (cell for cell in cells if cell.aspect == "up" and cell.via.startswith(f"ceph-host/{fsid}/"))
    return {**found, **{cell.entity: cell.via for cell in signs}}


def hosts_in(bucket: str, above: Mapping[str, str]) -> set[str]:
    """Return the hosts (entities) in a CRUSH bucket, by what is part of what: what OSDs are part of is a host."""
    hosts = {host for osd, host in above.items() if osd.startswith("ceph-osd/")}
    return {host for host in hosts if bucket in _chain(host, above)}


def _chain(entity: str, above: Mapping[str, str]) -> list[str]:
    """Return an entity and all that it is part of."""
    found = [entity]
    while (entity := above.get(entity, "")) and entity not in found:
        found.append(entity)
    return found


def _monitors(scene: Scene, fsid: str, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield monitors that are down, and the loss of their quorum, which has its monitors' silence for a part."""
    mons = [cell for cell in cells if cell.entity.startswith("ceph-mon/")]
    for entity, group in _grouped(mons, lambda cell: cell.entity).items():
        said = any(cell.aspect == "up" for cell in group)
        nodes = {cell.node for cell in group}
        heard = (*scene.well_of[entity], *scene.at_home)
        reached = [cell for cell in heard if cell.aspect == "reach" and cell.entity == entity and cell.node not in nodes]
        yield suppose(scene, Cause.CEPH_MON_QUORUM, entity, group, () if said else reached, DIRECT if said else COMPONENT)
    cluster = f"ceph/{fsid}"
    lost = [cell for cell in cells if cell.entity == cluster and cell.aspect == "quorum"]
    monitors = scene.topology.facts.monitors().get(fsid, ())
    listed = {f"ceph-mon/{fsid}/{one.name}" for one in monitors}
    silent = {cell.entity for cell in mons}
    if listed:  # who was never answered knows a monitor by its address alone
        names = {f"ceph-mon/{fsid}/{one.address}": f"ceph-mon/{fsid}/{one.name}" for one in monitors}
        silent = {names.get(one, one) for one in silent} & listed
    known = listed or silent | {cell.entity for cell in scene.well if cell.entity.startswith(f"ceph-mon/{fsid}/")}
    if not lost and len(silent) * 2 <= len(known):
        return
    nodes = {cell.node for cell in (lost or mons)}
    answered = [
        cell
        for cell in scene.well
        if cell.node not in nodes and ((cell.entity == cluster and cell.aspect == "quorum") or (not lost and cell.entity in silent))
    ]
    # Monitors that their own nodes hear while nobody else does are well: their network is not.
    answered += [cell for cell in scene.at_home if cell.entity in silent]
    if lost or mons:
        yield suppose(scene, Cause.CEPH_MON_QUORUM, cluster, [*lost, *mons], answered, DIRECT if lost else HOST)


def _space(scene: Scene, fsid: str, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield what is full or nearly so: one fault, although each pool and each OSD says it, for they share their room."""
    space = [cell for cell in cells if cell.aspect in _SPACE]
    for entity, group in _grouped((cell for cell in space if cell.via == QUOTA), lambda cell: cell.entity).items():
        yield suppose(scene, Cause.CEPH_FULL, entity, group, (), DIRECT)
    shared = [cell for cell in space if cell.via != QUOTA]
    if not shared:
        return
    full = [cell for cell in shared if cell.aspect == "full"]
    cause = Cause.CEPH_FULL if full else Cause.CEPH_NEARFULL
    yield suppose(scene, cause, _fullest(scene, fsid, full or shared), shared, (), DIRECT)


def _fullest(scene: Scene, fsid: str, cells: list[Cell]) -> str:
    """Return what names best what is full: the one pool with data of ours, the one OSD, else the cluster."""
    pools = scene.topology.facts.of(CephPoolDefined)
    names = {cell.entity for cell in cells}
    ours = {one for one in names if one.startswith("ceph-pool/") and not ((pool := pools.get(one.partition("/")[2])) and pool.internal)}
    osds = {one for one in names if one.startswith("ceph-osd/")}
    if len(ours) == 1:
        return min(ours)
    return min(osds) if len(osds) == 1 and not ours else f"ceph/{fsid}"


def _slow(scene: Scene, fsid: str, cells: list[Cell]) -> Iterator[Hypothesis]:
    """Yield slow requests: one OSD's, or the cluster's."""
    ops = [cell for cell in cells if cell.aspect == "ops"]
    if ops:
        names = {cell.entity for cell in ops}
        yield suppose(scene, Cause.CEPH_SLOW_OPS, min(names) if len(names) == 1 else f"ceph/{fsid}", ops, (), DIRECT)
