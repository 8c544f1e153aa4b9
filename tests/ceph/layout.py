"""What a small Ceph cluster is made of, as text: names, addresses, keys, ceph.conf, monmap arguments. Nothing here starts anything.

Keyrings: Ceph's manual, "Manual Deployment" and "User Management"; options: `ceph config help OPTION`.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CLIENT: Final = "client.faultline"
"""The name that the agent uses."""
CLIENT_CAPS: Final[Mapping[str, str]] = {"mon": "allow r", "mgr": "allow r"}
"""All that the agent's key may: read what monitors and managers know. No `osd`: it reads and writes no object."""

NODES: Final[Mapping[str, int]] = {"pve1": 65101, "pve2": 65102, "pve3": 65103}
"""Nodes that agents play, and the group (gid) whose sockets are the node's: :mod:`tests.ceph.cut`."""
CUT_NODE: Final = "pve1"
"""The node that is cut off in scenarios."""

QUICK: Final[Mapping[str, str]] = {
    # Heartbeats between OSDs: 6 s and 20 s in production. A frozen OSD is noticed in 4 s, by the same reports of the same peers.
    "osd_heartbeat_interval": "1",
    "osd_heartbeat_grace": "4",
    "osd_mon_heartbeat_interval": "2",
    # The monitors grow the grace for an OSD that was slow before; with it a second fault would be noticed later than the first.
    "mon_osd_adjust_heartbeat_grace": "false",
    "mon_osd_adjust_down_out_interval": "false",
    "mon_osd_laggy_halflife": "1",
    # A store in memory says that it rotates, and recovery of rotating disks sleeps 0.1 s after each object.
    "osd_recovery_sleep_hdd": "0",
    "osd_recovery_sleep_hybrid": "0",
    "osd_recovery_sleep_degraded_hdd": "0",
    "osd_recovery_sleep_degraded_hybrid": "0",
    # A down OSD is out, and its data moves, after 600 s in production.
    "mon_osd_down_out_interval": "20",
    "mon_osd_report_timeout": "30",
    "osd_beacon_report_interval": "5",
    # How old a request is when it is called slow: 30 s in production.
    "osd_op_complaint_time": "4",
    # Monitors that begin an election at the same moment may disagree and begin again after 5 s in production. Leases stay as they are.
    "mon_election_timeout": "2",
    "mon_tick_interval": "2",
    "mgr_tick_period": "1",
    "mgr_stats_period": "2",
    "mon_mgr_beacon_grace": "8",
    "mgr_beacon_period": "1",
    # A cluster younger than 120 s is not blamed for having no manager; without one for 60 s it is in error, not only warned of.
    "mon_mgr_mkfs_grace": "5",
    # Since 18.2 a cluster or leader younger than 60 s is not blamed for a monitor that is down, since 20.2 nor one added 180 s ago.
    "mon_down_mkfs_grace": "5",
    "mon_down_uptime_grace": "5",
    "mon_down_added_grace": "5",
    "mon_mgr_inactive_grace": "10",
}
"""Timings for tests. Each shortens a wait and changes nothing of what is said, or by whom; `{}` gives Ceph's own."""

ALWAYS_ON: Final = frozenset(
    ("balancer", "crash", "devicehealth", "orchestrator", "pg_autoscaler", "progress", "rbd_support", "status", "telemetry", "volumes")
)
"""The manager's modules that cannot be switched off; source: Ceph 16.2 and 18.2, `always_on_modules` of `ceph mgr dump`."""

_FIXED: Final = """\
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
mon_allow_pool_delete = true
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
# The machine of a test is no storage node: its disk may be full, its processors busy.
mon_data_avail_warn = 2
mon_data_avail_crit = 1
mon_clock_drift_allowed = 1
mon_warn_on_slow_ping_time = 5000
osd_pool_default_pg_autoscale_mode = off
osd_crush_initial_weight = 1
# With mclock an OSD measures its disk for half a minute at its first start, and recovery cannot be throttled by options.
osd_op_queue = wpq
osd_objectstore = memstore
mgr_initial_modules =
# Only the modules that Ceph insists on (MGR_MODULE_ERROR without them): each of the others costs memory and start-up time.
mgr_disabled_modules = {modules}
log_max_recent = 500
debug_ms = 0
rocksdb_cache_size = 16777216
mon_memory_autotune = false
"""


