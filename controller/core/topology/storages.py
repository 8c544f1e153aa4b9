"""What a storage needs on a node: one method for each way in which a storage is reached.

What the facts do not say is left out, never guessed: without a node's addresses nothing depends on a network, without its sessions an
iSCSI storage has the one portal that storage.cfg names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from controller.core.facts import Facts
from controller.core.topology.access import Access, Needs, Portals, portal_named
from controller.core.topology.graph import Graph, Group, all_of
from controller.core.topology.majorities import Ceph
from controller.core.topology.names import at, is_visible, properties
from controller.core.topology.network import host_of
from events.definitions import StorageDefined
from events.host import NodeMounts, NodeVolumes

_NETWORK_MOUNTS: Final = {"nfs": "nfs-server", "nfs4": "nfs-server", "cifs": "server", "smb3": "server", "fuse.glusterfs": "server"}
"""File systems of a server, to the entity that their server is."""
_DIRECTORIES: Final = frozenset({"dir", "btrfs"})

_BY_ID: Final = ".scsi-"
"""Before the WWID in the name of a LUN."""
Values = Mapping[str, str]


class StorageNeeds:
    """Finds what storages need, and says in the graph what those things need in turn."""

    def __init__(self, graph: Graph, facts: Facts, access: Access, ceph: Ceph, portals: Portals) -> None:
        self._graph, self._access, self._ceph, self._portals = graph, access, ceph, portals
        self._storages = dict(facts.of(StorageDefined))
        self._mounts = facts.of(NodeMounts)
        self._volumes = {node: {group.name: group.luns for group in known.groups} for node, known in facts.of(NodeVolumes).items()}
        self._types: Mapping[str, Callable[[Values, str], Needs]] = {
            "nfs": self._nfs,
            "iscsi": self._iscsi,
            "iscsidirect": self._iscsi,
            "lvm": self._lvm,
            "lvmthin": self._lvm,
            "dir": self._directory,
            "btrfs": self._directory,
            "rbd": self._rbd,
            "cephfs": self._cephfs,
        }
        for storage in self._storages.values():
            values = properties(storage)
            if storage.type in ("iscsi", "iscsidirect") and values.get("portal"):
                self._portals.add(values.get("target", ""), values["portal"])
        for storage in self._storages.values():
            base, lun = base_of(properties(storage))
            if lun and base in self._storages and (target := properties(self._storages[base]).get("target")):
                self._portals.hold(lun, target)

    def needs(self, name: str, node: str) -> Needs:
        """Return what a storage needs on a node."""
        storage = self._storages[name]
        find = self._types.get(storage.type, self._served)
        return (Group((f"storage/{name}",)), Group((f"node/{node}",)), *find(properties(storage), node))

    def _nfs(self, values: Values, node: str) -> Needs:
        server = values.get("server", "")
        return self._export(server, values.get("export", ""), node) if server else ()

    def _export(self, server: str, path: str, node: str) -> Needs:
        # As the kernel has it in its table of mounts, and with it the agent: nfs-export/[fd00::1]:/x.
        export = f"nfs-export/{f'[{server}]' if ':' in server else server}:{path}"
        self._graph.set(export, all_of(f"nfs-server/{server}"))
        return (Group((export,)), *self._access.way(server, node))

    def _served(self, values: Values, node: str) -> Needs:
        """CIFS, PBS, ESXi, ZFS over iSCSI, and what plugins of others bring: whatever names a server."""
        return self._server("server", values.get("server") or values.get("portal", ""), node)

    def _server(self, kind: str, text: str, node: str) -> Needs:
        host = host_of(text)
        return (Group((f"{kind}/{host}",)), *self._access.way(host, node)) if host else ()

    def _iscsi(self, values: Values, node: str) -> Needs:
        target = values.get("target", "")
        return self._target(target, values.get("portal", ""), node) if target else ()

    def _target(self, target: str, configured: str, node: str) -> Needs:
        """Need the target, which works while one of its portals does, and one of the node's ways to it."""
        self._graph.set(f"iscsi-target/{target}", [Group(tuple(all_))] if (all_ := self._portals.of(target)) else [])
        portals = dict.fromkeys([*self._portals.used(node, target), *([portal_named(configured)] if configured else [])])
        return (Group((f"iscsi-target/{target}",)), *self._access.ways(portals, node))

    def _lvm(self, values: Values, node: str) -> Needs:
        group, (base, lun) = values.get("vgname", ""), base_of(values)
        luns = self._volumes.get(node, {}).get(group) or ((lun,) if lun else ())
        needs = [*all_of(f"vg/{group}")] if group and (base or luns) else []
        if base:
            needs += all_of(at(f"storage/{base}", node))
        for lun in luns:
            needs += self._lun(lun, node)
        return tuple(needs)

    def _lun(self, lun: str, node: str) -> Needs:
        """Need the LUN, which works while a target that holds it does, and one of the node's ways to such a target."""
        targets = self._portals.targets(lun)
        self._graph.set(f"lun/{lun}", [Group(tuple(f"iscsi-target/{one}" for one in targets))] if targets else [])
        for target in targets:
            self._target(target, "", node)
        ways = self._access.ways(dict.fromkeys(one for target in targets for one in self._portals.used(node, target)), node)
        seen = at(f"lun/{lun}", node)
        self._graph.set(seen, (Group((f"lun/{lun}",)), *ways))
        return all_of(seen)

    def _directory(self, values: Values, node: str) -> Needs:
        """Need what the directory lies on: another storage's mount, or a file system that somebody mounted by hand."""
        path = values.get("path", "").rstrip("/")
        holder = self._holder(path, node)
        return all_of(at(f"storage/{holder}", node)) if holder else self._mounted(path, node)

    def _holder(self, path: str, node: str) -> str:
        """Return the storage below whose mount a path lies."""
        paths = {
            name: where.rstrip("/")
            for name, storage in self._storages.items()
            if storage.type not in _DIRECTORIES and is_visible(storage, node) and (where := properties(storage).get("path", ""))
        }
        inside = [name for name, where in paths.items() if is_below(path, where)]
        return max(inside, key=lambda name: len(paths[name]), default="")

    def _mounted(self, path: str, node: str) -> Needs:
        known = self._mounts.get(node)
        mounts = [*known.mounted, *known.configured] if known else []
        mount = max((one for one in mounts if is_below(path, one.target.rstrip("/"))), key=lambda one: len(one.target), default=None)
        kind = _NETWORK_MOUNTS.get(mount.type) if mount else None
        if mount is None or kind is None:
            return ()
        if kind == "nfs-server":
            server, _, export = mount.source.partition(":/")
            return self._export(server.strip("[]"), f"/{export}", node)
        return self._server(kind, mount.source.strip("/").partition("/")[0], node)

    def _rbd(self, values: Values, node: str) -> Needs:
        # With a data pool of its own (erasure coding) the pool itself holds the images' headers only.
        pools = (values.get("pool") or "rbd", values.get("data-pool", ""))
        return self._rados(values, [one for one in pools if one], node)

    def _cephfs(self, values: Values, node: str) -> Needs:
        return self._rados(values, [f"{values.get('fs-name') or 'cephfs'}_data"], node)  # as Proxmox VE names the pools of a file system

    def _rados(self, values: Values, pools: Sequence[str], node: str) -> Needs:
        hosts = values.get("monhost", "").replace(",", " ").replace(";", " ").split()
        fsid = self._ceph.with_monitors(hosts) if hosts else self._ceph.own
        if fsid:
            way = self._access.way(host_of(hosts[0]), node) if hosts else self._access.into_one_of(self._ceph.networks(fsid), node)
            return (*(need for pool in pools for need in self._ceph.pool(fsid, pool)), *way)
        servers = tuple(dict.fromkeys(f"server/{host_of(one)}" for one in hosts))
        return (Group(servers, len(servers) // 2 + 1), *self._access.way(host_of(hosts[0]), node)) if servers else ()


def base_of(values: Values) -> tuple[str, str]:
    """Return the iSCSI storage that an LVM storage's ``base`` names, and the WWID of its LUN; empty where there is none.

    PVE names a LUN ``CHANNEL.ID.LUN.NAME`` (PVE/Storage/ISCSIPlugin.pm), the name being that below /dev/disk/by-id.
    """
    storage, _, volume = values.get("base", "").partition(":")
    return storage, volume.partition(_BY_ID)[2]


def is_below(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies in it; neither ends with a slash."""
    return bool(path and directory) and (path == directory or path.startswith(f"{directory}/"))
