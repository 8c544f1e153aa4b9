"""``/etc/pve/.version``: counters that say which file of pmxcfs is to be read again.

Source: pve-cluster ``status.c`` (``cfs_create_version_msg``, ``memdb_change_array``), 9.1.6 and 8.1.3. A counter is an unsigned 32-bit
number of one pmxcfs process on one node. It moves also when the content stays the same, so it says "read again", never "changed".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from pve.json_object import UINT32, Fields, read, whole

FILE: Final = ".version"
CLINFO: Final = "clinfo"
"""Moves with corosync.conf, with members that come and go and with their addresses; not when quorum is lost or regained."""
VMLIST: Final = "vmlist"
"""Moves with any guest's configuration and with a guest's move to another node."""
_KVSTORE: Final = "kvstore"
_START: Final = "starttime"

_BOTH: Final = frozenset(
    {
        "corosync.conf",
        "corosync.conf.new",
        "storage.cfg",
        "user.cfg",
        "domains.cfg",
        "notifications.cfg",
        "priv/notifications.cfg",
        "priv/shadow.cfg",
        "priv/acme/plugins.cfg",
        "priv/tfa.cfg",
        "priv/token.cfg",
        "datacenter.cfg",
        "vzdump.cron",
        "vzdump.conf",
        "jobs.cfg",
        "ha/crm_commands",
        "ha/manager_status",
        "ha/resources.cfg",
        "ha/groups.cfg",
        "ha/fence.cfg",
        "status.cfg",
        "replication.cfg",
        "ceph.conf",
        "sdn/vnets.cfg",
        "sdn/zones.cfg",
        "sdn/controllers.cfg",
        "sdn/subnets.cfg",
        "sdn/ipams.cfg",
        "sdn/mac-cache.json",
        "sdn/pve-ipam-state.json",
        "sdn/dns.cfg",
        "sdn/.running-config",
        "virtual-guest/cpu-models.conf",
        "virtual-guest/profiles.cfg",
        "firewall/cluster.fw",
        "mapping/directory.cfg",
        "mapping/pci.cfg",
        "mapping/usb.cfg",
    }
)
OBSERVED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "8": _BOTH | {"priv/ipam.db", "priv/macs.db", "sdn/fabrics/openfabric.cfg", "sdn/fabrics/ospf.cfg"},
        "9": _BOTH | {"ha/rules.cfg", "priv/wg-keys.cfg", "sdn/fabrics.cfg", "sdn/route-maps.cfg", "sdn/prefix-lists.cfg"},
    }
)
"""Per release (``8``, ``9``) the paths below ``/etc/pve`` that have a counter.

All others have none, as ``nodes/*/lrm_status``: read those by the clock.
"""
_KNOWN: Final = frozenset({CLINFO, VMLIST}).union(*OBSERVED.values())


@dataclass(frozen=True, slots=True)
class VersionFile:
    """The counters at one moment. Those of two processes (another ``starttime``, another node) are not comparable."""

    starttime: int
    """When this pmxcfs process started, seconds since 1970."""
    counters: Mapping[str, int]
    """``clinfo``, ``vmlist`` and each observed path, below 2**32."""
    kvstore: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Per node the counters of what its services broadcast, as ``kv/ceph-osd``."""


def parse(data: bytes, filename: str = FILE) -> VersionFile:
    """Read the file's bytes. Names that are not known are kept when they hold a counter and left out when they do not.

    :raises TornError: when the bytes are no JSON; read again.
    :raises FormatError: when ``starttime`` is missing or a known counter is none.
    """
    fields = Fields(values := read(data, filename), filename)
    for name in _KNOWN.intersection(values):
        if _counter(values[name]) is None:
            raise fields.wrong(name, "a counter below 4294967296")
    kvstore = {node: _counters(value) for node, value in _dict(values.get(_KVSTORE)).items() if isinstance(value, dict)}
    counters = {name: count for name, count in _counters(values).items() if name != _START}
    return VersionFile(fields.integer(_START), counters, kvstore)


def moved(before: VersionFile | None, now: VersionFile) -> frozenset[str]:
    """Return the names to be read again: those whose counter differs; all of them after a restart of pmxcfs or on the first look.

    A name that came or went counts as moved. Wrapping at 2**32 needs no care: any other number is another state.
    """
    if before is None or before.starttime != now.starttime:
        return frozenset(now.counters).union(before.counters if before else ())
    return frozenset(name for name in {*before.counters, *now.counters} if before.counters.get(name) != now.counters.get(name))


def steps(before: int, now: int) -> int:
    """Return how often a counter moved between two looks, over a wrap at 2**32; less than 2**32 moves are assumed."""
    return (now - before) % UINT32


def _counters(values: Mapping[str, Any]) -> dict[str, int]:
    return {name: count for name, value in values.items() if (count := _counter(value)) is not None}


def _counter(value: object) -> int | None:
    count = whole(value)
    return count if count is not None and 0 <= count < UINT32 else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
