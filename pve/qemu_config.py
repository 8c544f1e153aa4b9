"""``qemu-server/<VMID>.conf``: which storages a VM uses, and how.

Source: parse_vm_config and check_type of qemu-server ``PVE/QemuServer.pm``, the tables of ``QemuServer/Drive.pm``; PVE 8 and 9.
Read more mildly than there in one point: options that we do not use are not checked, so that a drive with an option of a newer
Proxmox VE does not vanish.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from pve.errors import ValueFormatError
from pve.guest import FLEECING, PENDING, Guest, Role, Use
from pve.guest_file import Dialect, Notes, Sections, Setting, first_valid, guest, path_use, read, readable, volume_use
from pve.volume import BLANKS, boolean, is_storage_id, properties

DIALECT: Final = Dialect(
    pending=PENDING,
    pending_header=re.compile(rf"\[PENDING\][{BLANKS}]*", re.IGNORECASE | re.ASCII),
    special=re.compile(rf"\[(?i:special):(cloudinit|fleecing)\][{BLANKS}]*", re.ASCII),
    skip_unknown=True,
    key=re.compile(r"[a-z][a-z_-]*[0-9]*"),
    raw=None,
    last_wins=False,
)
_FORMATS: Final = "raw|qcow|qcow2|qed|vmdk|cloop"
_CLOUDINIT: Final = re.compile(rf"[:/](?:vm-[0-9]+-)?cloudinit(?:\.(?:{_FORMATS}))?$")
_ALIASES: Final = {"volume": "file"}
_MEDIA: Final = frozenset({"", "disk", "cdrom"})
_NO_CDROM: Final = frozenset({"format", "snapshot"})
"""With one of these, or on virtio, parse_drive gives up a CD drive after the configuration was read: nobody uses the volume."""
_SNIPPETS: Final = ("user", "network", "meta", "vendor")
_LIST_BREAKS: Final = re.compile(rf"[,;\0{BLANKS}]+")

Parser = Callable[[str, str, str], tuple[Use, ...]]
"""Takes a value, its key and its section, gives the uses; raises ValueFormatError when Proxmox VE would refuse the value."""


def parse(data: bytes, vmid: int) -> Guest:
    """Read a VM's configuration. Never raises: what Proxmox VE would ignore is ignored and becomes a warning."""
    notes = Notes()
    sections = read(data, DIALECT, notes)
    return guest(data, vmid, "qemu", "name", sections, DIALECT, tuple(_uses(sections, notes)), notes)


def _uses(sections: Sections, notes: Notes) -> Iterator[Use]:
    for section, keys in sections.items():
        parsers = _SPECIAL.get(section, PARSERS)
        for key, settings in _without_alias(keys).items():
            if parser := parsers.get(key):
                yield from _use(parser, key, section, settings, notes)
            elif _OUT_OF_RANGE.fullmatch(key):
                notes.add(settings[-1].line, "{}: no such drive, its number is too high; Proxmox VE ignores it", key)


def _use(parser: Parser, key: str, section: str, settings: list[Setting], notes: Notes) -> tuple[Use, ...]:
    return first_valid(settings, lambda value: parser(value, key, section), DIALECT, key, notes) or ()


def _without_alias(keys: dict[str, list[Setting]]) -> dict[str, list[Setting]]:
    # "cdrom:" is ide2; of both, the later line counts.
    if "cdrom" not in keys:
        return keys
    merged = {key: settings for key, settings in keys.items() if key != "cdrom"}
    merged["ide2"] = sorted(keys["cdrom"] + keys.get("ide2", []))
    return merged


