"""Journal records to events: strips a line, finds its sender's table, and keeps storms of equal lines small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.classify import ceph_kernel, iscsi, lvm, multipath, nfs, proxmox, scsi
from agent.classify.inventory import Inventory
from agent.classify.line import Line, Table
from agent.classify.storm import Storm
from agent.classify.sysfs import learn
from agent.classify.units import STOPPED, stopped
from agent.record import RawRecord
from events.agent import AgentJournalLost
from events.base import EXCERPT_LENGTH, Event, Seen, Source
from events.cluster import NodeBooted
from events.entity import Entity, EntityKind

_KERNEL: Final = Table(nfs.KERNEL, iscsi.KERNEL, scsi.KERNEL, multipath.KERNEL, ceph_kernel.KERNEL)
_SENDERS: Final[Mapping[str, Table]] = {
    "iscsid": Table(iscsi.ISCSID),
    "multipathd": Table(multipath.MULTIPATHD),
    "lvm": Table(lvm.LVM),
    "mount": Table(nfs.MOUNT),
    "pvestatd": Table(proxmox.PVESTATD),
    "pmxcfs": Table(proxmox.PMXCFS),
    "corosync": Table(proxmox.COROSYNC),
    "pve-ha-crm": Table(proxmox.HA),
    **dict.fromkeys(("pvescheduler", "pvedaemon", "vzdump"), Table(proxmox.BACKUPS)),
}
"""Table of each user-space sender, by SYSLOG_IDENTIFIER."""

TABLES: Final[Mapping[str, Table]] = {"kernel": _KERNEL, **_SENDERS}
"""All tables, for documentation and tests."""


_LOSSES: Final = {
    "a596d6fe7bfa4994828e72309e95d61e": "journald's rate limit dropped messages",
    "e9bf28e6e834481bb6f48f548ad13606": "the kernel's ring buffer overran before journald read it",
}
"""MESSAGE_ID of journald's own loss markers (systemd sd-messages.h)."""


class JournalClassifier:
    """Turns one node's journal records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None) -> None:
        self._node = node
        state = memory or {}
        self._inventory = Inventory.load(state.get("inventory"))
        self._storm = Storm.load(state.get("storm"))

    def memory(self) -> dict[str, Any]:
        """Return what must be kept with the cursor for the next record to be understood after a restart."""
        return {"inventory": self._inventory.dump(), "storm": self._storm.dump()}

    def repeat(self) -> None:
        """Do nothing: a journal has a history, not a state."""

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for, most often none. Never raises for any text."""
        events = self._boot(record)
        fields = record.fields
        if record.source is Source.ISCSI:
            return events + learn(self._inventory, record)
        if (loss := _LOSSES.get(fields.get("MESSAGE_ID", ""))) is not None:
            return [*events, self._lost(record, loss)]
        if fields.get("MESSAGE_ID") == STOPPED:
            return [*events, *stopped(record, self._node)]
        table = _KERNEL if fields.get("_TRANSPORT") == "kernel" else _SENDERS.get(fields.get("SYSLOG_IDENTIFIER", ""))
        if table is None:
            return events
        # iscsid -f (not Debian's way, but upstream's) repeats its name before each text
        text = fields.get("MESSAGE", "").lstrip(" ").removeprefix("iscsid: ")
        events += table.classify(Line(text, self._node, record, self._inventory))
        return [kept for event in events if (kept := self._storm.admit(event, record.at))] if events else events

    def _lost(self, record: RawRecord, reason: str) -> Event:
        dropped = record.fields.get("N_DROPPED", "")
        return AgentJournalLost(
            subject=Entity(EntityKind.NODE, self._node),
            seen=Seen(source=record.source, cursor=record.cursor, excerpt=record.fields.get("MESSAGE", "")[:EXCERPT_LENGTH]),
            reason=reason,
            count=int(dropped) if dropped.isdigit() and len(dropped) < 19 else None,
        )

    def _boot(self, record: RawRecord) -> list[Event]:
        if record.boot_id == self._inventory.boot_id or not self._inventory.enter_boot(record.boot_id):
            return []
        seen = Seen(source=record.source, cursor=record.cursor)
        return [NodeBooted(subject=Entity(EntityKind.NODE, self._node), seen=seen, boot_id=record.boot_id)]
