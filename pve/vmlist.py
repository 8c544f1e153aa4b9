"""``/etc/pve/.vmlist``: every guest of the cluster, the node that has it, and a counter of its configuration's changes.

Source: pve-cluster ``pmxcfs/status.c`` (cfs_create_vmlist_msg). The counters are pmxcfs's own on each node: compare them only
with earlier ones of the same node and pmxcfs start.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pve.errors import FormatError
from pve.json_object import UINT32, read, whole

FILE: Final = ".vmlist"
_IDS: Final = "ids"


class VmListEntry(NamedTuple):
    """Where a guest's configuration lies. ``kind`` is qemu or lxc, on old clusters also openvz or unknown."""

    node: str
    kind: str
    version: int


def parse(data: bytes, file: str = FILE) -> dict[int, VmListEntry]:
    """Read the body of ``.vmlist`` into VMID -> entry. Without any guest pmxcfs leaves ``ids`` out: then the dict is empty.

    :raises TornError: when the bytes are no JSON; read the file again.
    :raises FormatError: when they are JSON of another shape.
    """
    ids = read(data, file).get(_IDS, {})
    if not isinstance(ids, dict):
        raise FormatError("an object is expected; look what wrote the file", file=file, field=_IDS)
    return {_vmid(key, file): _entry(value, f"{_IDS}/{key[:16]}", file) for key, value in ids.items()}


def _vmid(key: str, file: str) -> int:
    number = whole(key)
    if number is None or not 0 < number < UINT32:
        raise FormatError("a VMID is expected; look what wrote the file", file=file, field=f"{_IDS}/{key[:16]}")
    return number


def _entry(value: object, field: str, file: str) -> VmListEntry:
    if not isinstance(value, dict):
        raise FormatError("an object is expected; look what wrote the file", file=file, field=field)
    node, kind, version = value.get("node"), value.get("type"), whole(value.get("version", 0))
    if not isinstance(node, str) or not node or not isinstance(kind, str) or version is None:
        raise FormatError("node, type and version are expected; look what wrote the file", file=file, field=field)
    return VmListEntry(node, kind, version)
