"""Volume ids, volume names and property strings."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.errors import ValueFormatError
from pve.volume import VolumeId, VolumeName, base_of, boolean, is_storage_id, name_of, properties, split


@pytest.mark.parametrize(
    ("volid", "expected"),
    [
        ("nas:100/vm-100-disk-0.qcow2", VolumeId("nas", "100/vm-100-disk-0.qcow2")),
        ("Ceph_1.pool-a:vm-100-disk-0", VolumeId("Ceph_1.pool-a", "vm-100-disk-0")),
        ("esxi:ha-datacenter/ds:1/vm.vmx", VolumeId("esxi", "ha-datacenter/ds:1/vm.vmx")),
        ("nas:", None),
        ("n:vm-100-disk-0", None),
        ("nas.:vm-100-disk-0", None),
        ("1nas:vm-100-disk-0", None),
        ("/dev/disk/by-path/pci-0000:00:1f.2-ata-1", None),
        ("none", None),
        ("\N{KELVIN SIGN}elvin:vm-100-disk-0", None),
        ("nas:a\nb", None),
    ],
)
def test_split_follows_parse_volume_id(volid: str, expected: VolumeId | None) -> None:
    """The storage ends at the first colon and is ASCII of two characters at least; paths and words are no volume ids."""
    assert split(volid) == expected


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ("100/vm-100-disk-0.qcow2", VolumeName("images", 100, "", "qcow2")),
        ("100/base-100-disk-0.raw", VolumeName("images", 100, "", "raw", template=True)),
        ("100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2", VolumeName("images", 101, "100/base-100-disk-0.qcow2", "qcow2")),
        ("100/anything.vmdk", VolumeName("images", 100, "", "vmdk")),
        ("100/subvol-100-disk-0.subvol", VolumeName("images", 100, "", "subvol")),
        ("vm-100-disk-0", VolumeName("images", 100, "", "raw")),
        ("vm-100-disk-0.qcow2", VolumeName("images", 100, "", "qcow2")),
        ("base-100-disk-0", VolumeName("images", 100, "", "raw", template=True)),
        ("base-100-disk-0/vm-101-disk-0", VolumeName("images", 101, "base-100-disk-0", "raw")),
        ("basevol-100-disk-0/subvol-101-disk-0", VolumeName("images", 101, "basevol-100-disk-0", "subvol")),
        ("vm-101-state-before_upgrade", VolumeName("images", 101, "", "raw")),
        ("iso/debian 13.iso", VolumeName("iso")),
        ("snippets/user.yaml", VolumeName("snippets")),
        ("backup/vzdump-qemu-100-2026_01_01-00_00_00.vma.zst", VolumeName("backup")),
        ("0.0.1.scsi-36001405abc", VolumeName("")),
        ("lun1", VolumeName("")),
        ("vm-100-disk-0/vm-101-disk-0", VolumeName("")),
        ("iso", VolumeName("")),
        ("", VolumeName("")),
    ],
)
def test_the_shape_of_a_name_tells_owner_base_and_format(volume: str, expected: VolumeName) -> None:
    """Names of directory, LVM, RBD and ZFS storages are read without knowing the storage's type; others claim nothing."""
    assert name_of(volume) == expected
    assert base_of(volume) == expected.base


def test_a_property_string_gives_its_pairs() -> None:
    """The part without a key belongs to the default key wherever it stands; aliases and empty parts are resolved."""
    assert properties("nas:v,size=4G,,media=cdrom", "file") == {"file": "nas:v", "size": "4G", "media": "cdrom"}
    assert properties("size=4G,nas:v", "file") == {"size": "4G", "file": "nas:v"}
    assert properties("volume=nas:v", "file", {"volume": "file"}) == {"file": "nas:v"}
    assert properties("file=nas:a=b, ", "file") == {"file": "nas:a=b"}


@pytest.mark.parametrize("text", ["a,b", "0,b", "file=a,b", "volume=a,file=b", "a,size=1,size=2", "a,size=", "a,=1", "a, media=cdrom"])
def test_what_every_version_refuses_is_refused(text: str) -> None:
    """A doubled key, a second bare value, a missing key or value, and a key with a blank make the whole value wrong."""
    with pytest.raises(ValueFormatError):
        properties(text, "file", {"volume": "file"})
    with pytest.raises(ValueFormatError, match="without a key"):
        properties("bare")


def test_booleans_are_those_of_the_schema() -> None:
    """1/on/yes/true and 0/off/no/false in any case are booleans, nothing else is."""
    assert [boolean(text) for text in ("1", "On", "YES", "true")] == [True] * 4
    assert [boolean(text) for text in ("0", "off", "No", "FALSE")] == [False] * 4
    assert [boolean(text) for text in ("", "2", "10", "enabled", "1 ")] == [None] * 5


@given(st.text())
def test_any_text_is_split_or_refused(text: str) -> None:
    """No text makes the small grammars fail otherwise than typed; what is split joins to what it was."""
    if parts := split(text):
        assert ":".join(parts) == text
        assert is_storage_id(parts.storage)
    assert name_of(text).base == base_of(text)
    try:
        values = properties(text, "file")
    except ValueFormatError:
        return
    assert all(values.values())


@pytest.mark.parametrize("text", ["/" * 65536, "base-1-" * 9362, "1/" * 32768, "a," * 32768, "=" * 65536, "vm-1-" + "/a" * 32760])
def test_long_names_take_linear_time(text: str) -> None:
    """64 KiB of separators do not hang: what is quadratic takes minutes."""
    start = time.process_time()
    name_of(text)
    split(text)
    with pytest.raises(ValueFormatError):
        properties(text)
    assert time.process_time() - start < 20
