"""The causes that an incident can have: a fixed list, part of the interface. `docs/causes.md` is generated from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Severity = Literal["critical", "major", "minor"]


class Cause(StrEnum):
    """What broke."""

    NFS_SERVER_DOWN = "nfs-server-down"
    NFS_EXPORT_DENIED = "nfs-export-denied"
    NFS_STALE_HANDLE = "nfs-stale-handle"
    NFS_SLOW = "nfs-slow"
    NFS_NAME_UNRESOLVED = "nfs-name-unresolved"
    NODE_STORAGE_NETWORK = "node-storage-network"
    NODE_DOWN = "node-down"
    STORAGE_SUBNET_DOWN = "storage-subnet-down"
    ISCSI_PORTAL_DOWN = "iscsi-portal-down"
    ISCSI_TARGET_DOWN = "iscsi-target-down"
    ISCSI_AUTH_REJECTED = "iscsi-auth-rejected"
    PATH_REDUNDANCY_LOST = "path-redundancy-lost"
    ALL_PATHS_DOWN = "all-paths-down"
    LUN_REMAPPED = "lun-remapped"
    LUN_WWID_CONFLICT = "lun-wwid-conflict"
    VG_MISSING = "vg-missing"
    CEPH_OSD_DOWN = "ceph-osd-down"
    CEPH_HOST_DOWN = "ceph-host-down"
    CEPH_MON_QUORUM = "ceph-mon-quorum"
    CEPH_PG_INACTIVE = "ceph-pg-inactive"
    CEPH_PG_DEGRADED = "ceph-pg-degraded"
    CEPH_RECOVERY_SATURATION = "ceph-recovery-saturation"
    CEPH_NEARFULL = "ceph-nearfull"
    CEPH_FULL = "ceph-full"
    CEPH_SLOW_OPS = "ceph-slow-ops"
    STORAGE_CONFIG_BROKEN = "storage-config-broken"
    STORAGE_CONFIG_CHANGED = "storage-config-changed"
    PMXCFS_DOWN = "pmxcfs-down"
    CLUSTER_QUORUM_LOST = "cluster-quorum-lost"
    STATUS_DAEMON_STUCK = "status-daemon-stuck"
    AGENT_SILENT = "agent-silent"
    HA_FENCING = "ha-fencing"
    HA_SERVICE_ERROR = "ha-service-error"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class CauseInfo:
    """What people are told of a cause."""

    severity: Severity
    sentence: str
    """One sentence with ``{entity}`` for the entity's key."""
    remedies: tuple[str, ...]
    ha_can_help: bool = False
    """Whether moving guests to another node can help: only when the fault is a node's own."""


