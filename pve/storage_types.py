"""Types of storages, their properties and what they can hold, for each release.

Source: ``options``, ``plugindata`` and ``properties`` of pve-storage's ``PVE/Storage/*Plugin.pm`` 9.1.7 and 8.3.8. Types of other
vendors need their Perl module on each node; without it Proxmox VE skips their sections, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pve import storage_formats as formats
from pve.release import Release
from pve.section_config import Property, flag, one_of


@dataclass(frozen=True, slots=True)
class StorageType:
    """What a type takes and can hold."""

    required: frozenset[str]
    optional: frozenset[str]
    content: frozenset[str]
    """What it can hold at all."""
    default: frozenset[str]
    """What it holds when its section says nothing."""
    formats: frozenset[str] = frozenset()
    shared: bool = False
    """Whether Proxmox VE takes it for shared whatever the section says."""
    mounted: bool = False
    """Whether its path is /mnt/pve/<id> when the section names none."""
    checks_path: bool = False
    """Whether its path is a local directory with the stricter rule for names."""


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


_COMMON: Final = "nodes disable content"
_FILES: Final = f"{_COMMON} format prune-backups max-protected-backups mkdir create-base-path create-subdirs"
_ALL: Final = _words("images rootdir vztmpl iso backup snippets import")
_IMAGES, _BOTH = _words("images"), _words("images rootdir")
_IMAGE_FILES: Final = _words("raw qcow2 vmdk")

_NINE: Final[dict[str, StorageType]] = {
    "dir": StorageType(
        _words("path"),
        _words(_FILES, "shared is_mountpoint bwlimit preallocation content-dirs snapshot-as-volume-chain"),
        _ALL | {"none"},
        _BOTH,
        _IMAGE_FILES | {"subvol"},
        checks_path=True,
    ),
    "btrfs": StorageType(
        _words("path"),
        _words(_FILES, "shared is_mountpoint nocow preallocation"),
        _ALL | {"none"},
        _BOTH,
        _words("raw subvol"),
        checks_path=True,
    ),
    "nfs": StorageType(
        _words("path server export"),
        _words(_FILES, "options content-dirs preallocation bwlimit snapshot-as-volume-chain"),
        _ALL,
        _IMAGES,
        _IMAGE_FILES,
        shared=True,
        mounted=True,
    ),
    "cifs": StorageType(
        _words("path server share"),
        _words(_FILES, "username password domain smbversion subdir options content-dirs preallocation bwlimit snapshot-as-volume-chain"),
        _ALL,
        _IMAGES,
        _IMAGE_FILES,
        shared=True,
        mounted=True,
    ),
    "cephfs": StorageType(
        _words("path"),
        _words(_FILES, "monhost username keyring fs-name subdir fuse options content-dirs bwlimit"),
        _words("vztmpl iso backup snippets import"),
        _words("backup"),
        shared=True,
        mounted=True,
    ),
    "rbd": StorageType(
        frozenset(), _words(_COMMON, "monhost pool data-pool namespace username keyring krbd bwlimit"), _BOTH, _IMAGES, shared=True
    ),
    "iscsi": StorageType(_words("portal target"), _words(_COMMON, "bwlimit"), _words("images none"), _IMAGES, shared=True),
    "iscsidirect": StorageType(_words("portal target"), _words(_COMMON, "bwlimit"), _words("images none"), _IMAGES, shared=True),
    "lvm": StorageType(
        _words("vgname"),
        _words(_COMMON, "shared base saferemove saferemove_throughput tagged_only bwlimit saferemove-stepsize snapshot-as-volume-chain"),
        _BOTH,
        _IMAGES,
        _words("raw qcow2"),
    ),
    "lvmthin": StorageType(_words("vgname thinpool"), _words(_COMMON, "bwlimit"), _BOTH, _BOTH),
    "zfspool": StorageType(_words("pool"), _words(_COMMON, "blocksize sparse mountpoint bwlimit"), _BOTH, _BOTH, _words("raw subvol")),
    "zfs": StorageType(
        _words("portal target pool blocksize iscsiprovider"),
        _words(_COMMON, "nowritecache sparse comstar_hg comstar_tg lio_tpg zfs-base-path bwlimit"),
        _IMAGES,
        _IMAGES,
        shared=True,
    ),
    "pbs": StorageType(
        _words("server datastore"),
        _words(_COMMON, "port namespace username password fingerprint encryption-key master-pubkey prune-backups max-protected-backups"),
        _words("backup none"),
        _words("backup"),
        shared=True,
    ),
    "esxi": StorageType(
        _words("server username"),
        _words(_COMMON, "password port shared skip-cert-verification"),
        _words("import"),
        _words("import"),
        _IMAGE_FILES,
    ),
}
_ONLY_NINE: Final = _words("snapshot-as-volume-chain saferemove-stepsize")
_KEEP_FILES: Final = _words("dir btrfs nfs cifs cephfs pbs")
"""Types that take the `maxfiles` of old on 8."""
_GLUSTERFS: Final = StorageType(
    _words("path volume"),
    _words(_FILES, "maxfiles server server2 transport preallocation bwlimit"),
    _ALL - {"rootdir"},
    _IMAGES,
    _IMAGE_FILES,
    shared=True,
    mounted=True,
)


def _eight(name: str, one: StorageType) -> StorageType:
    optional = one.optional - _ONLY_NINE | ({"maxfiles"} if name in _KEEP_FILES else frozenset())
    return StorageType(
        one.required,
        optional,
        one.content,
        one.default,
        frozenset() if name == "lvm" else one.formats,
        one.shared,
        one.mounted,
        one.checks_path,
    )


TYPES: Final[dict[Release, dict[str, StorageType]]] = {
    Release.PVE9: _NINE,
    Release.PVE8: {**{name: _eight(name, one) for name, one in _NINE.items()}, "glusterfs": _GLUSTERFS},
}
"""Type by name for each release."""


def _readers(release: Release) -> dict[str, Property]:
    """Return what reads each property's value, the same whichever type it belongs to."""
    text, path = formats.text, formats.checked(formats.path)
    plain = "authsupported comstar_hg comstar_tg data-pool datastore encryption-key is_mountpoint iscsiprovider keyring lio_tpg"
    plain += " master-pubkey namespace pool saferemove_throughput share target username"
    flags = "create-base-path create-subdirs disable fuse krbd mkdir nocow nowritecache saferemove shared skip-cert-verification sparse"
    flags += " tagged_only"
    found: dict[str, Property] = {name: Property(text) for name in plain.split()}
    found |= {name: Property(flag, is_flag=True) for name in flags.split()}
    found |= {name: Property(path) for name in ("export", "mountpoint", "path", "subdir", "zfs-base-path")}
    found |= {name: Property(formats.longest(256)) for name in ("domain", "password")}
    found |= {name: Property(formats.checked(formats.lvm_name)) for name in ("thinpool", "vgname")}
    found |= {
        "base": Property(formats.checked(formats.volume_id)),
        "blocksize": Property(text if release is Release.PVE8 else formats.checked(formats.block_size)),
        "bwlimit": Property(formats.checked(formats.bandwidth)),
        "content": Property(formats.listed(formats.content, release)),
        "content-dirs": Property(formats.listed(formats.directory_override, release)),
        "fingerprint": Property(formats.checked(formats.fingerprint)),
        "format": Property(one_of("raw", "qcow2", "subvol", "vmdk")),
        "fs-name": Property(formats.checked(formats.config_id)),
        "max-protected-backups": Property(formats.integer(-1)),
        "monhost": Property(formats.listed(formats.portal, release)),
        "nodes": Property(formats.listed(formats.node, release)),
        "options": Property(formats.checked(formats.mount_options)),
        "port": Property(formats.integer(1, 65535)),
        "portal": Property(formats.checked(formats.portal)),
        "preallocation": Property(one_of("off", "metadata", "falloc", "full")),
        "prune-backups": Property(formats.checked(formats.prune)),
        "server": Property(formats.checked(formats.server)),
        "smbversion": Property(one_of("default", "2.0", "2.1", "3", "3.0", "3.11")),
    }
    if release is Release.PVE8:
        return found | {
            "maxfiles": Property(formats.integer(0)),
            "server2": Property(formats.checked(formats.server)),
            "transport": Property(one_of("tcp", "rdma", "unix")),
            "volume": Property(text),
        }
    return found | {
        "saferemove-stepsize": Property(formats.step("1", "2", "4", "8", "16", "32")),
        "snapshot-as-volume-chain": Property(flag, is_flag=True),
    }


PROPERTIES: Final[dict[Release, dict[str, Property]]] = {release: _readers(release) for release in Release}
"""Every property of any type, by name, for each release. `type` and `storage` are known besides, and taken by none."""
