"""Which NFS mounts this node has, which servers it needs, and at which port and with which version it asks them.

A server is called what the mount's source or storage.cfg calls it; that is also how kernel lines name it. A mount says by ``addr=``
which address it uses, whatever the name resolves to today. Servers that are reached by RDMA or UDP only are left out: over TCP
nobody may answer there although all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from agent.mountinfo import rows
from pve.storage_cfg import Storage

NFS_PORT: Final = 2049
_TYPES: Final = frozenset({"nfs", "nfs4"})
_OTHER_TRANSPORTS: Final = frozenset({"rdma", "rdma6", "udp", "udp6"})


class Place(NamedTuple):
    """Where and how one server is asked. ``address`` empty: by its name; ``version`` None: whichever it serves."""

    server: str
    address: str = ""
    port: int = NFS_PORT
    version: int | None = None


class NfsMount(NamedTuple):
    """One NFS mount of this node: ``source`` is ``server:/export``, ``options`` of mount and superblock, values ``""`` without ``=``."""

    source: str
    target: str
    device: str
    options: dict[str, str]

    @property
    def server(self) -> str:
        """Return the server as the source names it, an IPv6 address without brackets."""
        return server_of(self.source)


def server_of(source: str) -> str:
    """Return the server in ``server:/export``; empty when there is none."""
    server, colon, _ = source.partition(":/")
    return server.strip("[]") if colon else ""


def nfs_mounts(mountinfo: str) -> Iterator[NfsMount]:
    """Yield the NFS mounts of a mountinfo table (proc_pid_mountinfo(5)), those that another mount covers included."""
    for row in rows(mountinfo):
        if row.type in _TYPES:
            yield NfsMount(row.source, row.target, row.device, options_of(f"{row.options},{row.superblock}"))


def options_of(text: str) -> dict[str, str]:
    """Return mount options by name; of one that is given twice the last holds, as for mount(8)."""
    return {name: value for name, _, value in (one.partition("=") for one in text.split(",")) if name}


def places(storages: Iterable[Storage], mounts: Iterable[NfsMount]) -> tuple[Place, ...]:
    """Return where to ask: once for each server, address, port and version. Storages that are mounted are asked as their mount says."""
    found = [place for mount in mounts if (place := _place(mount.server, mount.options)) is not None]
    mounted = {place.server for place in found}
    for storage in storages:
        server = storage.values.get("server", "").strip("[]")
        place = _place(server, options_of(storage.values.get("options", "")))
        if place is not None and server not in mounted:
            found.append(place)
    return tuple(dict.fromkeys(found))


def _place(server: str, options: dict[str, str]) -> Place | None:
    if not server or options.get("proto", "tcp") in _OTHER_TRANSPORTS or "rdma" in options or "udp" in options:
        return None
    port = options.get("port", "")
    # The kernel shows port=0 of a mount whose port is the usual one.
    number = int(port) if port.isdecimal() and len(port) <= len("65535") and 0 < int(port) <= 0xFFFF else NFS_PORT
    return Place(server, options.get("addr", ""), number, _version(options))


def _version(options: dict[str, str]) -> int | None:
    text = options.get("vers") or options.get("nfsvers") or ""
    text = text.partition(".")[0] or next((name[1] for name in ("v3", "v4", "v4.0", "v4.1", "v4.2") if name in options), "")
    return int(text) if text in ("3", "4") else None
