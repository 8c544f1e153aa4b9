"""How each cause is told from its neighbours: the signs that decide, in words. `docs/causes.md` prints it beside what to do."""

from __future__ import annotations

from typing import Final

from controller.core.causes import Cause

_C = Cause
TOLD_BY: Final[dict[Cause, str]] = {
    _C.NFS_SERVER_DOWN: (
        "Nodes that probe the server get no answer, or are refused, at nearly one time, and none that looks still reaches it. One that"
        " does speaks for `node-storage-network`; other things of the same network that are silent as well, for `storage-subnet-down`."
        " Where mounts hang although the server answers, only other mounts count as proof."
    ),
    _C.NFS_EXPORT_DENIED: (
        "The server answers, and refuses this export or lets nobody write. Handles that are stale on some nodes only are the same: a"
        " server answers so to a client that it no longer lists. Where all have them, it is `nfs-stale-handle`."
    ),
    _C.NFS_STALE_HANDLE: (
        "The server answers, and handles of the export are stale on every node that uses it: another directory is behind it now."
    ),
    _C.NFS_SLOW: (
        "Operations take longer than 20 ms twice in a row and still end. Requests that do not end belong to `nfs-server-down`. Of a"
        " server, when several of its exports are slow at one time."
    ),
    _C.NFS_NAME_UNRESOLVED: "The name of the server does not resolve; that it cannot be reached then follows from it.",
    _C.NODE_STORAGE_NETWORK: (
        "One node lost what others still reach: several things of one network, all of its networks, or one thing alone. Its Ceph OSDs"
        " and monitors that the others miss belong to it. While other nodes have not had the time to notice, the shared thing stays"
        " possible; when they have and say nothing, it does not. A node that also left the cluster is `node-down`."
    ),
    _C.NODE_DOWN: (
        "The others see it leave the cluster. Its silent agent, HA's fencing, its OSDs and monitors belong to it. An agent that is"
        " silent while its node stays a member is `agent-silent`; nodes that are heard and no members are `cluster-quorum-lost` or"
        " `pmxcfs-down`."
    ),
    _C.STORAGE_SUBNET_DOWN: (
        "At least two nodes lost at least two things of one network at one time, without an answer, and nothing else in it is still"
        " reached. What refuses was reached and does not count. Monitors of Ceph that only their own nodes hear speak for the network,"
        " and against `ceph-mon-quorum`. One thing alone in its network cannot be told from the network, and is named itself."
    ),
    _C.ISCSI_PORTAL_DOWN: (
        "Several nodes lost this portal while their sessions over the target's other portals live. All portals lost is"
        " `iscsi-target-down`, one node's loss `path-redundancy-lost`."
    ),
    _C.ISCSI_TARGET_DOWN: (
        "All portals of the target are lost, or it answers that it is out of service. One with a single portal is named rather than"
        " that portal. A rejected login is `iscsi-auth-rejected`."
    ),
    _C.ISCSI_AUTH_REJECTED: (
        "The target answers and rejects the login; sessions that it closed just before belong to it, silent ones do not."
    ),
    _C.PATH_REDUNDANCY_LOST: (
        "One node lost its way over one portal and keeps another to the same target. Told of the LUN where the way leads to one LUN"
        " only, of the portal where it leads to several. Several nodes at one time are `iscsi-portal-down`."
    ),
    _C.ALL_PATHS_DOWN: (
        "Nothing beneath explains it: sessions live, and the LUN is not offered, or its device has no path. Lost sessions make it a"
        " part of `iscsi-target-down` or `node-storage-network`."
    ),
    _C.LUN_REMAPPED: "A path that works shows another identity than its device's. No other fault does that.",
    _C.LUN_WWID_CONFLICT: "Two devices, LVM volumes or volume groups claim one identity, and no live path changed its own.",
    _C.VG_MISSING: (
        "The volume group is not there, or lacks a disk, and none of the LUNs and targets that it lies on is in trouble on that node."
    ),
    _C.CEPH_OSD_DOWN: (
        "The cluster's own map has one OSD down. All OSDs of its host are `ceph-host-down`. The one after which placement groups serve no"
        " I/O is as critical as `ceph-pg-inactive`."
    ),
    _C.CEPH_HOST_DOWN: (
        "All OSDs of a host are down in the map. When the node also left the cluster it is `node-down`; when it hears no monitor of"
        " others, `node-storage-network`."
    ),
    _C.CEPH_MON_QUORUM: (
        "Of one monitor: the others have it out of quorum, or several nodes get no word from it. Of the cluster: commands are not"
        " answered, or most monitors are silent. A node that hears none, or only its own, while others do has lost its network."
    ),
    _C.CEPH_PG_INACTIVE: "Placement groups serve nothing and no OSD or host that is down explains it.",
    _C.CEPH_PG_DEGRADED: "Copies are missing and no OSD, host or full pool explains it.",
    _C.CEPH_RECOVERY_SATURATION: "Requests are slow while much data moves, and nothing that is down explains it.",
    _C.CEPH_NEARFULL: "A ratio of the cluster is passed and writes go on. Pools and OSDs share their room: one incident for all.",
    _C.CEPH_FULL: "As before, and writes stop; also a pool that reached a quota of its own, for that pool alone.",
    _C.CEPH_SLOW_OPS: "Requests are blocked without recovery, without OSDs down, and without anything full.",
    _C.STORAGE_CONFIG_BROKEN: "A section of storage.cfg cannot be read: every node finds the same.",
    _C.STORAGE_CONFIG_CHANGED: (
        "Within two minutes before, an edit pointed a storage at something that does not answer and never did, as far as this cluster"
        " knows. What was well once is `nfs-server-down` or its like, and the edit stands in its reasons."
    ),
    _C.PMXCFS_DOWN: "The node itself says that /etc/pve is not served; that the others miss it as a member follows from it.",
    _C.CLUSTER_QUORUM_LOST: "Nodes that are heard say that they have no quorum; members that they miss and that are heard belong to it.",
    _C.STATUS_DAEMON_STUCK: "The node's status has not moved for three rounds although the node is a member and its agent is heard.",
    _C.AGENT_SILENT: (
        "No heartbeat comes and the node stays a member of the cluster. What it said last counts no more, neither for nor against anything."
    ),
    _C.HA_FENCING: "HA fences a node that did not leave the cluster; one that did is `node-down`, and its fencing belongs to that.",
    _C.HA_SERVICE_ERROR: "HA gave a service up. It is never taken for a part of something else: somebody has to clear it by hand.",
    _C.UNEXPLAINED: "Something is bad and no cause above fits it. It is told all the same, and revised when more is known.",
}
"""Two or three sentences for each cause: which signs decide for it, and which would make it another one."""
