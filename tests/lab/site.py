"""What stands in the laboratory: a NAS that serves NFS and iSCSI, and nodes that use them as Proxmox VE does.

::

    nas1   10.11.1.1 (stor1)  knfsd: /export/vm (64 MB of its own, so that it can run full), /export/iso
           10.11.2.1 (stor2)  dnsmasq: nas1.lab
           both               LIO: one target, a portal on each address, CHAP, LUNs 0 (vg-san) and 1
    pveN   10.11.1.1N, 10.11.2.1N   nas-vm (NFS 4.2, by address), nas-iso (NFS 3, by name), two sessions, two maps, vg-san

Each node reads and writes on all of it without pause, so that kernels have something to notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from tests.lab.guest import Guest
from tests.lab.image import Image, LabError
from tests.lab.net import Nic

PVE: Final = "/srv/pve"
"""Stands in for /etc/pve, which the agent takes for nothing but a real pmxcfs."""
NAS: Final = "nas1"
NAME: Final = "nas1.lab"
"""The NAS's name, known to nobody but its own name server."""
SERVER: Final = "10.11.1.1"
NAMES: Final = "10.11.2.1"
PORTALS: Final = ("10.11.1.1:3260", "10.11.2.1:3260")
TARGET: Final = "iqn.2005-10.org.freenas.ctl:pve-cluster"
LUNS: Final = 2
SECRET: Final = "firstsecret12"
_NICS: Final = (Nic("mgmt"), Nic("stor1"), Nic("stor2"))
_EXPORTS: Final = (("vm", 77), ("iso", 78))
_OPTIONS: Final = "rw,sync,no_subtree_check,no_root_squash"
STORAGE_CFG: Final = f"""\
dir: local
	path /var/lib/vz
	content iso,vztmpl,backup

nfs: nas-vm
	export /export/vm
	path /mnt/pve/nas-vm
	server {SERVER}
	content images,rootdir
	options vers=4.2

nfs: nas-iso
	export /export/iso
	path /mnt/pve/nas-iso
	server {NAME}
	content iso,vztmpl
	options vers=3,nolock

iscsi: san
	portal {PORTALS[0].partition(":")[0]}
	target {TARGET}
	content none

lvm: san-vm
	vgname vg-san
	base san:0.0.0.@LUN@
	content images,rootdir
	shared 1
"""
One = TypeVar("One")


class Site:
    """A NAS and nodes below a directory of their own. A context manager: set up on entry, gone on exit."""

    def __init__(self, image: Image, place: Path, nodes: int) -> None:
        self.nas = Guest(NAS, image, place, _NICS, memory_mb=640)
        self.nodes = {f"pve{number}": Guest(f"pve{number}", image, place, _NICS, memory_mb=640) for number in range(1, nodes + 1)}
        self.wwids: tuple[str, ...] = ()
        """WWIDs of LUNs 0 and 1."""

    def __enter__(self) -> Self:
        """Start every machine and set everything up."""
        try:
            self.set_up()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """End every machine."""
        self.stop()

    def stop(self) -> None:
        """End every machine."""
        for guest in self._guests():
            guest.stop()

    def set_up(self) -> None:
        """Start every machine and set everything up.

        :raises LabError: when something is not as it should be.
        """
        for guest in self._guests():
            guest.start()
        _each(lambda guest: guest.wait_ready(), self._guests())
        _each(_network, self._guests())
        self.nas.check(_nas_script(list(self.nodes)), 180)
        names = list(self.nodes)
        self.on_nodes(_node_script, names)
        first = self.nodes[names[0]]
        self.wwids = tuple(self._wwid(first, lun) for lun in range(LUNS))
        first.check(f"pvcreate -qq -ff -y /dev/mapper/{self.wwids[0]} && vgcreate -qq vg-san /dev/mapper/{self.wwids[0]}")
        first.check("lvcreate -qq -y -n vm-100-disk-0 -L 64M vg-san")
        text = STORAGE_CFG.replace("@LUN@", f"scsi-{self.wwids[0]}")
        for name, guest in self.nodes.items():
            write(guest, f"{PVE}/storage.cfg", text)
            if guest is not first:
                guest.check("pvscan -qq --cache -aay; vgs vg-san")
            guest.spawn(_LOAD.format(node=name, lun=f"/dev/mapper/{self.wwids[0]}"), "load")

    def on_nodes(self, script: Callable[[str], str], names: list[str] | None = None, seconds: float = 180) -> None:
        """Run a script on several nodes at once, all of them unless told."""
        _each(lambda name: self.nodes[name].check(script(name), seconds), names or list(self.nodes))

    def healthy(self, seconds: float = 120) -> None:
        """Wait until every node has everything again.

        :raises LabError: when one has not by then; the text says which and what.
        """
        end = time.monotonic() + seconds
        for name, guest in self.nodes.items():
            while said := guest.run(_HEALTHY.format(lun0=self.wwids[0], lun1=self.wwids[1], name=NAME), 60).out.strip():
                if time.monotonic() > end:
                    raise LabError(f"{name} is not well after {seconds:g} s: {said}")
                time.sleep(0.5)

    @staticmethod
    def _wwid(node: Guest, lun: int) -> str:
        found = node.check(f"cat /sys/block/sd*/device/../../../session*/target*/*:{lun}/wwid 2>/dev/null | sort -u").split()
        if len(found) != 1 or not found[0].startswith("naa."):
            raise LabError(f"LUN {lun} has the names {found}")
        return f"3{found[0].removeprefix('naa.')}"

    def _guests(self) -> list[Guest]:
        return [self.nas, *self.nodes.values()]


