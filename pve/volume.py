"""Volume ids and property strings: the two small grammars inside the values of guest configurations.

Sources: pve-storage ``Storage/Plugin.pm`` (parse_volume_id, parse_volname, parse_name_dir) and the parse_volname of the RBD,
ZFSPool, LVM and LvmThin plug-ins; pve-common ``JSONSchema.pm`` (parse_property_string, parse_boolean). Equal in PVE 8 and 9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from pve.errors import ValueFormatError

BLANKS: Final = " \t\n\r\f\v"
r"""What ``\s`` means to Perl on bytes. ``str.strip()`` would strip more (0x1c-0x1f, 0x85, 0xa0)."""

_STORAGE_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]")
_IMAGE: Final = re.compile(r"(?P<kind>vm|base|subvol|basevol)-(?P<vmid>[0-9]{1,10})-[^\s/]+")
_DIR_IMAGE: Final = re.compile(r"[^\s/]+\.(?P<format>raw|qcow2|vmdk|subvol)")
_OPTION: Final = re.compile(r"[a-z][a-z0-9_-]*")
_CONTENTS: Final = frozenset({"iso", "vztmpl", "backup", "snippets", "import"})
_BOOLEANS: Final = {**dict.fromkeys(("1", "on", "yes", "true"), True), **dict.fromkeys(("0", "off", "no", "false"), False)}


class VolumeId(NamedTuple):
    """``STORAGE:VOLUME`` taken apart: the storage's id, and the volume's name as the storage plug-in reads it."""

    storage: str
    volume: str


class VolumeName(NamedTuple):
    """What a volume's name tells without knowing the storage's type.

    ``content`` is images, iso, vztmpl, backup, snippets, import, or "" when the name follows no rule of ours (iSCSI LUNs, the
    plug-ins of third parties); ``owner`` the VMID that the volume belongs to; ``base`` the volume, on the same storage, that a
    linked clone reads through ("" for all others); ``format`` raw, qcow2, vmdk, subvol or ""; ``template`` marks a base image.
    """

    content: str
    owner: int | None = None
    base: str = ""
    format: str = ""
    template: bool = False


_UNKNOWN: Final = VolumeName("")


def is_storage_id(text: str) -> bool:
    """Tell whether text can be a storage's id: two ASCII characters at least, a letter first, no dot or dash last."""
    return _STORAGE_ID.fullmatch(text) is not None


def split(volid: str) -> VolumeId | None:
    """Split a volume id at its first colon; None when it is none (a path, ``none``, ``cdrom``, a bare name)."""
    storage, colon, volume = volid.partition(":")
    if not colon or not volume or "\n" in volume or not is_storage_id(storage):
        return None
    return VolumeId(storage, volume)


def name_of(volume: str) -> VolumeName:
    """Read a volume's name, by its shape.

    ``100/vm-100-disk-0.qcow2`` and ``100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2`` are directory storages',
    ``vm-100-disk-0`` LVM's, RBD's and ZFS's, ``base-100-disk-0/vm-101-disk-0`` RBD's and ZFS's. A linked clone on LVM-thin is an
    own thin volume: its name has no base. Names of no known shape give ``content`` "".
    """
    parts = volume.split("/", 4)
    if parts[0] in _CONTENTS:
        return VolumeName(parts[0]) if len(parts) > 1 else _UNKNOWN
    match parts:
        case [name]:
            return _block_image(name, "")
        case [owner, name] if _is_vmid(owner):
            return _dir_image(int(owner), name, "")
        case [base, name] if _block_image(base, "").template:
            return _block_image(name, base)
        case [base_owner, base, owner, name] if _is_vmid(base_owner) and _is_vmid(owner) and _DIR_IMAGE.fullmatch(base):
            return _dir_image(int(owner), name, f"{base_owner}/{base}")
    return _UNKNOWN


def base_of(volume: str) -> str:
    """Name the volume that a linked clone reads through, on the same storage; "" when the volume is no linked clone."""
    return name_of(volume).base if "/" in volume else ""


def boolean(text: str) -> bool | None:
    """Read a boolean as JSONSchema.pm does: 1/on/yes/true and 0/off/no/false in any case; None for anything else."""
    return _BOOLEANS.get(text.lower()) if text.isascii() else None


def properties(text: str, default: str = "", aliases: Mapping[str, str] | None = None) -> dict[str, str]:
    """Take a property string apart: ``STORE:vol,size=4G`` -> ``{default: "STORE:vol", "size": "4G"}``.

    Values are kept as written, blanks and all, as PVE does. Unknown keys are kept too: a newer PVE knows more of them, and a disk
    must not vanish for one. An empty part is skipped. Raises ValueFormatError on what PVE refuses: a key that cannot be one, a key
    given twice (or by its alias; PVE 8 takes the alias there), a second value without a key, one where there is no default key,
    ``key=``.
    """
    values: dict[str, str] = {}
    bare = False
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not part.strip(BLANKS):
            continue
        if equals and (not key or not value):
            raise ValueFormatError(f"'{part[:64]}' has no {'value' if key else 'key'}; write key=value")
        if not equals:
            if not default or bare:
                raise ValueFormatError(f"'{part[:64]}' stands without a key; write key=value")
            bare, key, value = True, default, part
            if values.get(key) == "0":  # Perl's idea of "not yet set"
                del values[key]
        if not _OPTION.fullmatch(key):
            raise ValueFormatError(f"'{key[:64]}' is no name of an option")
        key = aliases.get(key, key) if aliases else key
        if key in values:
            raise ValueFormatError(f"'{key[:64]}' is given twice; keep one")
        values[key] = value
    return values


def _is_vmid(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _block_image(name: str, base: str) -> VolumeName:
    if (match := _IMAGE.fullmatch(name)) is None:
        return _UNKNOWN
    kind = match["kind"]
    form = "subvol" if kind in {"subvol", "basevol"} else "qcow2" if name.endswith(".qcow2") else "raw"
    return VolumeName("images", int(match["vmid"]), base, form, kind in {"base", "basevol"})


def _dir_image(owner: int, name: str, base: str) -> VolumeName:
    if (match := _DIR_IMAGE.fullmatch(name)) is None:
        return _UNKNOWN
    return VolumeName("images", owner, base, match["format"], name.startswith("base-"))
