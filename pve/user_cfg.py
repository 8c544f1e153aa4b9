"""``user.cfg``: the guests of resource pools. Users, groups, tokens and permissions are nobody's business here and are passed over.

Source: pve-access-control ``PVE/AccessControl.pm`` (``parse_user_config``): a line ``pool:NAME:COMMENT:GUESTS:STORAGES:``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SEPARATORS: Final = re.compile(r"[,; \t]+")
_POOL: Final = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,2}", re.ASCII)
_VMID: Final = re.compile(r"[1-9][0-9]{2,8}", re.ASCII)


def pools(data: bytes) -> Mapping[str, frozenset[str]]:
    """Return the VMIDs of each pool. A guest is in one pool only: the first that names it. Any bytes give a value."""
    found: dict[str, frozenset[str]] = {}
    taken: set[str] = set()
    for line in data.decode("latin-1").split("\n"):
        kind, _, rest = line.strip().partition(":")
        fields = rest.split(":")
        if kind != "pool" or not _POOL.fullmatch(fields[0].strip()):
            continue
        listed = _SEPARATORS.split(fields[2]) if len(fields) > 2 else []
        vmids = frozenset(vmid for vmid in listed if _VMID.fullmatch(vmid)) - taken
        taken |= vmids
        found[fields[0].strip()] = vmids
    return found
