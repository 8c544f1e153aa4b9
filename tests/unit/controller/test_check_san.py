from __future__ import annotations

import pytest

from events.base import Event
from tests import checks
from tests.checks import NODES, OTHER, TARGET, WWID, Case, interfaces, iscsi, multipath, storage, volumes

A, B = "10.0.1.100:3260", "10.0.3.100:3260"
SAN = storage("san", "iscsi", "none", portal="10.0.1.100", target=TARGET)
WELL = (("sda", "running", WWID), ("sdb", "running", WWID))


def lvm(**fields: object) -> Event:
    """Return an LVM storage over the group `vg`."""
    return storage("vm", "lvm", **{"vgname": "vg", **fields})


CASES = {
    "iscsi-raw-content": Case((NODES, storage("san", "iscsi", portal="10.0.1.100", target=TARGET)), (NODES, SAN), "storage/san"),
    "iscsi-one-portal": Case((NODES, SAN, iscsi("pve1", A)), (NODES, SAN, iscsi("pve1", A, B)), "storage/san"),
    "iscsi-session-missing": Case(
        (NODES, SAN, iscsi("pve1", A, B), iscsi("pve2", A)), (NODES, SAN, iscsi("pve1", A, B), iscsi("pve2", A, B)), "storage/san"
    ),
    "iscsi-lun-missing": Case(
        (NODES, SAN, iscsi("pve1", A, luns=(WWID, OTHER)), iscsi("pve2", A)),
        (NODES, SAN, iscsi("pve1", A), iscsi("pve2", A)),
        "storage/san",
    ),
    "iscsi-one-network": Case(
        (NODES, SAN, iscsi("pve1", A, "10.0.1.101:3260"), interfaces("pve1", ("10.0.1.11/24", None, 1500))),
        (NODES, SAN, iscsi("pve1", A, B), interfaces("pve1", ("10.0.1.11/24", None, 1500), ("10.0.3.11/24", None, 1500))),
        "storage/san",
    ),
    "iscsi-initiator-shared": Case(
        (NODES, SAN, iscsi("pve1", A, initiator="iqn.x:1"), iscsi("pve2", A, initiator="iqn.x:1")),
        (NODES, SAN, iscsi("pve1", A, initiator="iqn.x:1"), iscsi("pve2", A, initiator="iqn.x:2")),
        "node/pve2",
    ),
    "iscsi-startup-manual": Case(
        (NODES, lvm(shared=True), iscsi("pve1", A, startup="manual"), volumes("pve1", "vg", WWID)),
        (NODES, SAN, lvm(shared=True), iscsi("pve1", A, startup="manual"), volumes("pve1", "vg", WWID)),
        "storage/vm",
    ),
    "multipath-map-missing": Case(
        (NODES, iscsi("pve1", A, B), multipath("pve1")), (NODES, iscsi("pve1", A, B), multipath("pve1", *WELL)), f"lun/{WWID}"
    ),
    "multipathd-stopped": Case(
        (NODES, iscsi("pve1", A, B), multipath("pve1", running=False)),
        (NODES, iscsi("pve1", A), multipath("pve1", running=False)),
        "node/pve1",
    ),
    "multipath-one-path": Case((NODES, multipath("pve1", WELL[0])), (NODES, multipath("pve1", *WELL)), f"lun/{WWID}"),
    "multipath-fewer-paths": Case(
        (NODES, multipath("pve1", *WELL, ("sdc", "running", WWID)), multipath("pve2", *WELL)),
        (NODES, multipath("pve1", *WELL), multipath("pve2", *WELL)),
        f"lun/{WWID}",
    ),
    "multipath-path-failed": Case(
        (NODES, multipath("pve1", WELL[0], ("sdb", "transport-offline", WWID))),
        (NODES, multipath("pve1", WELL[0], ("sdb", "active ready running", WWID))),
        f"lun/{WWID}",
    ),
    "multipath-foreign-lun": Case(
        (NODES, multipath("pve1", WELL[0], ("sdb", "running", OTHER))),
        (NODES, multipath("pve1", WELL[0], ("sdb", "running", ""))),
        f"lun/{WWID}",
    ),
    "lvm-not-shared": Case(
        (NODES, SAN, lvm(base="san:0.0.0.scsi-" + WWID)),
        (NODES, SAN, lvm(), volumes("pve1", "vg", WWID), volumes("pve2", "vg")),
        "storage/vm",
    ),
    "lvm-without-base": Case((NODES, SAN, lvm(shared=True)), (NODES, lvm(shared=True)), "storage/vm"),
    "lvm-base-wrong": Case(
        (NODES, storage("san", "iscsi", "none", portal="10.0.1.100", target=TARGET, nodes=("pve1",)), lvm(shared=True, base="san:x")),
        (NODES, SAN, lvm(shared=True, base="san:x", nodes=("pve1",))),
        "storage/vm",
    ),
    "lvm-vg-missing": Case((NODES, lvm(), volumes("pve1", "other")), (NODES, lvm(nodes=("pve2",)), volumes("pve1", "other")), "storage/vm"),
    "lvm-vg-incomplete": Case((NODES, lvm(), volumes("pve1", "vg", complete=False)), (NODES, lvm(), volumes("pve1", "vg")), "storage/vm"),
    "lvm-vg-differs": Case(
        (NODES, lvm(shared=True), volumes("pve1", "vg", WWID), volumes("pve2", "vg", OTHER)),
        (NODES, lvm(), volumes("pve1", "vg", WWID), volumes("pve2", "vg", OTHER)),
        "storage/vm",
    ),
    "lvm-shared-on-local-disks": Case(
        (NODES, lvm(shared=True), volumes("pve1", "vg")), (NODES, lvm(shared=True), volumes("pve1", "vg", WWID)), "storage/vm"
    ),
    "lvmthin-on-shared-lun": Case(
        (NODES, storage("thin", "lvmthin", vgname="vg", thinpool="p"), volumes("pve1", "vg", WWID), volumes("pve2", "vg", WWID)),
        (NODES, storage("thin", "lvmthin", vgname="vg", thinpool="p"), volumes("pve1", "vg", WWID), volumes("pve2", "vg", OTHER)),
        "storage/thin",
    ),
}


