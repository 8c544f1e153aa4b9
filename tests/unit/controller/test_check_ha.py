from __future__ import annotations

from typing import Any

import pytest

from events.base import Event
from events.definitions import HaServiceState, VolumeUse
from events.entity import Entity, EntityKind
from tests import checks
from tests.checks import NODES, Case, directory, nfs, storage, uses
from tests.sim import facts as make

NAS = nfs()
FEW = nfs(nodes=("pve1", "pve2"))
LOCAL = directory("local", "/var/lib/vz", "iso")
THIN = storage("thin", "lvmthin", vgname="pve", thinpool="data")
TANK = storage("tank", "zfspool", pool="tank")
ON_NAS = make.guest(100, "pve1", "nas")
HA = make.managed(100)
DISK = ("scsi0", "nas", "vm-100-disk-0", "disk", "runtime")


def rule(*nodes: str, name: str = "r", **fields: Any) -> Event:
    """Return a node rule for vm:100."""
    return make.rule(name, *nodes, resources=("vm:100",), **fields)


def state(service: str) -> Event:
    """Return what the HA manager does with vm:100."""
    return HaServiceState(subject=Entity(EntityKind.HA, "vm:100"), seen=make.SEEN, service=service, node="pve1")


def shared_path() -> Event:
    """Return a VM with a directory of its node that it claims to be everywhere."""
    use = VolumeUse(key="mp0", volume="/srv/data", role="bind", need="runtime", shared=True)
    return make.guest(100, "pve1", "nas").model_copy(update={"uses": (use,)})


BOUND = uses(100, "pve1", DISK, ("mp0", "", "/srv/data", "bind", "runtime"))
CASES = {
    "ha-guest-on-local-storage": Case((NODES, THIN, make.guest(100, "pve1", "thin"), HA), (NODES, NAS, THIN, ON_NAS, HA), "guest/100"),
    "ha-guest-on-local-zfs": Case(
        (NODES, TANK, make.guest(100, "pve1", "tank"), HA), (NODES, TANK, make.guest(100, "pve1", "tank")), "guest/100"
    ),
    "ha-guest-bound-to-node": Case((NODES, NAS, BOUND, HA), (NODES, NAS, shared_path(), HA), "guest/100"),
    "ha-rule-nodes-without-storage": Case(
        (NODES, FEW, ON_NAS, HA, rule("pve1", "pve3")), (NODES, FEW, ON_NAS, HA, rule("pve3", negative=True)), "ha-rule/r"
    ),
    "ha-nodes-without-storage": Case((NODES, FEW, ON_NAS, HA), (NODES, FEW, ON_NAS, HA, rule("pve1", "pve2", strict=True)), "guest/100"),
    "ha-no-other-node": Case((NODES, NAS, ON_NAS, HA, rule("pve1", strict=True)), (NODES, NAS, ON_NAS, HA, rule("pve1")), "guest/100"),
    "ha-rule-dropped": Case(
        (NODES, HA, rule("pve1", dropped="of a reason")), (NODES, HA, rule("pve1", dropped="x", disabled=True)), "ha-rule/r"
    ),
    "ha-rule-nodes-unknown": Case((NODES, HA, rule("pve1", "pve9")), (NODES, HA, rule("pve1", "pve3")), "ha-rule/r"),
    "ha-groups-beside-rules": Case(
        (NODES, make.corosync("pve1"), rule("pve1", form="group"), rule("pve1", name="n")),
        (NODES, rule("pve1", form="group"), rule("pve2", form="group", name="n")),
        "cluster/prod",
    ),
    "ha-relocate-off": Case((NODES, NAS, ON_NAS, make.managed(100, max_relocate=0)), (NODES, NAS, ON_NAS, HA), "guest/100"),
    "ha-service-without-guest": Case((NODES, ON_NAS, make.managed(999)), (NODES, ON_NAS, HA), "ha/vm:999"),
    "ha-service-in-error": Case((NODES, ON_NAS, HA, state("error")), (NODES, ON_NAS, HA, state("started")), "ha/vm:100"),
    "ha-onboot-but-off": Case(
        (NODES, NAS, make.guest(100, "pve1", "nas", onboot=True), make.managed(100, requested="stopped")),
        (NODES, NAS, make.guest(100, "pve1", "nas", onboot=True), make.managed(100, requested="ignored")),
        "ha/vm:100",
    ),
    "guest-storage-not-on-node": Case(
        (NODES, FEW, make.guest(100, "pve3", "nas")), (NODES, FEW, make.guest(100, "pve2", "nas")), "guest/100"
    ),
    "guest-migration-copies-disks": Case(
        (NODES, THIN, make.guest(100, "pve1", "thin")), (NODES, THIN, make.guest(100, "pve1", "thin", template=True)), "guest/100"
    ),
    "guest-bound-to-node": Case((NODES, NAS, BOUND), (NODES, NAS, shared_path()), "guest/100"),
    "guest-iso-attached": Case(
        (NODES, NAS, LOCAL, uses(100, "pve1", DISK, ("ide2", "local", "iso/debian.iso", "cdrom", "start"))),
        (NODES, NAS, LOCAL, uses(100, "pve1", DISK, ("ide2", "", "none", "cdrom", "start"), ("ide0", "nas", "ci", "cloudinit", "start"))),
        "guest/100",
    ),
    "guest-claims-shared-path": Case((NODES, NAS, shared_path()), (NODES, NAS, BOUND), "guest/100"),
    "guest-leftovers-unreachable": Case(
        (NODES, NAS, make.guest(100, "pve1", "nas", history=("gone",))),
        (NODES, NAS, nfs("old"), make.guest(100, "pve1", "nas", history=("old",))),
        "guest/100",
    ),
    "guest-start-needs-local": Case(
        (NODES, NAS, LOCAL, uses(100, "pve1", DISK, ("hookscript", "local", "snippets/x.pl", "hookscript", "start"))),
        (NODES, NAS, LOCAL, uses(100, "pve1", DISK, ("hookscript", "nas", "snippets/x.pl", "hookscript", "start"))),
        "guest/100",
    ),
}


@pytest.mark.parametrize("identity", CASES)
def test_it_is_found_and_the_near_miss_is_not(identity: str) -> None:
    """Each check finds the case that it is for, and keeps quiet about one that only looks like it."""
    case = CASES[identity]
    assert case.object in checks.found(identity, case.bad, case.states)
    assert checks.found(identity, case.near, case.near_states) == []


@pytest.mark.parametrize("requested", ["stopped", "disabled", "ignored"])
def test_guests_that_ha_shall_not_run_need_no_failover(requested: str) -> None:
    """A service that HA is not told to keep running is not judged by where it could."""
    assert (
        checks.found("ha-guest-on-local-storage", (NODES, THIN, make.guest(100, "pve1", "thin"), make.managed(100, requested=requested)))
        == []
    )
    assert checks.found("ha-nodes-without-storage", (NODES, FEW, ON_NAS, make.managed(100, requested=requested))) == []


def test_a_node_alone_needs_nothing_shared() -> None:
    """On a single node nothing migrates and nothing fails over."""
    alone = (make.nodes("pve1"), THIN, make.guest(100, "pve1", "thin"), HA)
    for identity in ("ha-guest-on-local-storage", "ha-no-other-node", "guest-migration-copies-disks"):
        assert checks.found(identity, alone) == []