_I = CauseInfo
CAUSES: Final[dict[Cause, CauseInfo]] = {
    Cause.NFS_SERVER_DOWN: _I(
        "critical",
        "NFS server {entity} does not answer",
        (
            "Check power, network and the nfs service of the server: `rpcinfo -t SERVER nfs`, `showmount -e SERVER`.",
            "Guests on hard mounts wait and go on by themselves when the server is back: do not reset them first.",
            "Migrating does not help: every node uses the same server.",
        ),
    ),
    Cause.NFS_EXPORT_DENIED: _I(
        "critical",
        "NFS export {entity} is refused by its server",
        (
            "Compare the server's export list with the nodes' addresses on the storage network: `exportfs -v` on the server.",
            "After correcting it: `exportfs -ra` on the server; mounts recover without a remount.",
        ),
    ),
    Cause.NFS_STALE_HANDLE: _I(
        "critical",
        "File handles of NFS server {entity} went stale",
        (
            "The export was replaced, restored or failed over with other inode numbers: fix `fsid=` in the export's options.",
            "Stop what uses the storage, `umount -l` its mount point, let Proxmox VE mount it again.",
        ),
    ),
    Cause.NFS_SLOW: _I(
        "major",
        "NFS {entity} is slow",
        ("Look at the server's disks and at the network: `nfsiostat 5` on a node, `iostat -x 5` on the server.",),
    ),
    Cause.NFS_NAME_UNRESOLVED: _I(
        "major",
        "The name of NFS server {entity} does not resolve",
        ("Repair DNS, or name the server by address in storage.cfg: mounts by name hang without a word while DNS is down.",),
    ),
    Cause.NODE_STORAGE_NETWORK: _I(
        "critical",
        "Node {entity} lost its storage network",
        (
            "Check this node's storage NIC, cable, bond, VLAN and switch port: `ip -br link`, `ethtool NIC`, `cat /proc/net/bonding/*`.",
            "The storage itself is well: other nodes still use it. Guests of this node can be moved or restarted elsewhere.",
        ),
        ha_can_help=True,
    ),
    Cause.NODE_DOWN: _I(
        "critical", "Node {entity} is down", ("Look at the node's console and power; HA restarts its services elsewhere.",), True
    ),
    Cause.STORAGE_SUBNET_DOWN: _I(
        "critical", "Storage network {entity} is down", ("Check the switches and VLANs of this network: every node lost it.",)
    ),
    Cause.ISCSI_PORTAL_DOWN: _I(
        "major",
        "iSCSI portal {entity} does not answer",
        (
            "Check the array's port or controller behind this address and its switch.",
            "I/O goes on over the other portal: do not take that one down now. Paths come back by themselves: watch `multipath -ll`.",
        ),
    ),
    Cause.ISCSI_TARGET_DOWN: _I(
        "critical",
        "iSCSI target {entity} is down on all its portals",
        (
            "Check the array: power, controllers, target service, its whole storage network.",
            "With `no_path_retry` I/O waits and then fails; afterwards check guests' file systems and `vgs`, `multipath -ll` on each node.",
            "Migrating does not help: every node uses the same target.",
        ),
    ),
    Cause.ISCSI_AUTH_REJECTED: _I(
        "critical",
        "iSCSI target {entity} rejects the login",
        (
            "The CHAP user, secret or access list was changed on the target or on the node: compare both sides.",
            (
                "Set the right secret: `iscsiadm -m node -T IQN -o update -n node.session.auth.password -v …` and log in again;"
                " running sessions reconnect by themselves."
            ),
            "If nobody changed it, treat it as a security event.",
        ),
    ),
    Cause.PATH_REDUNDANCY_LOST: _I(
        "major",
        "LUN {entity} lost a path",
        ("I/O goes on over the remaining path. Find the dead one: `multipath -ll`, `iscsiadm -m session -P 1`.",),
    ),
    Cause.ALL_PATHS_DOWN: _I(
        "critical",
        "LUN {entity} has no path left",
        ("Check whether the LUN is still mapped to this host on the array, then sessions and switches: `iscsiadm -m session -P 3`.",),
    ),
    Cause.LUN_REMAPPED: _I(
        "critical",
        "A live path to LUN {entity} now leads to another LUN",
        (
            "DANGER: writing on may destroy data. Stop what writes to this LUN on the named nodes now.",
            "Undo the renumbering on the array, then `multipath -f` and rescan; never rescan while guests write.",
        ),
    ),
    Cause.LUN_WWID_CONFLICT: _I(
        "critical",
        "Identity of LUN {entity} conflicts",
        ("Two LUNs or maps claim one identity: find the clone before anything writes to it.",),
    ),
    Cause.VG_MISSING: _I(
        "critical", "Volume group {entity} is missing", ("Check the LUN under it (`multipath -ll`, `pvs`), then `vgchange -ay`.",)
    ),
    Cause.CEPH_OSD_DOWN: _I(
        "major",
        "Ceph {entity} is down",
        (
            "See whether its disk or its daemon died: `ceph osd tree down`, `journalctl -u ceph-osd@N`, `smartctl -a DEVICE`.",
            "Ceph takes it out after 10 minutes and copies its data elsewhere: `ceph osd set noout` while you work on it.",
        ),
    ),
    Cause.CEPH_HOST_DOWN: _I(
        "critical",
        "Ceph host {entity} is down with all its OSDs",
        (
            "Check the host's power, and its public and cluster network.",
            "Take no other host with OSDs down before its data is whole again: with `size` 3 and `min_size` 2 a second one stops I/O.",
        ),
    ),
    Cause.CEPH_MON_QUORUM: _I(
        "critical",
        "The monitors of {entity} have no quorum",
        (
            "Bring monitors back until a majority runs, `systemctl start ceph-mon@NAME`; before that no command is answered.",
            "Guests go on with the maps that they have until an OSD fails or their tickets run out: start, move and stop nothing.",
        ),
    ),
    Cause.CEPH_PG_INACTIVE: _I(
        "critical",
        "Placement groups of {entity} serve no I/O",
        ("`ceph pg dump_stuck inactive` names them and the OSDs that they wait for: bring those back.",),
    ),
    Cause.CEPH_PG_DEGRADED: _I(
        "major",
        "Placement groups of {entity} have too few copies",
        ("`ceph -s` shows whether recovery runs. Let it run: reboot no host, add no load.",),
    ),
    Cause.CEPH_RECOVERY_SATURATION: _I(
        "major",
        "Recovery starves the clients of {entity}",
        (
            "Clients first: `ceph config set osd osd_mclock_profile high_client_ops`; before Ceph 17 `osd_max_backfills 1`.",
            "If it is the network (`OSD_SLOW_PING_TIME_*`), recovery needs a network of its own: `cluster_network` in ceph.conf.",
        ),
    ),
    Cause.CEPH_NEARFULL: _I(
        "major",
        "Ceph {entity} is nearly full",
        ("Add OSDs, or delete snapshots and images, before it is full: then all writes stop. `ceph osd df` shows an OSD that stands out.",),
    ),
    Cause.CEPH_FULL: _I(
        "critical",
        "Ceph {entity} is full: writes stop",
        (
            "A quota is reached: `ceph osd pool set-quota POOL max_bytes …`.",
            "Else raise the ratio for as long as deleting takes: `ceph osd set-full-ratio 0.97`, delete, then back to 0.95.",
            "Guests whose writes hang go on by themselves when there is room again.",
        ),
    ),
    Cause.CEPH_SLOW_OPS: _I(
        "major",
        "Requests to {entity} are blocked",
        ("`ceph daemon osd.N dump_blocked_ops` on its host says what they wait for; look at that OSD's disk and network.",),
    ),
    Cause.STORAGE_CONFIG_BROKEN: _I(
        "critical",
        "storage.cfg of {entity} is broken",
        ("Correct the named section: Proxmox VE gives up on all storages of every node until then.",),
    ),
    Cause.STORAGE_CONFIG_CHANGED: _I(
        "minor",
        "storage.cfg of {entity} changed",
        ("Compare what the edit names (`server`, `portal`, `export`) with what is there: undo it, or start what it names.",),
    ),
    Cause.PMXCFS_DOWN: _I(
        "critical", "/etc/pve is not served on node {entity}", ("`systemctl status pve-cluster corosync`, then restart pve-cluster.",)
    ),
    Cause.CLUSTER_QUORUM_LOST: _I(
        "critical",
        "Cluster {entity} lost quorum",
        ("Bring nodes or their network back; `pvecm status`. Do not force votes while the others may run.",),
    ),
    Cause.STATUS_DAEMON_STUCK: _I(
        "major", "pvestatd of node {entity} is stuck", ("A storage check hangs: find it with `pvesm status`, then restart pvestatd.",)
    ),
    Cause.AGENT_SILENT: _I(
        "major",
        "The agent of node {entity} is silent",
        ("`systemctl status faultline-agent` on the node; its evidence does not count until it is heard again.",),
    ),
    Cause.HA_FENCING: _I("critical", "HA fences node {entity}", ("Wait for its services to be recovered; then find out why it was lost.",)),
    Cause.HA_SERVICE_ERROR: _I(
        "critical", "HA service {entity} is in error", ("Repair the cause, then `ha-manager set SID --state disabled` and start it again.",)
    ),
    Cause.UNEXPLAINED: _I("major", "Trouble with {entity} that no known cause explains", ("Read the evidence below.",)),
}
