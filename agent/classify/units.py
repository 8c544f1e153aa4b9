"""systemd's own entries: services that were stopped, by hand or by a package's upgrade. They have fields, so no text is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from agent.record import RawRecord
from events.base import EXCERPT_LENGTH, Event, Seen
from events.cluster import NodeUnitStopped
from events.entity import Entity, EntityKind

STOPPED: Final = "9d1aaa27d60140bd96365438aad20286"
"""MESSAGE_ID of systemd's word that a unit was stopped (sd-messages.h, SD_MESSAGE_UNIT_STOPPED)."""
_CONCERNED: Final = re.compile(
    r"(?:iscsid|open-iscsi|multipathd|nfs-\w+|rpcbind|rpc-\w+|corosync|pve-cluster|pve-ha-[cl]rm|pvestatd|networking"
    r"|ceph-(?:osd|mon|mgr|mds)@[\w.-]+)\.service",
    re.ASCII,
)
"""Services whose restart can be seen in what storages do."""


def stopped(record: RawRecord, node: str) -> Iterator[Event]:
    """Yield the stop of a service, when it is one that storage depends on."""
    fields: Mapping[str, str] = record.fields
    unit = fields.get("UNIT", "")
    if len(unit) > 256 or not _CONCERNED.fullmatch(unit):  # longer ones do not fit into an event
        return
    seen = Seen(source=record.source, cursor=record.cursor, excerpt=fields.get("MESSAGE", "")[:EXCERPT_LENGTH])
    yield NodeUnitStopped(subject=Entity(EntityKind.NODE, node), seen=seen, unit=unit, restarts=fields.get("JOB_TYPE") == "restart")
