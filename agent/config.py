"""The agent's configuration: one TOML file, frozen groups, every field with unit, default and reason.

On a node of a Proxmox VE cluster an empty file works but for the controller's address and key.
"""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.errors import PermanentError
from events.problems import problems

Seconds = Annotated[float, Field(gt=0, le=86_400 * 365)]
Bytes = Annotated[int, Field(ge=1024 * 1024)]


class ConfigError(PermanentError):
    """The configuration cannot be used; the text lists every problem with file and field."""


class Group(BaseModel):
    """Base of all groups: immutable; an unknown field is an error, so that a typo is not silently the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _endpoint(text: str) -> str:
    """Return what ZeroMQ can connect to."""
    found = _ENDPOINT.fullmatch(text)
    if not found or (found["port"] and int(found["port"]) not in range(1, 65536)):
        raise ValueError(f"expected tcp://<name or address>:<port>, an IPv6 address in brackets, or ipc://<path> (is {text!r:.80})")
    return text


_ENDPOINT: Final = re.compile(r"tcp://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]):(?P<port>\d{1,5})|ipc://\S+")


def _short_hostname() -> str:
    return socket.gethostname().partition(".")[0]


class Node(Group):
    """Who this agent is."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$")] = Field(
        default_factory=_short_hostname
    )
    """Node name as Proxmox VE knows it. Default: the short host name, which is what PVE uses too."""
    cluster: Annotated[str, Field(max_length=255)] = ""
    """Cluster name. Default: ``cluster_name`` of /etc/corosync/corosync.conf, else ``standalone``."""


class Journal(Group):
    """Which journal is followed."""

    enabled: bool = True
    directory: Path | None = None
    """A directory with journal files. Default: this host's own journal."""
    files: tuple[Path, ...] = ()
    """Journal files, instead of a directory."""
    start: Literal["now", "beginning"] = "now"
    """Where to begin at the very first start. ``now``: yesterday's faults are no incidents of today."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.directory and self.files:
            raise ValueError("give directory or files, not both")
        return self


class Pmxcfs(Group):
    """The Proxmox cluster file system."""

    enabled: bool = True
    root: Path = Path("/etc/pve")
    """Its mount point."""
    interval: Annotated[float, Field(ge=0.2, le=60)] = 1.0
    """Seconds between two looks at ``.version``. Faster than 1 s sees nothing new: the kernel caches attributes that long."""
    deadline: Seconds = 5.0
    """Seconds after which a read counts as hung."""


class Host(Group):
    """What this node is made of: networks, mounts, iSCSI sessions, multipath maps, volume groups."""

    enabled: bool = True
    interval: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """Seconds between two looks at everything but the mounts. Whatever breaks is seen by other sources long before."""
    mounts_interval: Annotated[float, Field(ge=1, le=3600)] = 10.0
    """Seconds between two looks at the table of mounts. The kernel tells of most changes at once."""
    deadline: Seconds = 10.0
    """Seconds after which a look counts as hung. It reads only files that the kernel answers from memory, and a few below /etc."""


class Nfs(Group):
    """NFS servers and mounts."""

    enabled: bool = True
    interval: Annotated[float, Field(ge=0.5, le=60)] = 2.0
    """Seconds between two RPC NULL calls to each server; one such call costs a server less than a client's keep-alive."""
    deadline: Annotated[float, Field(ge=0.2, le=30)] = 1.5
    """Seconds that a server has to answer. A NULL call touches no disk: even over a slow network it takes milliseconds."""
    mounts_interval: Annotated[float, Field(ge=1, le=600)] = 10.0
    """Seconds between two looks at each mount for what only it knows: denied export, stale handle. While one is bad: 2 s."""
    mounts_deadline: Annotated[float, Field(ge=1, le=60)] = 5.0
    """Seconds after which a look at a mount is left behind."""
    latency_interval: Annotated[float, Field(ge=1, le=600)] = 10.0
    """Seconds between two looks at the kernel's statistics."""
    latency_limit: Seconds = 0.020
    """Seconds per operation that count as slow when they last. 20 ms is where databases in guests begin to suffer."""


class Iscsi(Group):
    """iSCSI portals and sessions."""

    enabled: bool = True
    interval: Annotated[float, Field(ge=0.5, le=60)] = 2.0
    """Seconds between two TCP connections to each portal."""
    deadline: Annotated[float, Field(ge=0.2, le=30)] = 2.0
    """Seconds that a portal has to accept one."""
    sessions_interval: Annotated[float, Field(ge=0.2, le=60)] = 1.0
    """Seconds between two looks at the kernel's sessions."""


