"""Checks of NFS storages: who the server is, how it is asked, and what the mount does in an outage.

Sources: pve-storage ``PVE/Storage/NFSPlugin.pm`` (mount and connection check), nfs(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import GUEST_DATA, View, options
from controller.core.topology.names import is_visible
from controller.core.topology.network import address_of
from events.host import Mount

_NEEDS: Final = (Need.STORAGES, Need.MOUNTS)
_SOFT: Final = frozenset({"soft", "softerr"})
_WITHOUT_EFFECT: Final = ("intr", "nointr")
_SHORTEST, _LONGEST = 50, 600
"""Tenths of a second: below, a busy server is taken for a dead one; above the default of TCP, nfs(5)."""


def _nodes(view: View) -> Iterable[str]:
    return [node for node in view.nodes if any(is_visible(storage, node) for _, storage, _ in view.of_type("nfs"))]


def _mounted(view: View, path: str) -> Iterator[tuple[str, Mount]]:
    """Yield each node with what it mounted on a path."""
    for node, known in view.mounts.items():
        yield from ((node, one) for one in known.mounted if one.target.rstrip("/") == path.rstrip("/") and one.type in ("nfs", "nfs4"))


def _version(found: dict[str, str]) -> str:
    return found.get("vers") or found.get("nfsvers") or next((one[1:] for one in ("v3", "v4", "v4.1", "v4.2") if one in found), "")


def _by_name(view: View) -> Iterator[Hit]:
    for name, _, values in view.of_type("nfs"):
        if (server := values.get("server", "")) and address_of(server) is None:
            yield Hit(f"storage/{name}", f"server {server} is a name", values={"server": server})


def _without_version(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("nfs"):
        if not _version(options(values.get("options", ""))).startswith("4"):
            for node, mount in _mounted(view, values.get("path", f"/mnt/pve/{name}")):
                if is_visible(storage, node) and (mount.type == "nfs4" or _version(options(mount.options)).startswith("4")):
                    version = _version(options(mount.options)) or "4.2"
                    yield Hit(f"storage/{name}", f"mounted as NFS {version}, but `options` do not say vers=4", node, {"version": version})


def _soft(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("nfs"):
        if GUEST_DATA & {*storage.content}:
            if _SOFT & options(values.get("options", "")).keys():
                yield Hit(f"storage/{name}", f"options {values['options']}")
                continue
            for node, mount in _mounted(view, values.get("path", f"/mnt/pve/{name}")):
                if _SOFT & options(mount.options).keys():
                    yield Hit(f"storage/{name}", f"{mount.target} is mounted soft", node)


def _no_lock(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("nfs"):
        found = options(values.get("options", ""))
        if GUEST_DATA & {*storage.content} and ("nolock" in found or found.get("local_lock", "none") != "none"):
            yield Hit(f"storage/{name}", f"options {values['options']}")


def _timing(view: View) -> Iterator[Hit]:
    for name, _, values in view.of_type("nfs"):
        text = options(values.get("options", "")).get("timeo", "")
        if text.isascii() and text.isdigit() and len(text) < 9 and not _SHORTEST <= int(text) <= _LONGEST:
            yield Hit(f"storage/{name}", f"timeo={text} is {int(text) / 10:g} s")


def _useless(view: View) -> Iterator[Hit]:
    for name, _, values in view.of_type("nfs"):
        found = [one for one in _WITHOUT_EFFECT if one in options(values.get("options", ""))]
        yield from (Hit(f"storage/{name}", f"option {one} does nothing", values={"option": one}) for one in found)


def _udp(view: View) -> Iterator[Hit]:
    for name, _, values in view.of_type("nfs"):
        found = options(values.get("options", ""))
        if "udp" in found or found.get("proto", "").startswith("udp"):
            yield Hit(f"storage/{name}", f"options {values['options']}")


def _differs(view: View) -> Iterator[Hit]:
    for name, storage, values in view.of_type("nfs"):
        wanted, asked = f"{_host(values.get('server', ''))}:{values.get('export', '')}", options(values.get("options", ""))
        for node, mount in _mounted(view, values.get("path", f"/mnt/pve/{name}")):
            if is_visible(storage, node) and (difference := _difference(mount, wanted, asked)):
                yield Hit(f"storage/{name}", difference, node, {"path": mount.target})


def _difference(mount: Mount, wanted: str, asked: dict[str, str]) -> str:
    """Say in what a mount differs from what storage.cfg asks for; empty when in nothing that matters."""
    real = options(mount.options)
    if mount.source.rstrip("/") != wanted.rstrip("/"):
        return f"mounted from {mount.source}, storage.cfg says {wanted}"
    version = _version(asked)
    if version and not _version(real).startswith(version):
        return f"mounted with vers={_version(real)}, storage.cfg says {version}"
    for one, other in (("hard", "soft"), ("soft", "hard")):
        if one in asked and other in real:
            return f"mounted {other}, storage.cfg says {one}"
    return ""


def _host(server: str) -> str:
    return f"[{server}]" if ":" in server and not server.startswith("[") else server


CHECKS: Final = (
    Check(
        "nfs-server-by-name",
        Severity.WARNING,
        "an NFS server is given by name",
        "Each status round (10 s) and each mount must resolve it. When DNS is away, or runs as a guest on this very storage, the storage "
        "goes offline with the server in perfect health, and after a power failure nothing comes up.",
        "Put the server's address into storage.cfg (`server` is fixed: edit the file, then unmount and let pvestatd mount it anew), or put "
        "{server} into /etc/hosts of every node.",
        _by_name,
    ),
    Check(
        "nfs-v4-without-vers",
        Severity.WARNING,
        "an NFSv4 storage is probed the way of NFSv3",
        "Without vers=4 in `options` the connection check runs `showmount`, which asks mountd. A v4-only server has none, and where "
        "mountd alone dies the storage is taken for offline while every mount works. Each failed probe also costs 10 s of the status "
        "round.",
        "`pvesm set {name} --options vers={version}` (with the options that are there already).",
        _without_version,
        _NEEDS,
        _nodes,
    ),
    Check(
        "nfs-soft",
        Severity.ERROR,
        "guests' disks lie on a soft NFS mount",
        "After `retrans` retries a soft mount returns EIO instead of waiting. Writes that the guest believes done are lost: silent "
        "corruption after each short outage, where a hard mount only stands still and goes on.",
        "`pvesm set {name} --options hard,...`; then stop its guests on each node, unmount and let pvestatd mount it anew.",
        _soft,
    ),
    Check(
        "nfs-nolock",
        Severity.WARNING,
        "guests' disks lie on NFS without locks",
        "With nolock or local_lock QEMU's image lock holds on one node only: two nodes can open one disk, which destroys it, for example "
        "when a fenced node was not dead.",
        "Remove nolock and local_lock from the options of {name} (vers=4.2 needs no lockd).",
        _no_lock,
    ),
    Check(
        "nfs-timeo",
        Severity.WARNING,
        "the NFS timeout is far from its default",
        "timeo counts tenths of a second (default of TCP: 600, 60 s). A short one floods a busy server with retries and reconnects; a long "
        "one delays the failover to a server's other address by minutes.",
        "Remove timeo from the options of {name}, or set it between 50 and 600.",
        _timing,
    ),
    Check(
        "nfs-option-without-effect",
        Severity.NOTE,
        "an NFS mount option that does nothing",
        "The kernel accepts and ignores intr and nointr since 2.6.25: who relies on them cannot interrupt a hanging mount. Only SIGKILL "
        "ends a wait.",
        "Remove {option} from the options of {name}.",
        _useless,
    ),
    Check(
        "nfs-udp",
        Severity.WARNING,
        "NFS over UDP",
        "At today's speeds the 16-bit IP identification wraps within seconds and fragments of different requests can be joined: silent "
        'corruption (nfs(5), "Using NFS over UDP on high-speed links"). New kernels refuse it, so the mount fails after an update.',
        "Remove udp from the options of {name}.",
        _udp,
    ),
    Check(
        "nfs-mount-differs",
        Severity.WARNING,
        "a mount is not what storage.cfg says",
        "Options take effect at the next mount, which may be the next reboot: until then nodes run with different settings. Where "
        "something else is mounted, Proxmox VE holds the storage for not mounted and mounts over it: open disks stay on the old server.",
        "On {node}, with no guest using it: `umount {path}`; pvestatd mounts it anew within 10 s.",
        _differs,
        _NEEDS,
        _nodes,
    ),
)
