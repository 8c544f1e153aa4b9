"""Writes /etc/pve of a cluster of any size as Proxmox VE writes it: what topology, checks and benchmarks are computed from.

Everything is decided by the numbers given: the same ones give the same bytes. Storages are shared in turn over NFS, LVM on iSCSI, RBD and
one local directory for each node; guests use one or two of them, a third of the guests are managed by HA.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FSID: Final = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
_PER_SERVER: Final = 4
"""NFS storages that one server exports."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a cluster is."""

    nodes: int
    guests: int
    storages: int

    def node(self, number: int) -> str:
        """Return a node's name, numbers from 0."""
        return f"pve{number % self.nodes + 1}"


def write(root: Path, size: Size) -> None:
    """Write the directory; ``root`` must not exist."""
    storages = [_storage(number) for number in range(size.storages)]
    _file(root / "storage.cfg", "".join(text for _, text in [_LOCAL, *storages]))
    _file(root / "corosync.conf", _corosync(size))
    _file(root / "ceph.conf", _ceph(size))
    _file(root / "datacenter.cfg", "keyboard: en-us\nmigration: secure,network=10.0.10.0/24\n")
    _file(root / ".members", _members(size))
    guests = {
        100 + number: _guest(size, number, [name for name, _ in storages if not name.startswith("san")]) for number in range(size.guests)
    }
    _file(root / ".vmlist", json.dumps({"version": 1, "ids": {str(vmid): guest[0] for vmid, guest in guests.items()}}))
    for number in range(size.nodes):
        for kind in ("qemu-server", "lxc"):
            (root / "nodes" / size.node(number) / kind).mkdir(parents=True)
    for vmid, (entry, text) in guests.items():
        folder = "lxc" if entry["type"] == "lxc" else "qemu-server"
        _file(root / "nodes" / str(entry["node"]) / folder / f"{vmid}.conf", text)
    managed = [f"{'ct' if guests[vmid][0]['type'] == 'lxc' else 'vm'}: {vmid}\n\tstate started\n\n" for vmid in guests if vmid % 3 == 0]
    _file(root / "ha" / "resources.cfg", "".join(managed))
    _file(root / "ha" / "rules.cfg", _rules(size, [vmid for vmid in guests if vmid % 3 == 0 and guests[vmid][0]["type"] == "qemu"]))


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


_LOCAL: Final = ("local", "dir: local\n\tpath /var/lib/vz\n\tcontent vztmpl,backup,iso\n\n")


def _storage(number: int) -> tuple[str, str]:
    """Return id and section of the n-th shared storage."""
    kind, index = number % 4, number // 4
    match kind:
        case 0:
            server = f"10.0.1.{10 + index // _PER_SERVER}"
            lines = (f"export /export/pve{index}", f"path /mnt/pve/nfs{index}", f"server {server}", "content images,rootdir")
            return _section("nfs", f"nfs{index}", *lines)
        case 1:
            target = f"iqn.2005-10.org.freenas.ctl:pve{index}"
            return _section("iscsi", f"san{index}", f"portal 10.0.2.{10 + index}", f"target {target}", "content none")
        case 2:
            base = f"san{index}:0.0.0.scsi-36001405{index:025x}"
            return _section("lvm", f"vg{index}", f"vgname vg{index}", f"base {base}", "content images,rootdir", "shared 1")
        case _:
            return _section("rbd", f"rbd{index}", "content images,rootdir", "krbd 0", f"pool pool{index}")


def _section(kind: str, name: str, *lines: str) -> tuple[str, str]:
    return name, "".join([f"{kind}: {name}\n", *(f"\t{line}\n" for line in lines), "\n"])


def _guest(size: Size, number: int, storages: list[str]) -> tuple[dict[str, object], str]:
    vmid, node = 100 + number, size.node(number)
    first, second = storages[number % len(storages)], storages[(number * 7 + 3) % len(storages)]
    if number % 5 == 4:
        text = (
            f"arch: amd64\nhostname: ct{vmid}\nmemory: 512\nmp0: {second}:vm-{vmid}-disk-1,mp=/srv,size=8G\n"
            f"rootfs: {first}:vm-{vmid}-disk-0,size=8G\n"
        )
        return {"node": node, "type": "lxc", "version": number + 1}, text
    text = (
        f"boot: order=scsi0\ncores: 2\nmemory: 2048\nname: vm{vmid}\n"
        f"net0: virtio=BC:24:11:00:{number // 256 % 256:02X}:{number % 256:02X},bridge=vmbr0\nonboot: 1\n"
        f"scsi0: {first}:vm-{vmid}-disk-0,iothread=1,size=32G\nscsi1: {second}:vm-{vmid}-disk-1,size=64G\nscsihw: virtio-scsi-single\n"
        f"\n[before]\nmemory: 2048\nname: vm{vmid}\nscsi0: {first}:vm-{vmid}-disk-0,iothread=1,size=32G\nsnaptime: 1795400000\n"
    )
    return {"node": node, "type": "qemu", "version": number + 1}, text


def _members(size: Size) -> str:
    nodes = {size.node(number): {"id": number + 1, "online": 1, "ip": f"10.0.0.{number + 1}"} for number in range(size.nodes)}
    cluster = {"name": "prod", "version": size.nodes, "nodes": size.nodes, "quorate": 1}
    return json.dumps({"nodename": "pve1", "version": 8, "cluster": cluster, "nodelist": nodes})


def _corosync(size: Size) -> str:
    nodes = "".join(
        f"  node {{\n    name: {size.node(number)}\n    nodeid: {number + 1}\n    quorum_votes: 1\n"
        f"    ring0_addr: 10.0.0.{number + 1}\n  }}\n"
        for number in range(size.nodes)
    )
    return (
        "logging {\n  debug: off\n  to_syslog: yes\n}\n\nnodelist {\n" + nodes + "}\n\nquorum {\n  provider: corosync_votequorum\n}\n\n"
        f"totem {{\n  cluster_name: prod\n  config_version: {size.nodes}\n  interface {{\n    linknumber: 0\n  }}\n  ip_version: ipv4-6\n"
        "  link_mode: passive\n  secauth: on\n  version: 2\n}\n"
    )


def _ceph(size: Size) -> str:
    monitors = [f"10.0.3.{number + 1}" for number in range(min(3, size.nodes))]
    named = "".join(f"[mon.{size.node(number)}]\n\tpublic_addr = {address}\n\n" for number, address in enumerate(monitors))
    return (
        f"[global]\n\tauth_client_required = cephx\n\tcluster_network = 10.0.4.0/24\n\tfsid = {FSID}\n\tmon_host = {' '.join(monitors)}\n"
        "\tosd_pool_default_min_size = 2\n\tosd_pool_default_size = 3\n\tpublic_network = 10.0.3.0/24\n\n" + named
    )


def _rules(size: Size, managed: list[int]) -> str:
    if not managed:
        return ""
    nodes = ",".join(size.node(number) for number in range(min(3, size.nodes)))
    return f"node-affinity: first\n\tnodes {nodes}\n\tresources vm:{managed[0]}\n\tstrict 1\n\n"
