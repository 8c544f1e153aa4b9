"""What can break in the laboratory: each fault is commands in one machine, and commands that make it whole again.

``{…}`` stand for the site's names (:class:`Faults`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.lab.site import MOUNTS, NAME_SERVER, NAS, PORTALS, SECRET, SERVER, TARGET, Site, exports_script, initiator, targetcli

_TPG: Final = f"/iscsi/{TARGET}/tpg1"
_FLUSH: Final = "nft flush chain inet lab in; nft flush chain inet lab out"


@dataclass(frozen=True, slots=True)
class Fault:
    """``begin`` breaks it after ``before``, ``end`` repairs it; each is (machine, shell script), one after the other.

    Times count from ``begin``: ``before`` is what no node can know of yet.
    """

    begin: tuple[tuple[str, str], ...]
    end: tuple[tuple[str, str], ...]
    before: tuple[tuple[str, str], ...] = ()


def _on_nas(begin: str, end: str) -> Fault:
    return Fault(((NAS, begin),), ((NAS, end),))


def service_stopped() -> Fault:
    """Stop the NFS service: its port refuses."""
    return _on_nas("systemctl stop nfs-server", "systemctl start nfs-server")


def server_silent() -> Fault:
    """Let the NFS server's port swallow what it gets, as a machine without power does."""
    return _on_nas("nft add rule inet lab in tcp dport 2049 drop", _FLUSH)


def name_server_stopped() -> Fault:
    """Stop who answers for the NAS's name."""
    return _on_nas("systemctl stop names", NAME_SERVER)


def name_server_silent() -> Fault:
    """Lose questions for the NAS's name."""
    return _on_nas("nft add rule inet lab in udp dport 53 drop; nft add rule inet lab in tcp dport 53 drop", _FLUSH)


def node_cut(node: str) -> Fault:
    """Cut one node's way to the NAS's first address; nothing answers, nothing is refused."""
    cut = f"nft add rule inet lab in ip saddr {SERVER} drop; nft add rule inet lab out ip daddr {SERVER} drop"
    return Fault(((node, cut),), ((node, _FLUSH),))


def export_denied(site: Site, node: str, share: str) -> Fault:
    """Take an export away from one node."""
    names = list(site.nodes)
    return _on_nas(exports_script(names, node, share), exports_script(names))


def export_replaced(site: Site, share: str) -> Fault:
    """Replace an export's directory, as when a NAS mounts another file system there; later it is back."""
    begin = f"mv /export/{share} /export/{share}.was; mkdir /export/{share}; exportfs -f"
    end = f"rm -rf /export/{share}; mv /export/{share}.was /export/{share}; exportfs -f"
    # A root that was stale once stays so for the client's kernel, whatever the server has now: only a new mount ends it.
    again = f"umount -l /mnt/pve/nas-{share}\n{MOUNTS}"
    return Fault(((NAS, begin),), ((NAS, end), *((node, again) for node in site.nodes)))


def filled(nodes: list[str], share: str) -> Fault:
    """Fill an export's file system to the last byte, and see that each node has no space left on it; then make room again."""
    fill = f"dd if=/dev/zero of=/export/{share}/fill bs=1M 2>/dev/null || true; sync"
    # Proof that the fault is there: a node that could still write would make the scenario worth nothing.
    refused = f"dd if=/dev/zero of=/mnt/pve/nas-{share}/no-room bs=1M count=1 oflag=direct 2>&1 | grep -q 'No space left'"
    return Fault(((NAS, fill), *((node, refused) for node in nodes)), ((NAS, f"rm -f /export/{share}/fill /export/{share}/no-room"),))


def slow(milliseconds: int) -> Fault:
    """Delay each answer of the NAS."""
    return _on_nas(f"tc qdisc add dev stor1 root netem delay {milliseconds}ms limit 10000", "tc qdisc del dev stor1 root")


def portal_silent(portal: str) -> Fault:
    """Let one portal swallow what it gets."""
    return _on_nas(f"nft add rule inet lab in ip daddr {portal.partition(':')[0]} tcp dport 3260 drop", _FLUSH)


def target_silent() -> Fault:
    """Let both portals swallow what they get."""
    return _on_nas("nft add rule inet lab in tcp dport 3260 drop", _FLUSH)


def target_refuses() -> Fault:
    """Let both portals refuse; connections that are there are reset."""
    return _on_nas("nft add rule inet lab in tcp dport 3260 reject with tcp reset", _FLUSH)


def secret_rotated(site: Site) -> Fault:
    """Restart the portal group after its CHAP secret was changed, so that each node logs in anew with the old one.

    The change itself hurts nobody who is logged in; it is made before.
    """
    # All sessions end at once: a rule that rejects resets only what happens to send while it stands.
    group = f"/sys/kernel/config/target/iscsi/{TARGET}/tpgt_1/enable"
    begin, end = f"echo 0 > {group}; echo 1 > {group}", _secrets(site, SECRET)
    return Fault(((NAS, begin),), ((NAS, end),), before=((NAS, _secrets(site, "rotatedsecret1")),))


