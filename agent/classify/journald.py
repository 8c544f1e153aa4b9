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
from events.base import EXCERPT_LENGTH, Event, Seen, Source, State
from events.cluster import NodeBooted
from events.entity import Entity, EntityKind
from events.iscsi import IscsiSessionClosed

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


_BOOTS: Final = 2
"""Boots whose inventory is kept: this one's, and that of the one before, whose last lines may not have been read yet."""


class JournalClassifier:
    """Turns one node's journal records, in order, into events.

    ``memory`` is what :meth:`memory` returned before, or None at the very first start. ``boot_id`` is this boot's, where it is told
    elsewhere that the node booted: lines of other boots then are of earlier ones, and say nothing of how things are now. Without it the
    first line of each other boot is told as a boot.
    """

    def __init__(self, node: str, memory: dict[str, Any] | None = None, boot_id: str = "") -> None:
        self._node = node
        state = memory or {}
        known = map(Inventory.load, state.get("boots", ()))
        self._boots = {one.boot_id: one for one in known}
        """Inventories by boot, in the order in which the boots were seen first."""
        self._storm = Storm.load(state.get("storm"))
        self._own = boot_id
        if boot_id and boot_id not in self._boots:
            self._enter(boot_id)

    def memory(self) -> dict[str, Any]:
        """Return what must be kept with the cursor for the next record to be understood after a restart."""
        boots = [one.dump() for boot_id, one in self._boots.items() if self._own in ("", boot_id)]
        return {"boots": boots, "storm": self._storm.dump()}

    def repeat(self) -> None:
        """Do nothing: a journal has a history, not a state."""

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for, most often none. Never raises for any text."""
        events = self._boot(record)
        fields, inventory = record.fields, self._boots[record.boot_id]
        if record.source is Source.ISCSI:
            return events + learn(inventory, record)
        if (loss := _LOSSES.get(fields.get("MESSAGE_ID", ""))) is not None:
            return [*events, self._lost(record, loss)]
        if fields.get("MESSAGE_ID") == STOPPED:
            return [*events, *stopped(record, self._node)]
        table = _KERNEL if fields.get("_TRANSPORT") == "kernel" else _SENDERS.get(fields.get("SYSLOG_IDENTIFIER", ""))
        if table is None:
            return events
        # iscsid -f (not Debian's way, but upstream's) repeats its name before each text
        text = fields.get("MESSAGE", "").lstrip(" ").removeprefix("iscsid: ")
        events += table.classify(Line(text, self._node, record, inventory))
        if self._own and record.boot_id != self._own:
            events = [event for event in events if _outlives_a_boot(event)]
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
        if record.boot_id in self._boots or not self._enter(record.boot_id) or self._own:
            return []
        seen = Seen(source=record.source, cursor=record.cursor)
        return [NodeBooted(subject=Entity(EntityKind.NODE, self._node), seen=seen, boot_id=record.boot_id)]

    def _enter(self, boot_id: str) -> bool:
        """Begin the inventory of another boot: session numbers and disk names start anew. Return whether there was one before."""
        known = bool(self._boots)
        if len(self._boots) >= _BOOTS:
            del self._boots[next(other for other in self._boots if other != self._own)]
        self._boots[boot_id] = Inventory(boot_id)
        return known


def _outlives_a_boot(event: Event) -> bool:
    """Tell whether an event of an earlier boot may still be told: what was done is history, but what was found has ended with that boot."""
    return event.state is State.INFO and not isinstance(event, IscsiSessionClosed)
