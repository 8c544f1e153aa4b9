"""Fault verbs of Ceph, of Proxmox VE's cluster and of HA: rows C1 to C5 and P1 to P3."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.sim.faults import Fault, Verb
from tests.sim.plan import CLUSTER, FSID, Plan
from tests.sim.truth import Name, Truth
from tests.sim.world import Mark


def _fault(verb: str, marks: tuple[Mark, ...], *names: Name, of_node: str = "") -> Fault:
    return Fault(verb, marks, (Truth(names, of_node),))


# -- Ceph -----------------------------------------------------------------------------------------------------------


def _osd(plan: Plan, chance: Random) -> Fault | None:
    """Return an OSD that dies on a host that has others."""
    hosts = [osds for _, osds in plan.ceph.osds if len(osds) > 1] if plan.ceph else []
    if not hosts:
        return None
    number = chance.choice(chance.choice(hosts))
    return _fault("osd", (("osd", str(number)),), ("ceph-osd-down", f"ceph-osd/{FSID}/{number}"))


def _host(plan: Plan, chance: Random) -> Fault | None:
    """Return a host all of whose OSDs die while the node lives. Of one OSD nobody can tell whether it is the host's fault."""
    if plan.ceph is None:
        return None
    host, osds = chance.choice(plan.ceph.osds)
    names: list[Name] = [("ceph-host-down", f"ceph-host/{FSID}/{host}")]
    names += [("ceph-osd-down", f"ceph-osd/{FSID}/{osds[0]}")] if len(osds) == 1 else []
    return _fault("ceph-host", tuple(("osd", str(number)) for number in osds), *names)


def _monitor(plan: Plan, chance: Random) -> Fault | None:
    if plan.ceph is None:
        return None
    node = chance.choice(plan.ceph.monitors)
    return _fault("mon", (("mon", node),), ("ceph-mon-quorum", f"ceph-mon/{FSID}/{node}"))


def _monitors(plan: Plan, chance: Random) -> Fault | None:
    if plan.ceph is None:
        return None
    lost = chance.sample(plan.ceph.monitors, len(plan.ceph.monitors) // 2 + 1)
    return _fault("mon-quorum", tuple(("mon", node) for node in lost), ("ceph-mon-quorum", f"ceph/{FSID}"))


def _state(what: str, cause: str) -> Callable[[Plan, Random], Fault | None]:
    def make(plan: Plan, _: Random) -> Fault | None:
        return _fault(f"ceph-{what}", (("ceph", what),), (cause, f"ceph/{FSID}")) if plan.ceph else None

    return make


def _pool(what: str, cause: str) -> Callable[[Plan, Random], Fault | None]:
    def make(plan: Plan, chance: Random) -> Fault | None:
        if plan.ceph is None:
            return None
        pool = chance.choice(plan.ceph.pools)
        return _fault(f"ceph-{what}", (("ceph", what, pool),), (cause, f"ceph-pool/{FSID}/{pool}"))

    return make


def _slow(plan: Plan, chance: Random) -> Fault | None:
    if plan.ceph is None:
        return None
    number = chance.choice([number for _, osds in plan.ceph.osds for number in osds])
    return _fault("ceph-slow", (("ceph", "slow", str(number)),), ("ceph-slow-ops", f"ceph-osd/{FSID}/{number}"))


# -- Proxmox VE -----------------------------------------------------------------------------------------------------


def _of_node(mark: str, cause: str) -> Callable[[Plan, Random], Fault | None]:
    def make(plan: Plan, chance: Random) -> Fault | None:
        node = chance.choice(plan.nodes)
        return _fault(mark, ((mark, node),), (cause, f"node/{node}"), of_node=node)

    return make


def _dead(plan: Plan, chance: Random) -> Fault | None:
    """Return a node that dies and that HA does not manage anything on."""
    managed = {guest.node for guest in plan.guests if guest.managed}
    nodes = [one for one in plan.nodes if one not in managed]
    if not nodes:
        return None
    node = chance.choice(nodes)
    return _fault("node-dead", (("node", node),), ("node-down", f"node/{node}"), of_node=node)


def _fenced(plan: Plan, chance: Random) -> Fault | None:
    """Return a node that dies and that HA fences a minute later."""
    nodes = sorted({guest.node for guest in plan.guests if guest.managed}, key=plan.nodes.index)
    if not nodes:
        return None
    node = chance.choice(nodes)
    return _fault("node-fenced", (("node", node),), ("node-down", f"node/{node}"), ("ha-fencing", f"node/{node}"), of_node=node)


def _quorum(plan: Plan, _: Random) -> Fault | None:
    """Return a corosync network that is down: every node is alone."""
    return _fault("quorum", (("quorum",),), ("cluster-quorum-lost", f"cluster/{CLUSTER}"))


def _config(plan: Plan, _: Random) -> Fault | None:
    return _fault("config", (("config",),), ("storage-config-broken", f"cluster/{CLUSTER}"))


def _service(plan: Plan, chance: Random) -> Fault | None:
    guests = [one for one in plan.guests if one.managed]
    if not guests:
        return None
    guest = chance.choice(guests)
    sid = f"{'ct' if guest.container else 'vm'}:{guest.vmid}"
    return _fault("ha-error", (("ha", sid),), ("ha-service-error", f"ha/{sid}"))


VERBS: Final[tuple[Verb, ...]] = (
    Verb("osd", "C1", _osd),
    Verb("ceph-host", "C1", _host),
    Verb("ceph-recovery", "C2", _state("recovery", "ceph-recovery-saturation")),
    Verb("ceph-slow", "C2", _slow),
    Verb("ceph-degraded", "C3", _state("degraded", "ceph-pg-degraded")),
    Verb("ceph-inactive", "C3", _state("inactive", "ceph-pg-inactive")),
    Verb("mon", "C4", _monitor),
    Verb("mon-quorum", "C4", _monitors),
    Verb("ceph-nearfull", "C5", _pool("nearfull", "ceph-nearfull")),
    Verb("ceph-full", "C5", _pool("full", "ceph-full")),
    Verb("config", "P1", _config),
    Verb("node-dead", "P2", _dead),
    Verb("quorum", "P2", _quorum),
    Verb("pmxcfs", "P2", _of_node("pmxcfs", "pmxcfs-down")),
    Verb("pvestatd", "P2", _of_node("pvestatd", "status-daemon-stuck")),
    Verb("agent", "P2", _of_node("agent", "agent-silent")),
    Verb("node-fenced", "P3", _fenced),
    Verb("ha-error", "P3", _service),
)
