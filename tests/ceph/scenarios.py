"""Faults of a real Ceph cluster as a table: what is done, what is then true, what Ceph says of it, how it ends.

The truth is what the verbs did, not what any program found. `{fsid}` in an entity is the cluster's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.ceph.cluster import CephCluster
from tests.ceph.layout import CUT_NODE


class Step(NamedTuple):
    """One call of a method of :class:`tests.ceph.cluster.CephCluster`."""

    verb: str
    arguments: tuple[str | int | float, ...] = ()
    named: tuple[tuple[str, str | int | float], ...] = ()

    def run(self, cluster: CephCluster) -> None:
        """Do it."""
        getattr(cluster, self.verb)(*self.arguments, **dict(self.named))

    def __str__(self) -> str:
        """Return the call as Python would be written."""
        return f"{self.verb}({', '.join([*map(repr, self.arguments), *(f'{name}={value!r}' for name, value in self.named)])})"


class Truth(NamedTuple):
    """One incident: the cause's name in Faultline, and the entity that broke."""

    cause: str
    entity: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault from a healthy cluster back to a healthy cluster.

    ``fault`` ends where the fault is complete and Ceph says so as far as it can; ``repair`` where it has begun to go away.
    """

    name: str
    about: str
    fault: tuple[Step, ...]
    repair: tuple[Step, ...]
    truth: tuple[Truth, ...]
    """One incident each, and none besides."""
    codes: frozenset[str] = frozenset()
    """Health codes that Ceph must have raised meanwhile (those that are muted do not count)."""
    before: tuple[Step, ...] = ()
    """What is prepared, and is no fault: data to lose."""
    lasts: float = 5.0
    """Seconds between fault and repair."""
    blind: bool = False
    """Nobody who asks the monitors gets an answer meanwhile, the cluster's own administrator included."""
    quiet: bool = False
    """An administrator meant it (maintenance, mute): what is true, nobody is to be woken for."""
    lasting: tuple[Truth, ...] = ()
    """What may be told as well, when it lasts longer than the 10 s that the controller waits for a cause: a serious check that has none."""
    nodes: Mapping[str, Truth] = field(default_factory=dict)
    """Truths that hold for one node's view only."""


def do(verb: str, *arguments: str | float, **named: str | float) -> Step:
    """Return a step."""
    return Step(verb, arguments, tuple(named.items()))


_DATA: Final = (do("write_all", objects=2000, object_bytes=16384),)
_MANY: Final = (do("write_all", objects=1200, object_bytes=65536),)


def _osd(number: int, cause: str = "ceph-osd-down") -> Truth:
    return Truth(cause, f"ceph-osd/{{fsid}}/{number}")


def _host(name: str) -> Truth:
    return Truth("ceph-host-down", f"ceph-host/{{fsid}}/{name}")


SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(
        "healthy",
        "nothing happens for a while",
        fault=(),
        repair=(),
        truth=(),
        before=_DATA,
    ),
    Scenario(
        "osd-killed",
        "one OSD ends by SIGKILL",
        before=_DATA,
        fault=(do("kill", "osd.0"), do("wait_for", "OSD_DOWN", "PG_DEGRADED")),
        repair=(do("start", "osd.0"),),
        truth=(_osd(0),),
        codes=frozenset({"OSD_DOWN", "PG_DEGRADED"}),
    ),
    Scenario(
        "osd-frozen",
        "one OSD stops where it stands: its peers miss its heartbeats",
        before=_DATA,
        fault=(do("freeze", "osd.2"), do("wait_for", "OSD_DOWN")),
        repair=(do("thaw", "osd.2"),),
        truth=(_osd(2),),
        codes=frozenset({"OSD_DOWN"}),
    ),
    Scenario(
        "osd-out",
        "an OSD stays down until Ceph takes it out, and its data moves",
        before=_DATA,
        fault=(do("kill", "osd.1"), do("wait_for", "OSD_DOWN"), do("wait_out", 1)),
        repair=(do("start", "osd.1"), do("mark_in", 1)),
        truth=(_osd(1),),
        codes=frozenset({"OSD_DOWN"}),
    ),
    Scenario(
        "osd-flapping",
        "one OSD ends and comes back four times",
        before=_DATA,
        fault=(*(do("kill", "osd.3"), do("wait_for", "OSD_DOWN"), do("start", "osd.3"), do("wait_up", 3)) * 4,),
        repair=(),
        truth=(_osd(3),),
        codes=frozenset({"OSD_DOWN"}),
    ),
    Scenario(
        "osd-marked-down",
        "an OSD that runs is said to be down, and contradicts: what a cut between OSDs looks like",
        before=_DATA,
        fault=(do("mark_down", 5), do("wait_up", 5), do("mark_down", 5)),
        repair=(),
        lasts=1,
        truth=(_osd(5),),
    ),
    Scenario(
        "osd-restarted",
        "one OSD is stopped as systemd stops it, and started again, with no flag set: a planned restart",
        before=_DATA,
        fault=(do("stop", "osd.4"), do("wait_for", "OSD_DOWN")),
        repair=(do("start", "osd.4"), do("wait_up", 4)),
        truth=(_osd(4),),
        codes=frozenset({"OSD_DOWN"}),
        quiet=True,
    ),
    Scenario(
        "osd-crashed",
        "one OSD fails an assertion, and its report reaches the cluster: RECENT_CRASH stays until somebody has seen it",
        before=_DATA,
        fault=(do("crash", "osd.2"), do("wait_for", "OSD_DOWN", "RECENT_CRASH")),
        repair=(do("start", "osd.2"), do("wait_up", 2), do("archive_crashes")),
        truth=(_osd(2),),
        codes=frozenset({"OSD_DOWN", "RECENT_CRASH"}),
    ),
    Scenario(
        "host-killed",
        "all OSDs of one CRUSH host end at once",
        before=_DATA,
        fault=(do("kill", "osd.0", "osd.1"), do("wait_for", "OSD_DOWN", "OSD_HOST_DOWN", "PG_DEGRADED")),
        repair=(do("start", "osd.0", "osd.1"),),
        truth=(_host("hA"),),
        codes=frozenset({"OSD_DOWN", "OSD_HOST_DOWN", "PG_DEGRADED"}),
    ),
    Scenario(
        "two-hosts-killed",
        "two of three CRUSH hosts end: one copy is left, and no placement group serves I/O",
        before=_DATA,
        fault=(do("kill", "osd.2", "osd.3", "osd.4", "osd.5"), do("wait_for", "OSD_HOST_DOWN", "PG_AVAILABILITY", "PG_DEGRADED")),
        repair=(do("start", "osd.2", "osd.3", "osd.4", "osd.5"),),
        truth=(_host("hB"), _host("hC")),
        codes=frozenset({"OSD_DOWN", "OSD_HOST_DOWN", "PG_AVAILABILITY"}),
    ),
    Scenario(
        "rack-killed",
        "all OSDs of one rack end: two of three CRUSH hosts, and the failure domain above them",
        before=(*_DATA, do("move_into_rack", "r1", "hA"), do("move_into_rack", "r2", "hB", "hC")),
        fault=(do("kill", "osd.2", "osd.3", "osd.4", "osd.5"), do("wait_for", "OSD_RACK_DOWN", "PG_AVAILABILITY")),
        repair=(
            do("start", "osd.2", "osd.3", "osd.4", "osd.5"),
            *(do("wait_up", osd) for osd in (2, 3, 4, 5)),
            do("dissolve_rack", "r1", "hA"),
            do("dissolve_rack", "r2", "hB", "hC"),
        ),
        truth=(_host("r2"),),
        codes=frozenset({"OSD_DOWN", "OSD_RACK_DOWN", "PG_AVAILABILITY"}),
    ),
    Scenario(
        "mon-killed",
        "one of three monitors ends: quorum is at risk",
        fault=(do("kill", "mon.c"), do("wait_for", "MON_DOWN")),
        repair=(do("start", "mon.c"),),
        truth=(Truth("ceph-mon-quorum", "ceph-mon/{fsid}/c"),),
        codes=frozenset({"MON_DOWN"}),
    ),
    Scenario(
        "two-mons-killed",
        "two of three monitors end: no command is answered",
        fault=(do("kill", "mon.b", "mon.c"),),
        repair=(do("start", "mon.b", "mon.c"),),
        lasts=25,
        blind=True,
        truth=(Truth("ceph-mon-quorum", "ceph/{fsid}"),),
    ),
    Scenario(
        "mons-killed",
        "all monitors end: connections are refused",
        fault=(do("kill", "mon.a", "mon.b", "mon.c"),),
        repair=(do("start", "mon.a", "mon.b", "mon.c"),),
        lasts=25,
        blind=True,
        truth=(Truth("ceph-mon-quorum", "ceph/{fsid}"),),
    ),
    Scenario(
        "mons-frozen",
        "all monitors stop where they stand: connections stay, nothing is answered",
        fault=(do("freeze", "mon.a", "mon.b", "mon.c"),),
        repair=(do("thaw", "mon.a", "mon.b", "mon.c"),),
        lasts=25,
        blind=True,
        truth=(Truth("ceph-mon-quorum", "ceph/{fsid}"),),
    ),
    Scenario(
        "mgr-failover",
        "the active manager ends, the other takes over: no harm",
        fault=(do("kill_manager"),),
        repair=(do("start_ended"),),
        truth=(),
    ),
    Scenario(
        "mgrs-killed",
        "both managers end: placement groups' states grow old, storage works",
        fault=(do("kill", "mgr.x", "mgr.y"), do("wait_for", "MGR_DOWN")),
        repair=(do("start", "mgr.x", "mgr.y"),),
        lasts=15,
        truth=(),
        codes=frozenset({"MGR_DOWN"}),
    ),
    Scenario(
        "pool-quota",
        "a pool reaches its quota of objects",
        before=_DATA,
        fault=(do("set_quota", "rbd", max_objects=1000), do("wait_for", "POOL_FULL")),
        repair=(do("set_quota", "rbd"),),
        truth=(Truth("ceph-full", "ceph-pool/{fsid}/rbd"),),
        codes=frozenset({"POOL_FULL"}),
    ),
    Scenario(
        "pool-quota-bytes",
        "a pool with a name of its own reaches its quota of bytes while it is written to; the pool rbd does not",
        before=(*_DATA, do("create_pool", "vm-disks.1")),
        fault=(
            do("set_quota", "vm-disks.1", max_bytes=20 << 20),
            do("write", "vm-disks.1", objects=1000, seconds=20),
            do("wait_for", "POOL_FULL"),
        ),
        repair=(do("set_quota", "vm-disks.1"), do("delete_pool", "vm-disks.1")),
        truth=(Truth("ceph-full", "ceph-pool/{fsid}/vm-disks.1"),),
        codes=frozenset({"POOL_FULL"}),
    ),
    Scenario(
        "pool-size-1",
        "a pool keeps one copy only, and the OSD that has it ends: its data is gone, the pool is deleted",
        before=_DATA,
        fault=(
            do("create_pool", "single", size=1),
            do("wait_for", "POOL_NO_REDUNDANCY"),
            do("write_all", "single", objects=200, object_bytes=16384),
            do("wait_clean"),
            do("kill", "osd.3"),
            do("wait_for", "OSD_DOWN"),
            do("wait_for", "PG_AVAILABILITY", seconds=120),
        ),
        repair=(do("start", "osd.3"), do("wait_up", 3), do("delete_pool", "single")),
        truth=(_osd(3),),
        codes=frozenset({"POOL_NO_REDUNDANCY", "OSD_DOWN", "PG_AVAILABILITY"}),
    ),
    Scenario(
        "scrub-errors",
        "one copy of an object is shorter than the others: a scrub finds it, a repair mends it",
        before=_DATA,
        fault=(do("shorten", 1), do("scrub"), do("wait_for", "OSD_SCRUB_ERRORS", "PG_DAMAGED", seconds=120)),
        repair=(do("repair_pool"),),
        truth=(),
        lasting=(Truth("unexplained", "ceph/{fsid}"),),
        codes=frozenset({"OSD_SCRUB_ERRORS", "PG_DAMAGED"}),
    ),
    Scenario(
        "filesystem-offline",
        "a CephFS is there and no metadata server serves it",
        before=_DATA,
        fault=(do("create_filesystem", "cephfs"), do("wait_for", "MDS_ALL_DOWN")),
        repair=(do("remove_filesystem", "cephfs"),),
        truth=(),
        lasting=(Truth("unexplained", "ceph/{fsid}"),),
        codes=frozenset({"MDS_ALL_DOWN"}),
    ),
    Scenario(
        "osds-nearfull",
        "all OSDs pass the nearfull ratio",
        before=_MANY,
        fault=(do("set_ratios", nearfull=0.05), do("wait_for", "OSD_NEARFULL", "POOL_NEARFULL")),
        repair=(do("set_ratios"),),
        truth=(Truth("ceph-nearfull", "ceph-pool/{fsid}/rbd"),),
        codes=frozenset({"OSD_NEARFULL", "POOL_NEARFULL"}),
    ),
    Scenario(
        "osds-full",
        "all OSDs pass nearfull, then backfillfull, then full: writes stop",
        before=_MANY,
        fault=(
            do("set_ratios", nearfull=0.05),
            do("wait_for", "OSD_NEARFULL"),
            do("set_ratios", nearfull=0.05, backfillfull=0.06),
            do("wait_for", "OSD_BACKFILLFULL"),
            do("set_ratios", nearfull=0.05, backfillfull=0.06, full=0.07),
            do("wait_for", "OSD_FULL", "POOL_FULL"),
        ),
        repair=(do("set_ratios"),),
        truth=(Truth("ceph-full", "ceph-pool/{fsid}/rbd"),),
        codes=frozenset({"OSD_NEARFULL", "OSD_BACKFILLFULL", "OSD_FULL", "POOL_FULL"}),
    ),
    Scenario(
        "backfill-throttled",
        "an OSD is taken out; its data moves slowly, clients are served",
        before=_DATA,
        fault=(do("throttle", 0.3), do("mark_out", 5), do("wait_moving")),
        repair=(do("throttle", 0), do("mark_in", 5)),
        lasts=15,
        truth=(),
    ),
    Scenario(
        "backfill-saturated",
        "data moves, OSDs are slow and do recovery first: requests of clients wait",
        before=_DATA,
        fault=(do("slow", 0.25), do("mark_out", 5), do("write", objects=4000, seconds=40), do("wait_for", "SLOW_OPS")),
        # What was kept waiting would fill an OSD once nothing slows it any more: another fault.
        repair=(do("stop_writing"), do("slow", 0), do("mark_in", 5)),
        truth=(Truth("ceph-recovery-saturation", "ceph/{fsid}"),),
        codes=frozenset({"SLOW_OPS"}),
    ),
    Scenario(
        "slow-osd",
        "one OSD answers nobody but is not said to be down (nodown): requests wait for its copies; Ceph says who waits, not for whom",
        before=_DATA,
        fault=(do("set_flag", "nodown"), do("freeze", "osd.4"), do("write", objects=4000, seconds=40), do("wait_for", "SLOW_OPS")),
        repair=(do("stop_writing"), do("thaw", "osd.4"), do("unset_flag", "nodown")),
        lasts=20,
        truth=(Truth("ceph-slow-ops", "ceph/{fsid}"),),
        codes=frozenset({"SLOW_OPS", "OSDMAP_FLAGS"}),
    ),
    Scenario(
        "muted",
        "OSD_DOWN and PG_DEGRADED are muted, then an OSD ends",
        before=_DATA,
        fault=(
            do("mute", "OSD_DOWN", "1h", sticky=True),
            do("mute", "PG_DEGRADED", "1h", sticky=True),
            do("kill", "osd.0"),
            do("wait_down", 0),
        ),
        repair=(do("start", "osd.0"), do("wait_up", 0), do("unmute", "OSD_DOWN"), do("unmute", "PG_DEGRADED")),
        truth=(_osd(0),),
        quiet=True,
    ),
    Scenario(
        "mute-after",
        "an OSD ends, OSD_DOWN is muted while it is down",
        before=_DATA,
        fault=(do("kill", "osd.1"), do("wait_for", "OSD_DOWN"), do("mute", "OSD_DOWN", "1h")),
        repair=(do("start", "osd.1"),),
        truth=(_osd(1),),
        codes=frozenset({"OSD_DOWN"}),
    ),
    Scenario(
        "mute-expires",
        "an OSD ends, OSD_DOWN is muted for some seconds, and the mute ends before the fault does",
        before=_DATA,
        fault=(
            do("kill", "osd.1"),
            do("wait_for", "OSD_DOWN"),
            do("mute", "OSD_DOWN", "8s"),
            do("wait_muted", "OSD_DOWN"),
            do("wait_for", "OSD_DOWN"),
        ),
        repair=(do("start", "osd.1"),),
        truth=(_osd(1),),
        codes=frozenset({"OSD_DOWN"}),
    ),
    Scenario(
        "mute-outgrown",
        "OSD_DOWN is muted while one OSD is down; a second one ends, and the mute with it",
        before=_DATA,
        fault=(
            do("kill", "osd.1"),
            do("wait_for", "OSD_DOWN"),
            do("mute", "OSD_DOWN", "1h"),
            do("wait_muted", "OSD_DOWN"),
            do("kill", "osd.2"),
            do("wait_for", "OSD_DOWN"),
        ),
        repair=(do("start", "osd.1", "osd.2"),),
        truth=(_osd(1), _osd(2)),
        codes=frozenset({"OSD_DOWN"}),
    ),
    Scenario(
        "noout-maintenance",
        "noout is set, all OSDs of a host are stopped as systemd stops them, started again, noout unset",
        before=_DATA,
        fault=(do("set_flag", "noout"), do("stop", "osd.2", "osd.3"), do("wait_for", "OSD_DOWN", "OSDMAP_FLAGS")),
        repair=(do("start", "osd.2", "osd.3"), do("wait_up", 2), do("wait_up", 3), do("unset_flag", "noout")),
        truth=(_host("hB"),),
        codes=frozenset({"OSD_DOWN", "OSDMAP_FLAGS"}),
        quiet=True,
    ),
    Scenario(
        "host-noout-maintenance",
        "the same with noout for that host only",
        before=_DATA,
        fault=(do("set_host_flag", "noout", "hB"), do("stop", "osd.2", "osd.3"), do("wait_for", "OSD_DOWN", "OSD_FLAGS")),
        repair=(do("start", "osd.2", "osd.3"), do("wait_up", 2), do("wait_up", 3), do("unset_host_flag", "noout", "hB")),
        truth=(_host("hB"),),
        codes=frozenset({"OSD_DOWN", "OSD_FLAGS"}),
        quiet=True,
    ),
    Scenario(
        "mons-cut",
        "one node's connections to all monitors are dropped; the cluster is well, and so says every other node",
        fault=(do("cut"),),
        repair=(do("mend"),),
        lasts=25,
        truth=(),
        nodes={CUT_NODE: Truth("node-storage-network", f"node/{CUT_NODE}")},
    ),
)


def scenario(name: str) -> Scenario:
    """Return a scenario by its name.

    :raises KeyError: there is none.
    """
    return {each.name: each for each in SCENARIOS}[name]