def write(guest: Guest, path: str, text: str) -> None:
    """Write a file in a guest as a reader would never see it in part."""
    guest.check(f"mkdir -p $(dirname {path}); cat > {path}.tmp.1 <<'LAB'\n{text}LAB\nmv {path}.tmp.1 {path}")


def _each(work: Callable[[One], object], many: list[One]) -> None:
    with ThreadPoolExecutor(len(many)) as pool:
        list(pool.map(work, many))


def exports_script(node_names: list[str], denied: str = "", share: str = "") -> str:
    """Return what exports everything to every node, but for one share to one node."""
    lines = []
    for name, number in _EXPORTS:
        clients = [f"{address(node, 1)}({_OPTIONS},fsid={number})" for node in node_names if (node, name) != (denied, share)]
        lines.append(f"/export/{name} {' '.join(clients)}")
    return "printf '%s\\n' " + " ".join(f"'{line}'" for line in lines) + " > /etc/exports; exportfs -ra"


def initiator(node: str) -> str:
    """Return a node's initiator name."""
    return f"iqn.1993-08.org.debian:01:{node}"


def address(node: str, network: int) -> str:
    """Return a machine's address on ``stor1`` or ``stor2``."""
    return f"10.11.{network}.{'1' if node == NAS else '1' + node.removeprefix('pve')}"


def _network(guest: Guest) -> None:
    guest.check(
        "ip link set lo up; ip link set mgmt up; ip addr add 10.0.2.15/24 dev mgmt;"
        + "".join(f"ip link set stor{one} up; ip addr add {address(guest.name, one)}/24 dev stor{one};" for one in (1, 2))
        + f"printf 'nameserver {NAMES}\\noptions timeout:2 attempts:2\\n' > /etc/resolv.conf;"
        "nft add table inet lab; nft add chain inet lab in '{ type filter hook input priority 0; }';"
        "nft add chain inet lab out '{ type filter hook output priority 0; }'"
    )


def _nas_script(nodes: list[str]) -> str:
    tpg = f"/iscsi/{TARGET}/tpg1"
    lines = [f"/iscsi create {TARGET}", f"{tpg}/portals delete 0.0.0.0 3260"]
    lines += [f"{tpg}/portals create {one.replace(':', ' ')}" for one in PORTALS]
    for lun in range(LUNS):
        lines += [
            f"/backstores/fileio create lun{lun} /var/tmp/lun{lun}.img 256M",
            f"{tpg}/luns create /backstores/fileio/lun{lun} lun={lun}",
        ]
    for name in map(initiator, nodes):
        lines += [f"{tpg}/acls create {name}", f"{tpg}/acls/{name} set auth userid=pve password={SECRET}"]
    lines.append(f"{tpg} set attribute authentication=1")
    return f"""exec >/tmp/setup.log 2>&1
set -eux
modprobe -a target_core_mod target_core_file iscsi_target_mod nfsd
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
truncate -s 256M {" ".join(f"/var/tmp/lun{lun}.img" for lun in range(LUNS))}
{targetcli(lines)}
mkdir -p /export/vm /export/iso
mount -t tmpfs -o size=64M,mode=755 export-vm /export/vm
{exports_script(nodes)}
systemctl start nfs-server
{NAME_SERVER}
"""


