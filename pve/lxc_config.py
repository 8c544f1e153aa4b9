"""``lxc/<VMID>.conf``: which storages a container uses, and how.

Source: parse_pct_config, parse_volume and classify_mountpoint of pve-container ``PVE/LXC/Config.pm``; PVE 8 and 9; for raw
``lxc.mount.entry`` lines, lxc.container.conf(5) and fstab(5). Options that we do not use are not checked, as for VMs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from pve.errors import ValueFormatError
from pve.guest import CT_PENDING, Guest, Role, Use
from pve.guest_file import Dialect, Notes, Sections, Setting, first_valid, guest, path_use, read, volume_use
from pve.volume import BLANKS, boolean, properties

DIALECT: Final = Dialect(
    pending=CT_PENDING,
    pending_header=re.compile(rf"\[pve:pending\][{BLANKS}]*", re.IGNORECASE | re.ASCII),
    special=None,
    skip_unknown=False,
    key=re.compile(r"[a-z][a-z_]*[0-9]*"),
    raw=re.compile(rf"(lxc\.[a-z0-9_.-]+)(?::|[{BLANKS}]*=)"),
    last_wins=True,
)
_MOUNT_ENTRY: Final = "lxc.mount.entry"
_ILLEGAL: Final = re.compile(r"/\.\.?(?:/|$)|^\.\./")
_OCTAL: Final = re.compile(r"\\([0-3][0-7]{2})")

Parser = Callable[[str, str, str], Use]
"""Takes a value, its key and its section, gives the use; raises ValueFormatError when Proxmox VE would refuse the value."""


def parse(data: bytes, vmid: int) -> Guest:
    """Read a container's configuration. Never raises: what Proxmox VE would ignore is ignored and becomes a warning."""
    notes = Notes()
    sections = read(data, DIALECT, notes)
    return guest(data, vmid, "lxc", "hostname", sections, DIALECT, tuple(_uses(sections, notes)), notes)


def _uses(sections: Sections, notes: Notes) -> Iterator[Use]:
    for section, keys in sections.items():
        for key, settings in keys.items():
            if parser := PARSERS.get(key):
                yield from _use(parser, key, section, settings, notes)
            elif key == _MOUNT_ENTRY:
                yield from (use for setting in settings for use in _mount_entry(setting.value, section))
            elif _OUT_OF_RANGE.fullmatch(key):
                notes.add(settings[-1].line, "{}: no such mount point, its number is too high; Proxmox VE ignores it", key)


def _use(parser: Parser, key: str, section: str, settings: list[Setting], notes: Notes) -> tuple[Use, ...]:
    use = first_valid(settings, lambda value: parser(value, key, section), DIALECT, key, notes)
    return () if use is None else (use,)


def _mountpoint(value: str, key: str, section: str) -> Use:
    options = properties(value, "volume")
    if key != "rootfs" and "mp" not in options:
        raise ValueFormatError("the path inside the container is missing; write mp=/path")
    if (shared := boolean(options.get("shared", "0"))) is None:
        raise ValueFormatError("wrong value of 'shared'")
    volume = options.get("volume", "")
    if _ILLEGAL.search(volume):
        raise ValueFormatError(f"'{volume[:64]}' has a part '.' or '..'")
    if volume.startswith("/"):
        return path_use(volume, key, section, _kind_of(volume), shared=shared)
    return volume_use(volume, key, section, Role.ROOTFS if key == "rootfs" else Role.MOUNTPOINT, shared=shared)


def _kind_of(path: str) -> Role:
    return Role.DEVICE if path.startswith("/dev/") else Role.BIND


def _unused(value: str, key: str, section: str) -> Use:
    return volume_use(properties(value, "volume").get("volume", ""), key, section, Role.UNUSED)


def _device(value: str, key: str, section: str) -> Use:
    path = properties(value, "path").get("path", "")
    if not path.startswith("/dev/") or _ILLEGAL.search(path):
        raise ValueFormatError(f"'{path[:64]}' is no device path")
    return path_use(path, key, section, Role.DEVICE)


def _hookscript(value: str, key: str, section: str) -> Use:
    return volume_use(value, key, section, Role.HOOKSCRIPT)


def _mount_entry(value: str, section: str) -> Iterator[Use]:
    # fstab's form; only a directory or device of the host can hang with a storage, "proc", "tmpfs" and the like cannot.
    source = value.split(None, 1)[0] if value else ""
    if source.startswith("/"):
        path = _OCTAL.sub(lambda match: chr(int(match[1], 8)), source)
        yield path_use(path, _MOUNT_ENTRY, section, _kind_of(path))


PARSERS: Final[dict[str, Parser]] = {
    "rootfs": _mountpoint,
    **{f"mp{i}": _mountpoint for i in range(256)},
    **{f"unused{i}": _unused for i in range(256)},
    **{f"dev{i}": _device for i in range(256)},
    "hookscript": _hookscript,
}
"""Every property that names a storage or a path of the host, and how to read it."""
_OUT_OF_RANGE: Final = re.compile(r"(?:mp|unused|dev)[0-9]+")
