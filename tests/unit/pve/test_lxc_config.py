"""Configurations of containers. That they are read as pve-container reads them, the vectors in test_qemu_config show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.guest import CT_PENDING, Need, Role, Use
from pve.lxc_config import parse


def only(text: str) -> Use:
    (use,) = parse(text.encode(), 205).uses
    return use


def test_a_whole_container() -> None:
    """Host name, flags, tags and every kind of use come out of one orderly file, without warnings."""
    guest = parse(
        b"arch: amd64\nhostname: ns1\nmp0: nas:205/vm-205-disk-1.raw,mp=/srv\nonboot: 1\nrootfs: zfs:subvol-205-disk-0\n"
        b"tags: dns\nunprivileged: 1\nlxc.idmap: u 0 100000 65536\n",
        205,
    )
    assert (guest.vmid, guest.kind, guest.name, guest.template, guest.onboot, guest.tags) == (205, "lxc", "ns1", False, True, ("dns",))
    assert guest.uses == (
        Use("nas", "205/vm-205-disk-1.raw", "mp0", "", Role.MOUNTPOINT),
        Use("zfs", "subvol-205-disk-0", "rootfs", "", Role.ROOTFS),
    )
    assert guest.warnings == ()


@pytest.mark.parametrize(
    ("line", "role", "need", "path"),
    [
        ("rootfs: nas:205/vm-205-disk-0.raw", Role.ROOTFS, Need.RUNTIME, ""),
        ("mp0: nas:205/vm-205-disk-0.raw,mp=/a", Role.MOUNTPOINT, Need.RUNTIME, ""),
        ("mp0: /mnt/pve/nas/share,mp=/a", Role.BIND, Need.RUNTIME, "/mnt/pve/nas/share"),
        ("mp0: /dev/mapper/a,mp=/a", Role.DEVICE, Need.RUNTIME, "/dev/mapper/a"),
        ("dev0: /dev/dri/card0,mode=0660", Role.DEVICE, Need.RUNTIME, "/dev/dri/card0"),
        ("unused0: nas:205/vm-205-disk-0.raw", Role.UNUSED, Need.HISTORY, ""),
        ("hookscript: nas:snippets/a.sh", Role.HOOKSCRIPT, Need.START, ""),
        ("lxc.mount.entry: /mnt/pve/a\\040b srv none bind 0 0", Role.BIND, Need.RUNTIME, "/mnt/pve/a b"),
        ("lxc.mount.entry = /dev/fuse dev/fuse none bind", Role.DEVICE, Need.RUNTIME, "/dev/fuse"),
    ],
)
def test_what_dies_with_the_storage(line: str, role: Role, need: Need, path: str) -> None:
    """Volumes, host directories, devices and raw LXC mounts are told apart; paths are given for the ones without a storage."""
    use = only(line)
    assert (use.role, use.need, use.path, bool(use.storage)) == (role, need, path, not path)


def test_all_raw_mounts_count() -> None:
    """lxc.mount.entry may come often; file systems of the kernel are no use of a path."""
    text = b"lxc.mount.entry: /a x none bind\nlxc.mount.entry: proc proc proc\nlxc.mount.entry: /b y none bind\nlxc.mount.entry:\n"
    assert [use.path for use in parse(text, 205).uses] == ["/a", "/b"]


def test_pending_is_no_snapshot() -> None:
    """[pve:pending] holds waiting changes; [PENDING] is the snapshot of a container that someone called so."""
    uses = parse(b"[pve:pending]\nmp0: nas:a,mp=/a\n[PENDING]\nrootfs: nas:b\n", 205).uses
    assert [(use.section, use.need) for use in uses] == [(CT_PENDING, Need.HISTORY), ("PENDING", Need.HISTORY)]


def test_sharing_and_base_are_kept() -> None:
    """The mount point's own shared=1 and the base of a linked clone come with the use."""
    assert only("mp0: /mnt/x,mp=/a,shared=1").shared
    assert only("rootfs: zfs:basevol-200-disk-0/subvol-205-disk-0").base == "basevol-200-disk-0"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("mp0: nas:a", "line 1: mp0: the path inside the container is missing"),
        ("mp0: /a/../b,mp=/x", "line 1: mp0: '/a/../b' has a part '.' or '..'"),
        ("mp0: disk,mp=/x", "line 1: mp0: 'disk' is no volume id"),
        ("mp256: nas:a,mp=/x", "line 1: mp256: no such mount point"),
        ("rootfs: nas:a\nrootfs: nas:b,shared=x", "line 2: rootfs: wrong value of 'shared'"),
        ("dev0: /etc/passwd", "line 1: dev0: '/etc/passwd' is no device path"),
        ("[x]", "line 1: '[x]' is no 'key: value'"),
        ("hostname: a b", "line 1: hostname: 'a b' is no DNS name"),
    ],
)
def test_what_is_ignored_is_told(text: str, warning: str) -> None:
    """What Proxmox VE would ignore is no use, and a warning names line, key and fault."""
    guest = parse(text.encode(), 205)
    assert guest.uses == ()
    (said,) = guest.warnings
    assert said.startswith(warning)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_guest(data: bytes) -> None:
    """No bytes make the parser fail, and each use has a storage or a path."""
    assert all(use.storage or use.path for use in parse(data, 205).uses)