def targetcli(lines: list[str]) -> str:
    """Return what gives targetcli several commands at once: it takes seconds to start."""
    return "targetcli <<'LAB'\n" + "\n".join([*lines, "exit"]) + "\nLAB\n"


NAME_SERVER: Final = (
    "systemd-run --quiet --collect --unit=names dnsmasq --keep-in-foreground --no-hosts --no-resolv --bind-interfaces --user=root"
    f" --listen-address={NAMES} --no-dhcp-interface=stor2 --address=/{NAME}/{SERVER}"
)


def _node_script(node: str) -> str:
    discover = "".join(f"iscsiadm -m discovery -t st -p {portal}\n" for portal in PORTALS)
    return f"""exec >/tmp/setup.log 2>&1
set -eux
mkdir -p {PVE} /mnt/pve/nas-vm /mnt/pve/nas-iso /var/lib/vz
echo InitiatorName={initiator(node)} > /etc/iscsi/initiatorname.iscsi
cat > /etc/multipath.conf <<'CONF'
defaults {{
	user_friendly_names no
	find_multipaths no
	polling_interval 5
	no_path_retry 12
}}
blacklist {{
	devnode "^vd"
}}
CONF
modprobe -a iscsi_tcp dm-multipath
systemctl start iscsid multipathd
{discover}iscsiadm -m node -o update -n node.session.auth.authmethod -v CHAP
iscsiadm -m node -o update -n node.session.auth.username -v pve
iscsiadm -m node -o update -n node.session.auth.password -v {SECRET}
iscsiadm -m node --login
udevadm settle
for try in $(seq 60); do [ "$(ls /dev/mapper | grep -c ^36)" = {LUNS} ] && break; sleep 0.5; done
[ "$(ls /dev/mapper | grep -c ^36)" = {LUNS} ]
{MOUNTS}
"""


MOUNTS: Final = f"""\
mountpoint -q /mnt/pve/nas-vm || mount -t nfs -o vers=4.2 {SERVER}:/export/vm /mnt/pve/nas-vm
mountpoint -q /mnt/pve/nas-iso || mount -t nfs -o vers=3,nolock {NAME}:/export/iso /mnt/pve/nas-iso"""

_LOAD: Final = """\
( while :; do dd if=/dev/zero of=/mnt/pve/nas-vm/{node} bs=16k count=8 oflag=direct; sleep 0.5; done ) 2>/dev/null &
( while :; do dd if=/dev/zero of=/mnt/pve/nas-iso/{node} bs=4k count=8 oflag=direct; sleep 0.5; done ) 2>/dev/null &
( while :; do dd if={lun} of=/dev/null bs=64k count=2 iflag=direct; sleep 0.5; done ) 2>/dev/null &
wait
"""
# Prints what is wrong, and nothing when all is well. A look at a mount may hang: each has its end.
_HEALTHY: Final = """\
for one in vm iso; do timeout 5 stat --cached=never /mnt/pve/nas-$one >/dev/null 2>&1 || echo "nas-$one is not there"; done
[ "$(cat /sys/class/iscsi_session/session*/state | grep -c LOGGED_IN)" = 2 ] || echo "sessions: $(cat /sys/class/iscsi_session/*/state)"
multipathd show paths raw format '%w %t %T' | awk '$2=="active" && $3=="ready"{{n++}} END{{ if (n!=4) print n+0 " of 4 paths" }}'
for one in {lun0} {lun1}; do
  for disk in $(ls /sys/block/$(basename $(readlink -f /dev/mapper/$one))/slaves); do
    [ "3$(sed s/naa.// /sys/block/$disk/device/wwid)" = $one ] || echo "$disk is not $one"
  done
done
timeout 5 vgs vg-san >/dev/null 2>&1 || echo "no vg-san"
timeout 5 getent ahostsv4 {name} >/dev/null || echo "no {name}"
"""