@pytest.mark.parametrize("identity", CASES)
def test_it_is_found_and_the_near_miss_is_not(identity: str) -> None:
    """Each check finds the case that it is for, and keeps quiet about one that only looks like it."""
    case = CASES[identity]
    assert case.object in checks.found(identity, case.bad, case.states)
    assert checks.found(identity, case.near, case.near_states) == []


def test_a_session_that_is_not_logged_in_is_missing() -> None:
    """A session in state FAILED or FREE is no way to the target."""
    assert checks.found("iscsi-session-missing", (NODES, SAN, iscsi("pve1", A, state="FAILED"))) == ["storage/san"]


@pytest.mark.parametrize("base", ["gone:x", "off:x", "local:x"])
def test_a_base_that_cannot_be_activated_is_found(base: str) -> None:
    """A base must be defined, enabled and of type iscsi."""
    off = storage("off", "iscsi", "none", portal="10.0.1.100", target=TARGET, disabled=True)
    local = checks.directory("local", "/var/lib/vz", "iso")
    assert checks.found("lvm-base-wrong", (NODES, off, local, lvm(shared=True, base=base))) == ["storage/vm"]


def test_a_base_is_missed_only_where_iscsi_is_below() -> None:
    """LVM on Fibre Channel needs no base: nothing has to log in first."""
    seen = (iscsi("pve1", A), volumes("pve1", "vg", WWID))
    assert checks.found("lvm-without-base", (NODES, SAN, lvm(shared=True), *seen)) == ["storage/vm"]
    fibre = (iscsi("pve1", A, luns=(OTHER,)), volumes("pve1", "vg", WWID))
    assert checks.found("lvm-without-base", (NODES, SAN, lvm(shared=True), *fibre)) == []
