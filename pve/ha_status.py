"""What the HA manager and the local resource managers last wrote: ``ha/manager_status`` and ``nodes/<node>/lrm_status``.

Sources: pve-ha-manager ``Manager.pm``, ``LRM.pm``, ``NodeStatus.pm``, ``API2/HA/Status.pm`` (5.2.0 and 4.0.7). Both are JSON, replaced as a
whole about every 10 s. States are kept as texts: a newer release may know more of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pve.json_object import Fields, read

MANAGER_FILE: Final = "ha/manager_status"
LRM_FILE: Final = "lrm_status"
OLD_S: Final = 30
"""A timestamp that is older, seconds, is of a manager that is "dead?" for Proxmox VE."""
DRIFT_S: Final = 2
"""A timestamp may be this far in the future, seconds."""
NODE_STATES: Final = frozenset({"online", "maintenance", "unknown", "fence", "gone"})
SERVICE_STATES: Final = frozenset(
    {
        "stopped",
        "request_stop",
        "request_start",
        "request_start_balance",
        "started",
        "fence",
        "recovery",
        "migrate",
        "relocate",
        "freeze",
        "error",
    }
)
LRM_STATES: Final = frozenset({"wait_for_agent_lock", "active", "maintenance", "lost_agent_lock"})
LRM_MODES: Final = frozenset({"active", "reboot", "shutdown", "restart", "maintenance", "disarm", "unknown"})


class Age(StrEnum):
    """What a timestamp says about its writer."""

    NEVER = "never"
    """There is none: the manager has not written yet."""
    ACTIVE = "active"
    OLD = "old"
    """Older than 30 s: the writer is dead, hangs, has no quorum, or, with no HA resources, idles."""
    DRIFT = "drift"
    """In the future: the clocks of the writer's node and of the reader differ."""


def age(timestamp: int, now_s: float) -> Age:
    """Judge a timestamp as Proxmox VE's status API does. Both are seconds since 1970; ``now_s`` is the reader's clock."""
    if not timestamp:
        return Age.NEVER
    behind_s = int(now_s) - timestamp
    if behind_s > OLD_S:
        return Age.OLD
    return Age.DRIFT if behind_s < -DRIFT_S else Age.ACTIVE


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A resource as the manager handles it. ``node`` is where it is, ``target`` where it is to go."""

    sid: str
    state: str
    node: str
    uid: str = ""
    """Names one command to the local resource manager and its result."""
    running: bool = False
    target: str = ""
    command: tuple[str, ...] = ()
    """A command by an administrator, as ``("migrate", "pve2")``."""
    failed_nodes: tuple[str, ...] = ()
    maintenance_node: str = ""
    """Where it comes from and goes back to when that node's maintenance ends."""


@dataclass(frozen=True, slots=True)
class Disarm:
    """HA is being switched off or is (since 5.1.3). ``mode`` is ``freeze`` or ``ignore``, ``state`` ``disarming`` or ``disarmed``."""

    mode: str
    state: str


@dataclass(frozen=True, slots=True)
class ManagerStatus:
    """The manager's whole memory. All is empty on a cluster that has never used HA."""

    master: str = ""
    timestamp: int = 0
    nodes: Mapping[str, str] = field(default_factory=dict)
    """Node to one of :data:`NODE_STATES`."""
    services: Mapping[str, ServiceStatus] = field(default_factory=dict)
    """By resource id, as ``vm:100``."""
    maintenance: frozenset[str] = frozenset()
    """Nodes for which maintenance was asked; whether it is reached says ``nodes``."""
    disarm: Disarm | None = None


@dataclass(frozen=True, slots=True)
class LrmResult:
    """What came of one command. ``exit_code`` 0 is success, as in pve-ha-manager ``Tools.pm``; None when there is none."""

    sid: str
    state: str
    exit_code: int | None


@dataclass(frozen=True, slots=True)
class LrmStatus:
    """A node's local resource manager. ``mode`` is ``active`` when it is not told, as Proxmox VE takes it."""

    state: str = ""
    mode: str = "active"
    timestamp: int = 0
    results: Mapping[str, LrmResult] = field(default_factory=dict)
    """By the service's ``uid``."""

    @property
    def watchdog(self) -> bool:
        """Whether it holds the node's watchdog, as long as its timestamp is not old: when it dies, the node reboots."""
        return self.state in ("active", "maintenance")


def parse_manager(data: bytes, filename: str = MANAGER_FILE) -> ManagerStatus:
    """Read ``ha/manager_status``; an empty file is one of a cluster that has never used HA.

    :raises TornError: when the bytes are no JSON; read again.
    :raises FormatError: when a field has another type.
    """
    fields = Fields(read(data, filename, empty_is_none=True), filename)
    node_status, requests = fields.inner("node_status"), fields.objects("node_request")
    return ManagerStatus(
        fields.text("master_node"),
        fields.integer("timestamp", 0),
        {node: node_status.text(node) for node in node_status.names()},
        {sid: _service(sid, inner) for sid, inner in fields.objects("service_status").items()},
        frozenset(node for node, request in requests.items() if request.flag("maintenance")),
        _disarm(fields.inner("disarm")) if fields.has("disarm") else None,
    )


def parse_lrm(data: bytes, filename: str = LRM_FILE) -> LrmStatus:
    """Read a node's ``lrm_status``; an empty file is one of a manager that has never run.

    :raises TornError: when the bytes are no JSON; read again.
    :raises FormatError: when a field has another type.
    """
    fields = Fields(read(data, filename, empty_is_none=True), filename)
    results = {uid: _result(inner) for uid, inner in fields.objects("results").items()}
    return LrmStatus(fields.text("state"), fields.text("mode") or "active", fields.integer("timestamp", 0), results)


def _service(sid: str, fields: Fields) -> ServiceStatus:
    return ServiceStatus(
        sid,
        fields.text("state"),
        fields.text("node"),
        fields.text("uid"),
        fields.flag("running"),
        fields.text("target"),
        fields.texts("cmd"),
        fields.texts("failed_nodes"),
        fields.text("maintenance_node"),
    )


def _disarm(fields: Fields) -> Disarm:
    return Disarm(fields.text("mode"), fields.text("state"))


def _result(fields: Fields) -> LrmResult:
    return LrmResult(fields.text("sid"), fields.text("state"), fields.integer("exit_code") if fields.has("exit_code") else None)