@dataclass(frozen=True, slots=True)
class Layout:
    """A cluster's plan. ``directory`` must be short: a Unix socket's path below it has 107 bytes at most.

    :param hosts: CRUSH host to the numbers of its OSDs, all different.
    :param settings: further options of `[global]`, which win over everything else here.
    """

    directory: Path
    monitors: tuple[str, ...] = ("a", "b", "c")
    managers: tuple[str, ...] = ("x", "y")
    hosts: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: {"hA": (0, 1), "hB": (2, 3), "hC": (4, 5)})
    settings: Mapping[str, str] = field(default_factory=lambda: dict(QUICK))
    osd_bytes: int = 256 << 20
    """What one OSD says is its size. Its content is memory, so this bounds memory as well."""
    fsid: str = field(default_factory=lambda: str(uuid.uuid4()))
    ports: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Monitor to its v2 and v1 port."""

    @property
    def osds(self) -> tuple[int, ...]:
        """All OSDs' numbers, in order."""
        return tuple(sorted(number for numbers in self.hosts.values() for number in numbers))

    @property
    def conf(self) -> Path:
        """The path of ceph.conf."""
        return self.directory / "ceph.conf"

    def daemons(self) -> Iterator[str]:
        """Yield all daemons' names as Ceph writes them, in the order of their start: `mon.a`, …, `mgr.x`, …, `osd.0` and so on."""
        yield from (f"mon.{name}" for name in self.monitors)
        yield from (f"mgr.{name}" for name in self.managers)
        yield from (f"osd.{number}" for number in self.osds)

    def data(self, daemon: str) -> Path:
        """Return a daemon's data directory."""
        return self.directory / daemon

    def host_of(self, osd: int) -> str:
        """Return the CRUSH host of an OSD."""
        return next(host for host, numbers in self.hosts.items() if osd in numbers)

    def address(self, monitor: str) -> str:
        """Return a monitor's addresses in ceph.conf's form."""
        v2, v1 = self.ports[monitor]
        return f"[v2:127.0.0.1:{v2}/0,v1:127.0.0.1:{v1}/0]"

    def client_keyring(self) -> Path:
        """Return the path of the agent's keyring, which holds that one key."""
        return self.directory / f"ceph.{CLIENT}.keyring"


def free_ports(count: int) -> list[int]:
    """Return TCP ports that nobody listens on at 127.0.0.1 now; all are held until the last is found, so they differ.

    They are below the range that outgoing connections take theirs from, where a free port does not stay free.
    """
    held: list[socket.socket] = []
    try:
        for port in range(20000 + os.getpid() % 5000, 32000):
            candidate = socket.socket()
            held.append(candidate)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                candidate.close()
                held.pop()
            if len(held) == count:
                return [taken.getsockname()[1] for taken in held]
    finally:
        for taken in held:
            taken.close()
    raise OSError(f"fewer than {count} free TCP ports between 20000 and 32000 at 127.0.0.1")


def plan(directory: Path, **changes: object) -> Layout:
    """Return the plan of a cluster in ``directory``, with ports that are free now."""
    layout = Layout(directory, **changes)  # type: ignore[arg-type] # the fields' own types check the caller's words at run time
    ports = iter(free_ports(2 * len(layout.monitors)))
    chosen = {name: (next(ports), next(ports)) for name in layout.monitors}
    return Layout(directory, ports=chosen, fsid=layout.fsid, **changes)  # type: ignore[arg-type]


def keyring(name: str, key: str, caps: Mapping[str, str]) -> str:
    """Return one section of a keyring file."""
    return "".join([f"[{name}]\n\tkey = {key}\n", *(f'\tcaps {service} = "{cap}"\n' for service, cap in caps.items())])


def caps_of(name: str) -> Mapping[str, str]:
    """Return the capabilities of a daemon or client: those of Ceph's manual for daemons, everything for `client.admin`."""
    return {
        "mon": {"mon": "allow *"},
        "mgr": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
        "osd": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
        CLIENT: CLIENT_CAPS,
    }.get(name if name == CLIENT else name.partition(".")[0], {"mon": "allow *", "mgr": "allow *", "osd": "allow *", "mds": "allow *"})


def ceph_conf(layout: Layout, modules: Iterable[str]) -> str:
    """Return ceph.conf. ``modules`` are the Python modules that a manager finds; it shall load only :data:`ALWAYS_ON`."""
    place = layout.directory
    options = "".join(f"{name} = {value}\n" for name, value in layout.settings.items())
    hosts = "".join(
        f"[osd.{number}]\ncrush_location = root=default host={host}\n" for host, numbers in layout.hosts.items() for number in numbers
    )
    return (
        f"[global]\nfsid = {layout.fsid}\nmon_host = {','.join(layout.address(name) for name in layout.monitors)}\n"
        f"mon_initial_members = {','.join(layout.monitors)}\n"
        f"memstore_device_bytes = {layout.osd_bytes}\n{_FIXED.format(modules=' '.join(sorted(set(modules) - ALWAYS_ON)))}{options}"
        f"log_file = {place}/log/$name.log\nadmin_socket = {place}/run/$name.asok\nrun_dir = {place}/run\n"
        f"crash_dir = {place}/crash\n"
        f"[mon]\nmon_data = {place}/mon.$id\nmon_cluster_log_file = {place}/log/cluster.log\n"
        f"[mgr]\nmgr_data = {place}/mgr.$id\npublic_addr = 127.0.0.1\n"
        f"[osd]\nosd_data = {place}/osd.$id\npublic_addr = 127.0.0.1\ncluster_addr = 127.0.0.1\n{hosts}"
        f"[client]\nlog_file =\nadmin_socket =\nkeyring = {place}/ceph.$name.keyring\n"
    )