class Multipath(Group):
    """Multipath maps, their paths, and what each path leads to."""

    enabled: bool = True
    interval: Annotated[float, Field(ge=1, le=600)] = 5.0
    """Seconds between two questions to multipathd."""
    sysfs_interval: Annotated[float, Field(ge=0.2, le=60)] = 1.0
    """Seconds between two looks at the kernel's disks and maps."""
    deadline: Seconds = 5.0
    """Seconds after which multipathd counts as hung."""
    inquiry: bool = False
    """Whether the disks themselves are asked which LUN they are (SCSI INQUIRY, page 83), beside what the kernel remembers of it.
    It takes the right to read the disks: run the agent as root, or in group disk."""


class Lvm(Group):
    """LVM volume groups of storage.cfg."""

    enabled: bool = True
    interval: Annotated[float, Field(ge=1, le=600)] = 5.0
    """Seconds between two looks."""
    deadline: Seconds = 10.0
    """Seconds after which a look counts as hung."""


class Ceph(Group):
    """Ceph clusters: the one that these nodes run, and those that storages of storage.cfg name by ``monhost``."""

    enabled: bool = True
    conf: Path | None = None
    """Configuration of the own cluster. Default: ``ceph.conf`` below ``pmxcfs.root``."""
    client: Annotated[str, Field(pattern=r"^client\.[A-Za-z0-9_.-]{1,64}$")] = "client.faultline"
    """Who asks. It needs ``mon 'allow r'`` and ``mgr 'allow r'``, and nothing else: see docs/ceph.md."""
    keyring: Path | None = None
    """File with its key. Default: ``ceph/ceph.client.faultline.keyring`` below ``pmxcfs.root``, else the same in /etc/ceph."""
    interval: Annotated[float, Field(ge=0.5, le=60)] = 2.0
    """Seconds between two questions for the cluster's health: 1 ms of a monitor's time."""
    map_interval: Annotated[float, Field(ge=5, le=3600)] = 30.0
    """Seconds between two looks at OSDs, placement groups and pools when nothing is pushed; monitors push whatever happens."""
    deadline: Annotated[int, Field(ge=1, le=60)] = 3
    """Seconds that monitors have to answer; librados takes whole ones."""


class Spool(Group):
    """Where events wait until the controllers have them."""

    path: Path = Path("/var/lib/faultline/agent/spool.db")
    max_bytes: Bytes = 256 * 1024 * 1024
    """Bytes of events. Default holds about a million events: days of a storm. The oldest go first, and that is told."""
    max_age: Seconds = 7 * 86_400
    """Seconds. An event that no controller took for a week helps nobody."""


class Controller(Group):
    """One controller; events go to each, and each acknowledges on its own."""

    endpoint: Annotated[str, AfterValidator(_endpoint)]
    """ZeroMQ endpoint, ``tcp://host:5601``; an IPv6 address in brackets."""
    public_key_file: Path
    """The controller's public key (``controller.key``)."""
    name: str = ""
    """Name in the spool and in logs. Default: the endpoint."""


class Uplink(Group):
    """The way to the controllers."""

    controllers: Annotated[tuple[Controller, ...], Field(min_length=1)]
    key_dir: Path = Path("/var/lib/faultline/agent/keys")
    """Directory of this agent's own key pair ``<node>.key_secret``; made on first start."""
    heartbeat: Annotated[float, Field(ge=0.1, le=300)] = 2.0
    """Seconds between heartbeats. The controller calls an agent silent after 20 s, so several may be lost."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name or one.endpoint for one in self.controllers]
        if len(set(names)) != len(names):
            raise ValueError("two controllers have the same name or endpoint")
        return self


class Config(Group):
    """The whole file."""

    node: Node = Field(default_factory=Node)
    journal: Journal = Journal()
    pmxcfs: Pmxcfs = Pmxcfs()
    host: Host = Host()
    nfs: Nfs = Nfs()
    iscsi: Iscsi = Iscsi()
    multipath: Multipath = Multipath()
    lvm: Lvm = Lvm()
    ceph: Ceph = Ceph()
    spool: Spool = Spool()
    uplink: Uplink


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    :raises ConfigError: when it cannot be read, is no TOML or has wrong fields; all problems at once, one a line.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return check_config(data, path)


def check_config(data: dict[str, Any], path: Path) -> Config:
    """Check a configuration that was read from ``path``.

    :raises ConfigError: as :func:`load_config`.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in problems(error))) from error