def _drive(value: str, key: str, section: str) -> tuple[Use, ...]:
    options = properties(_line(value), "file", _ALIASES)
    file, media, shared = options.get("file", ""), options.get("media", ""), boolean(options.get("shared", "0"))
    if media not in _MEDIA or shared is None:
        raise ValueFormatError(f"wrong value of '{'shared' if shared is None else 'media'}'")
    if file in {"none", "cdrom"}:
        return ()
    role = Role.CLOUDINIT if _CLOUDINIT.search(file) else Role.CDROM if media == "cdrom" else Role.DISK
    use = _file(file, key, section, role, shared=shared)
    given_up = media == "cdrom" and (key.startswith("virtio") or options.keys() & _NO_CDROM)
    return () if given_up else (use,)


def _state_disk(role: Role) -> Parser:
    def parser(value: str, key: str, section: str) -> tuple[Use, ...]:
        file = properties(_line(value), "file", _ALIASES).get("file", "")
        return () if file in {"none", "cdrom"} else (_file(file, key, section, role),)

    return parser


def _file(file: str, key: str, section: str, role: Role, *, shared: bool = False) -> Use:
    if file.startswith("/"):
        return path_use(file, key, section, role, shared=shared)
    return volume_use(file, key, section, role, shared=shared)


def _unused(value: str, key: str, section: str) -> tuple[Use, ...]:
    return (volume_use(properties(_line(value), "file", _ALIASES).get("file", ""), key, section, Role.UNUSED),)


def _volume(role: Role) -> Parser:
    return lambda value, key, section: (volume_use(_line(value), key, section, role),)


def _cicustom(value: str, key: str, section: str) -> tuple[Use, ...]:
    snippets = properties(_line(value))
    if wrong := snippets.keys() - set(_SNIPPETS):
        raise ValueFormatError(f"'{min(wrong)[:64]}' is none of {', '.join(_SNIPPETS)}")
    return tuple(volume_use(volid, key, section, Role.CICUSTOM) for volid in snippets.values())


def _fleecing(value: str, key: str, section: str) -> tuple[Use, ...]:
    volids = filter(None, _LIST_BREAKS.split(_line(value)))
    return tuple(volume_use(volid, key, section, Role.FLEECING) for volid in volids)


def _storage(value: str, key: str, section: str) -> tuple[Use, ...]:
    if not is_storage_id(_line(value)):
        raise ValueFormatError(f"'{value[:64]}' is no storage id")
    return (Use(value, "", key, section, Role.VMSTATESTORAGE),)


def _virtiofs(value: str, key: str, section: str) -> tuple[Use, ...]:
    mapping = properties(_line(value), "dirid").get("dirid", "")
    if not mapping:
        raise ValueFormatError("the directory mapping is missing")
    return (Use("", readable(mapping), key, section, Role.VIRTIOFS),)


def _line(value: str) -> str:
    if "\r" in value:
        raise ValueFormatError("a carriage return stands inside the value")
    return value


PARSERS: Final[dict[str, Parser]] = {
    **{f"ide{i}": _drive for i in range(4)},
    **{f"sata{i}": _drive for i in range(6)},
    **{f"scsi{i}": _drive for i in range(31)},
    **{f"virtio{i}": _drive for i in range(16)},
    "efidisk0": _state_disk(Role.EFI),
    "tpmstate0": _state_disk(Role.TPM),
    **{f"unused{i}": _unused for i in range(256)},
    **{f"virtiofs{i}": _virtiofs for i in range(10)},
    "vmstate": _volume(Role.VMSTATE),
    "hookscript": _volume(Role.HOOKSCRIPT),
    "cicustom": _cicustom,
    "vmstatestorage": _storage,
}
"""Every key that names a storage, a path or a directory mapping, and how to read it."""
_SPECIAL: Final[dict[str, dict[str, Parser]]] = {FLEECING: {"fleecing-images": _fleecing}, "special:cloudinit": {}}
"""The cloudinit section repeats the values that the present cloud-init disk was made from: nothing depends on them."""
_OUT_OF_RANGE: Final = re.compile(r"(?:ide|sata|scsi|virtio|efidisk|tpmstate|unused|virtiofs)[0-9]+")
