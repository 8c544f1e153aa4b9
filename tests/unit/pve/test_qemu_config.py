"""Configurations of virtual machines. Each input states the rule of qemu-server that it shows."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve import lxc_config, qemu_config
from pve.guest import FLEECING, NEEDS, PENDING, WARNINGS_MAX, Guest, Need, Role, Use
from pve.qemu_config import parse

VECTORS = Path(__file__).parents[2] / "samples" / "conformance" / "guest_config_vectors.json"
TYPES = {
    Role.CLOUDINIT: "cloudinit",
    Role.CDROM: "cdrom",
    Role.ROOTFS: "volume",
    Role.MOUNTPOINT: "volume",
    Role.BIND: "bind",
    Role.DEVICE: "device",
}


def vectors() -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in json.loads(VECTORS.read_bytes())["vectors"]]


def spoken(use: Use, kind: str) -> list[object]:
    """Say a use as the vectors do."""
    what = use.path or (f"{use.storage}:{use.volume}" if use.storage else use.volume)
    type_ = "volume" if kind == "lxc" and use.role is Role.UNUSED else TYPES.get(use.role, "")
    return [use.section, use.key, what, int(use.shared), "" if use.key.startswith("lxc.") else type_]


@pytest.mark.parametrize("vector", vectors())
def test_the_answers_of_proxmox_itself(vector: dict[str, Any]) -> None:
    """Section, key, volume and sharing of each use are what Proxmox's own parser and drive reader found in the same bytes."""
    parser = qemu_config.parse if vector["kind"] == "qemu" else lxc_config.parse
    data = vector["data"].encode("latin-1")
    guest = parser(data, vector["vmid"])
    assert sorted(spoken(use, guest.kind) for use in guest.uses) == sorted(vector["uses"])
    expected = vector["guest"]
    assert (guest.template, guest.onboot, guest.digest) == (expected["template"], expected["onboot"], expected["digest"])


def only(text: str, vmid: int = 101) -> Use:
    (use,) = parse(text.encode(), vmid).uses
    return use


def test_a_whole_vm() -> None:
    """Name, flags, tags, lock and digest stand beside the uses; an orderly file has no warnings."""
    guest = parse(
        b"#notes\nlock: backup\nname: web.example\nonboot: 1\nscsi0: san:vm-101-disk-0,size=8G\nnet0: virtio,bridge=vmbr0\n"
        b"tags: prod;web\n",
        101,
    )
    assert guest == Guest(
        vmid=101,
        kind="qemu",
        name="web.example",
        template=False,
        onboot=True,
        tags=("prod", "web"),
        lock="backup",
        digest="ebba75dd51ee3dcea1d83e7d7e8026504edb0a8e",
        uses=(Use("san", "vm-101-disk-0", "scsi0", "", Role.DISK),),
    )


@pytest.mark.parametrize(
    ("line", "role", "need"),
    [
        ("scsi0: nas:101/vm-101-disk-0.raw", Role.DISK, Need.RUNTIME),
        ("efidisk0: nas:101/vm-101-disk-0.raw,size=528K", Role.EFI, Need.RUNTIME),
        ("virtiofs0: share", Role.VIRTIOFS, Need.RUNTIME),
        ("tpmstate0: nas:101/vm-101-disk-0.raw,version=v2.0", Role.TPM, Need.START),
        ("ide2: nas:iso/a.iso,media=cdrom", Role.CDROM, Need.START),
        ("ide2: nas:101/vm-101-cloudinit.qcow2,media=cdrom", Role.CLOUDINIT, Need.START),
        ("vmstate: nas:101/vm-101-state-suspend.raw", Role.VMSTATE, Need.START),
        ("hookscript: nas:snippets/a.pl", Role.HOOKSCRIPT, Need.START),
        ("cicustom: user=nas:snippets/u.yml", Role.CICUSTOM, Need.START),
        ("vmstatestorage: nas", Role.VMSTATESTORAGE, Need.HISTORY),
        ("unused0: nas:101/vm-101-disk-0.raw", Role.UNUSED, Need.HISTORY),
        ("[special:fleecing]\nfleecing-images: nas:vm-101-fleece-0", Role.FLEECING, Need.HISTORY),
    ],
)
def test_what_dies_with_the_storage(line: str, role: Role, need: Need) -> None:
    """Each key has its role, and the role says whether running, starting or only the past is hit."""
    use = only(line)
    assert (use.role, use.need) == (role, need)


def test_every_role_has_a_need() -> None:
    """A new role cannot be forgotten in the table."""
    assert set(NEEDS) == set(Role)


def test_the_past_and_the_future_do_not_run() -> None:
    """A disk that only a snapshot or a pending change names is no use of the running guest."""
    guest = parse(b"[PENDING]\nscsi1: san:vm-101-disk-1\n[snap]\nscsi0: san:vm-101-disk-0\nvmstate: san:vm-101-state-snap\n", 101)
    assert [(use.section, use.key, use.need) for use in guest.uses] == [
        (PENDING, "scsi1", Need.HISTORY),
        ("snap", "scsi0", Need.HISTORY),
        ("snap", "vmstate", Need.HISTORY),
    ]


