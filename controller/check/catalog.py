"""All checks, in the order of the documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.check import ceph, guests, ha, iscsi, live, lvm, mounts, multipath, networks, nfs, quorum, storages
from controller.check.finding import Check

SUBJECTS: Final[Mapping[str, tuple[Check, ...]]] = {
    "storage.cfg": storages.CHECKS,
    "Mounts and directories": mounts.CHECKS,
    "NFS": nfs.CHECKS,
    "iSCSI": iscsi.CHECKS,
    "Multipath": multipath.CHECKS,
    "LVM": lvm.CHECKS,
    "Guests": guests.CHECKS,
    "HA": ha.CHECKS,
    "Votes and links": quorum.CHECKS,
    "Networks": networks.CHECKS,
    "Ceph": ceph.CHECKS,
    "Live states": live.CHECKS,
}
"""Checks by subject."""
CHECKS: Final[tuple[Check, ...]] = tuple(check for checks in SUBJECTS.values() for check in checks)
BY_ID: Final[Mapping[str, Check]] = {check.id: check for check in CHECKS}
