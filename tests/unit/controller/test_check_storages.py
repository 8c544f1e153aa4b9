from __future__ import annotations

import pytest

from events.base import Event
from events.cluster import StorageConfigBroken
from events.definitions import StorageConfigWarned
from events.entity import Entity, EntityKind
from tests import checks
from tests.checks import NODES, Case, directory, mounts, nfs, storage
from tests.sim import facts as make

CLUSTER = Entity(EntityKind.CLUSTER, "prod")
NAS = ("10.0.1.100:/srv", "/mnt/pve/nas", "nfs4", "rw,vers=4.2,hard")
BY_HAND = ("10.0.1.100:/iso", "/srv/iso", "nfs4", "rw,hard")


def warned(text: str) -> Event:
    """Return a warning of Proxmox VE's parser."""
    return StorageConfigWarned(subject=CLUSTER, seen=make.SEEN, warnings=(text,))


def broken(section: str) -> Event:
    """Return a section without what it needs."""
    return StorageConfigBroken(subject=CLUSTER, seen=make.SEEN, section=section, line=7, reason="missing value for required option 'path'")


LOCAL = directory("local", "/var/lib/vz", "iso")
CASES = {
    "storage-section-broken": Case((NODES, LOCAL, broken("archive")), (NODES, LOCAL), "storage/archive"),
    "storage-line-ignored": Case(
        (NODES, LOCAL, make.corosync("pve1", "pve2"), warned("file storage.cfg line 9 - ignore config line: x")),
        (NODES, LOCAL, broken("archive"), warned("file storage.cfg line 9 (skip section 'archive'): missing value")),
        "cluster/prod",
    ),
    "storage-type-unknown": Case(
        (NODES, LOCAL, warned("file storage.cfg line 5 (skip section 'drbd'): unsupported type 'linstordb'")),
        (NODES, LOCAL, warned("file storage.cfg line 9 - ignore config line: x")),
        "storage/drbd",
    ),
    "storage-nodes-unknown": Case((NODES, nfs(nodes=("pve1", "pve9"))), (NODES, nfs(nodes=("pve1", "pve3"))), "storage/nas"),
    "storage-hidden-from-nodes": Case(
        (NODES, nfs(nodes=("pve1", "pve2"))), (NODES, storage("tank", "zfspool", nodes=("pve1",), pool="tank")), "storage/nas"
    ),
    "storage-disabled-in-use": Case(
        (NODES, nfs(disabled=True), make.guest(100, "pve1", "nas")),
        (NODES, nfs(disabled=True), nfs("other"), make.guest(100, "pve1", "other", history=("nas",))),
        "storage/nas",
    ),
    "storage-undefined-in-use": Case(
        (NODES, LOCAL, make.guest(100, "pve1", "gone")),
        (NODES, LOCAL, broken("gone"), make.guest(100, "pve1", "gone")),
        "storage/gone",
    ),
    "storage-secret-in-file": Case(
        (NODES, storage("office", "cifs", "iso", server="10.0.0.5", password="***")),
        (NODES, storage("pbs", "pbs", "backup", server="10.0.0.5", encryption_key="***")),
        "storage/office",
    ),
    "backup-beside-data": Case(
        (NODES, nfs(), storage("pbs", "pbs", "backup", server="10.0.1.100")),
        (NODES, nfs(), storage("pbs", "pbs", "backup", server="10.0.1.101")),
        "storage/pbs",
    ),
    "esxi-left-enabled": Case(
        (NODES, storage("old", "esxi", "import", server="10.0.0.4")),
        (NODES, storage("old", "esxi", "import", server="10.0.0.4", disabled=True)),
        "storage/old",
    ),
    "iscsidirect-always-active": Case(
        (NODES, storage("direct", "iscsidirect", portal="10.0.1.7", target=checks.TARGET)),
        (NODES, storage("san", "iscsi", "none", portal="10.0.1.7", target=checks.TARGET)),
        "storage/direct",
    ),
    "storage-not-mounted": Case(
        (NODES, nfs(), mounts("pve1", NAS), mounts("pve2")),
        (NODES, nfs(nodes=("pve1",)), mounts("pve1", NAS), mounts("pve2")),
        "storage/nas",
    ),
    "storage-mounted-read-only": Case(
        (NODES, nfs(), mounts("pve1", (*NAS[:3], "ro,vers=4.2"))),
        (NODES, nfs(), mounts("pve1", (*NAS[:3], "rw,proto=tcp"))),
        "storage/nas",
    ),
    "dir-shared-but-local": Case(
        (NODES, directory("iso", "/srv/iso", "iso", shared=True), mounts("pve1")),
        (NODES, directory("iso", "/srv/iso", "iso", shared=True), mounts("pve1", BY_HAND)),
        "storage/iso",
    ),
    "dir-mountpoint-unguarded": Case(
        (NODES, directory("iso", "/srv/iso", "iso"), mounts("pve1", BY_HAND)),
        (
            NODES,
            directory("iso", "/srv/iso", "iso", is_mountpoint="yes"),
            LOCAL,
            mounts("pve1", BY_HAND, ("/dev/sdb1", "/var", "ext4", "rw")),
        ),
        "storage/iso",
    ),
    "dir-on-network-mount": Case(
        (NODES, directory("iso", "/srv/iso", "iso"), mounts("pve1", BY_HAND)),
        (NODES, nfs(), directory("iso", "/mnt/pve/nas/iso", "iso"), mounts("pve1", NAS)),
        "storage/iso",
    ),
    "mount-not-at-boot": Case(
        (NODES, directory("iso", "/srv/iso", "iso"), mounts("pve1", BY_HAND)),
        (NODES, directory("iso", "/srv/iso", "iso"), mounts("pve1", BY_HAND, fstab=(BY_HAND,))),
        "storage/iso",
    ),
    "fstab-without-nofail": Case(
        (NODES, mounts("pve1", fstab=(BY_HAND,))),
        (NODES, mounts("pve1", fstab=((*BY_HAND[:3], "nofail,_netdev"), ("/dev/sdb1", "/data", "ext4", "defaults")))),
        "node/pve1",
    ),
    "fstab-without-netdev": Case(
        (
            NODES,
            checks.multipath("pve1", ("sda", "running", "")),
            mounts("pve1", fstab=(("/dev/mapper/mpatha", "/data", "ext4", "defaults"),)),
        ),
        (
            NODES,
            checks.multipath("pve1", ("sda", "running", "")),
            mounts("pve1", fstab=(("/dev/mapper/pve-data", "/data", "ext4", "defaults"),)),
        ),
        "node/pve1",
    ),
    "cifs-holds-disks": Case(
        (NODES, storage("office", "cifs", "images", server="10.0.0.5")),
        (NODES, storage("office", "cifs", "iso", "backup", server="10.0.0.5")),
        "storage/office",
    ),
    "cifs-old-protocol": Case(
        (NODES, storage("office", "cifs", "iso", server="10.0.0.5", smbversion="2.1")),
        (NODES, storage("office", "cifs", "iso", server="10.0.0.5", smbversion="3.11")),
        "storage/office",
    ),
    "nfs-server-by-name": Case((NODES, nfs(server="nas.example.com")), (NODES, nfs(server="fd00::5")), "storage/nas"),
    "nfs-v4-without-vers": Case(
        (NODES, nfs(options="hard"), mounts("pve1", NAS)), (NODES, nfs(options="hard,vers=4.2"), mounts("pve1", NAS)), "storage/nas"
    ),
    "nfs-soft": Case(
        (NODES, nfs(options="soft")), (NODES, storage("nas", "nfs", "iso", server="10.0.1.100", options="soft,softreval")), "storage/nas"
    ),
    "nfs-nolock": Case((NODES, nfs(options="vers=3,nolock")), (NODES, nfs(options="vers=3,lock,local_lock=none")), "storage/nas"),
    "nfs-timeo": Case((NODES, nfs(options="timeo=30")), (NODES, nfs(options="timeo=600")), "storage/nas"),
    "nfs-option-without-effect": Case((NODES, nfs(options="hard,intr")), (NODES, nfs(options="hard")), "storage/nas"),
    "nfs-udp": Case((NODES, nfs(options="proto=udp")), (NODES, nfs(options="proto=tcp")), "storage/nas"),
    "nfs-mount-differs": Case(
        (NODES, nfs(server="10.0.1.101"), mounts("pve1", NAS)),
        (NODES, nfs(options="vers=4,hard"), mounts("pve1", NAS)),
        "storage/nas",
    ),
}


@pytest.mark.parametrize("identity", CASES)
def test_it_is_found_and_the_near_miss_is_not(identity: str) -> None:
    """Each check finds the case that it is for, and keeps quiet about one that only looks like it."""
    case = CASES[identity]
    assert case.object in checks.found(identity, case.bad, case.states)
    assert checks.found(identity, case.near, case.near_states) == []


def test_a_soft_mount_is_found_where_storage_cfg_does_not_say_so() -> None:
    """What the kernel mounted counts, not only what the file asks for."""
    events = (NODES, nfs(), mounts("pve2", (*NAS[:3], "rw,vers=4.2,soft")))
    assert checks.found("nfs-soft", events) == ["storage/nas"]


def test_other_options_than_asked_for_are_found() -> None:
    """A mount from before a change of version or hardness is told."""
    for asked, real in (("vers=3", "rw,vers=4.2"), ("hard", "rw,vers=4.2,soft"), ("nfsvers=4.1", "rw,vers=4.2")):
        assert checks.found("nfs-mount-differs", (NODES, nfs(options=asked), mounts("pve1", (*NAS[:3], real)))) == ["storage/nas"], asked