def test_a_linked_clone_names_its_base() -> None:
    """The base image of a clone comes with the use, for directory storages and for RBD and ZFS."""
    assert only("scsi0: nas:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2").base == "100/base-100-disk-0.qcow2"
    assert only("scsi0: ceph:base-100-disk-0/vm-101-disk-0").base == "base-100-disk-0"
    assert not only("scsi0: ceph:vm-101-disk-0").base


def test_a_path_has_no_storage() -> None:
    """A device or file of the host is given as path, with the drive's own word on sharing."""
    use = only("scsi0: /mnt/pve/nas/images/a.raw,shared=1")
    assert (use.storage, use.volume, use.path, use.shared) == ("", "", "/mnt/pve/nas/images/a.raw", True)


def test_fleecing_images_keep_their_section() -> None:
    """Leftovers of a backup are listed with the section that Proxmox VE keeps them in."""
    uses = parse(b"[special:fleecing]\nfleecing-images: nas:vm-1-fleece-0,san:vm-1-fleece-1\n", 101).uses
    assert [(use.section, use.storage) for use in uses] == [(FLEECING, "nas"), (FLEECING, "san")]


def test_an_option_of_tomorrow_does_not_hide_a_disk() -> None:
    """An option that no present version knows leaves the drive where it is (Proxmox VE of today would drop it)."""
    assert only("scsi0: san:vm-101-disk-0,holographic=1").storage == "san"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("\nscsi0: vm-101-disk-0.raw", "line 2: scsi0: 'vm-101-disk-0.raw' is no volume id"),
        ("scsi31: nas:a", "line 1: scsi31: no such drive"),
        ("scsi0: nas:a,size=", "line 1: scsi0: 'size=' has no value"),
        ("scsi0: nas:a,shared=maybe", "line 1: scsi0: wrong value of 'shared'"),
        ("garbage", "line 1: 'garbage' is no 'key: value'"),
        ("[x]", "line 1: unknown section"),
        ("[snap]\n[snap]", "line 2: section [snap] comes twice"),
        ("cicustom: other=nas:a", "line 1: cicustom: 'other' is none of user, network, meta, vendor"),
        ("virtiofs0: cache=auto", "line 1: virtiofs0: the directory mapping is missing"),
        ("vmstatestorage: x", "line 1: vmstatestorage: 'x' is no storage id"),
        ("onboot: maybe", "line 1: onboot: 'maybe' is no boolean"),
        ("name: -", "line 1: name: '-' is no DNS name"),
        ("lock: UP", "line 1: lock: 'UP' is no lock"),
    ],
)
def test_what_is_ignored_is_told(text: str, warning: str) -> None:
    """What Proxmox VE would ignore is no use, and a warning names line, key and fault."""
    guest = parse(text.encode(), 101)
    assert guest.uses == ()
    (said,) = guest.warnings
    assert said.startswith(warning)


def test_warnings_are_few() -> None:
    """A file of nothing but wrong lines gives a handful of warnings and a count."""
    warnings = parse(b"garbage\n" * 1000, 101).warnings
    assert len(warnings) == WARNINGS_MAX + 1
    assert warnings[-1] == "980 more warnings"


@given(st.binary(max_size=400))
def test_any_bytes_are_a_guest(data: bytes) -> None:
    """No bytes make the parser fail, and each use has a storage, a path or a mapping."""
    guest = parse(data, 101)
    assert all(use.storage or use.path or use.volume for use in guest.uses)


KEYS = st.sampled_from([*qemu_config.PARSERS, "cdrom", "name", "net0"])
VOLUMES = st.from_regex(r"[a-z][a-z0-9]{1,6}:[a-z0-9/.-]{1,20}", fullmatch=True)


@given(st.dictionaries(KEYS.filter(lambda key: key[:-1] in {"scsi", "sata", "ide"}), VOLUMES))
def test_what_is_written_is_found(drives: dict[str, str]) -> None:
    """Each drive that is written, in whatever order, is found once with its storage and volume."""
    text = "".join(f"{key}: {volid},size=1G\n" for key, volid in drives.items())
    found = {use.key: f"{use.storage}:{use.volume}" for use in parse(text.encode(), 101).uses}
    assert found == drives


@pytest.mark.parametrize(
    "data",
    [
        b"\n" * 65536,
        b" " * 65536,
        b"a: " + b" " * 65520 + b"x   ",
        b"scsi0: " + b"a," * 32764,
        b"[" * 65536,
        b"[" + b"a" * 65530,
        b"snapstate:  " * 5461,
        b"a" * 65536,
        b"tags: " + b"; " * 32760,
        b"lxc." + b"a" * 65530,
        b"name: " + b"a-" * 32760,
        b"scsi0: a1:" + b"/" * 65520,
        b"scsi0: x\n" * 7281,
    ],
)
def test_64_kib_of_anything_does_not_hang(data: bytes) -> None:
    """Nothing in the parsers is quadratic: an input of this size would then take minutes."""
    start = time.process_time()
    parse(data, 101)
    lxc_config.parse(data, 101)
    assert time.process_time() - start < 20