def _secrets(site: Site, secret: str) -> str:
    # configfs directly: targetcli takes seconds to start, and what it would write is this.
    base = f"/sys/kernel/config/target/iscsi/{TARGET}/tpgt_1/acls"
    return "; ".join(f"printf %s {secret} > {base}/{initiator(node)}/auth/password" for node in site.nodes)


def login_refused(node: str) -> Fault:
    """Let one node, logged out of one portal, log in again with a secret that is wrong on its own side."""
    record = f"iscsiadm -m node -T {TARGET} -p {PORTALS[1]}"

    def secret(value: str) -> str:
        return f"{record} -o update -n node.session.auth.password -v {value}"

    return Fault(
        begin=((node, f"{record} --login || true"),),
        end=((node, f"{secret(SECRET)}; {record} --login"),),
        before=((node, f"{secret('wrongsecret12')}; {record} --logout"),),
    )


def luns_swapped(site: Site) -> Fault:
    """Let LUN numbers 0 and 1 lead to each other's disks; nodes look again, as their administrator or udev would."""
    rescan = "for one in /sys/block/sd*/device/rescan; do echo 1 > $one; done"
    again = tuple((node, _LOGIN_AGAIN) for node in site.nodes)
    return Fault(tuple((node, rescan) for node in site.nodes), ((NAS, _map_luns((0, 1))), *again), ((NAS, _map_luns((1, 0))),))


# What an administrator does once the numbers are right again: nothing that was built on the wrong disks is kept.
_LOGIN_AGAIN: Final = """
systemctl stop load; sleep 1; vgchange -qq -an vg-san || true
iscsiadm -m node --logout >/dev/null; multipath -F; sleep 1
iscsiadm -m node --login >/dev/null; udevadm settle
for try in $(seq 40); do [ "$(ls /dev/mapper | grep -c ^36)" = 2 ] && break; sleep 0.5; done
pvscan -qq --cache -aay; systemd-run --quiet --collect --unit=load /bin/sh /run/load.sh
"""


def _map_luns(order: tuple[int, ...]) -> str:
    lines = [f"{_TPG}/luns delete lun{number}" for number in range(len(order))]
    lines += [f"{_TPG}/luns create /backstores/fileio/lun{disk} lun={number}" for number, disk in enumerate(order)]
    return targetcli(lines)


def lun_unmapped(node: str, number: int) -> Fault:
    """Take a LUN away from one node on the array; the node looks again."""
    acl = f"{_TPG}/acls/{initiator(node)}"
    rescan = "iscsiadm -m session --rescan >/dev/null"
    begin = targetcli([f"{acl} delete {number}"])
    end = targetcli([f"{acl} create {number} {number}"])
    return Fault(((node, rescan),), ((NAS, end), (node, rescan)), ((NAS, begin),))


def group_gone(site: Site, node: str) -> Fault:
    """Take a volume group's disk out of one node, as after a reboot on which its LUN was not mapped; the array still has it."""
    wwid = site.wwids[0]
    begin = f"""systemctl stop load; sleep 1; vgchange -qq -an vg-san || true
disks=$(ls /sys/block/$(basename $(readlink -f /dev/mapper/{wwid}))/slaves)
multipath -f {wwid}; for one in $disks; do echo 1 > /sys/block/$one/device/delete; done"""
    end = """iscsiadm -m session --rescan >/dev/null; udevadm settle
for try in $(seq 40); do [ "$(ls /dev/mapper | grep -c ^36)" = 2 ] && break; sleep 0.5; done
pvscan -qq --cache -aay; systemd-run --quiet --collect --unit=load /bin/sh /run/load.sh"""
    return Fault(((node, begin),), ((node, end),))


def wwid_cloned(site: Site) -> Fault:
    """Give LUN 0's identity to another disk of the array, as a cloned or restored volume has it."""
    serial = "$(sed 's/.*: //' /sys/kernel/config/target/core/fileio_*/lun0/wwn/vpd_unit_serial)"
    begin = (
        "truncate -s 128M /var/tmp/clone.img;"
        + targetcli(["/backstores/fileio create clone /var/tmp/clone.img 128M"])
        + f"echo {serial} > $(echo /sys/kernel/config/target/core/fileio_*/clone)/wwn/vpd_unit_serial\n"
        + targetcli([f"{_TPG}/luns create /backstores/fileio/clone lun=7"])
    )
    end = targetcli([f"{_TPG}/luns delete lun7", "/backstores/fileio delete clone"])
    look = "iscsiadm -m session --rescan >/dev/null"
    # A disk whose LUN is gone stays until somebody removes it.
    gone = "for one in /sys/class/scsi_device/*:7/device/delete; do echo 1 > $one; done"
    nodes = list(site.nodes)
    return Fault(tuple((node, look) for node in nodes), ((NAS, end), *((node, gone) for node in nodes)), ((NAS, begin),))


def do(site: Site, steps: tuple[tuple[str, str], ...]) -> None:
    """Do one part of a fault: what is to be done on the NAS in its order, then on all nodes at once."""
    for machine, script in steps:
        if machine == NAS:
            site.nas.check(script, 120)
    if scripts := {machine: script for machine, script in steps if machine != NAS}:
        site.on_nodes(scripts.__getitem__, list(scripts))
