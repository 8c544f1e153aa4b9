"""Records of :mod:`agent.sources.sysfs` into the inventory, and sessions that are logged in into events.

These events are the proof that "the others still use it".
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.classify.host_block import lun_id
from agent.classify.inventory import Inventory, MapState, SessionPeer
from agent.record import RawRecord
from events.base import Event, Seen
from events.entity import portal
from events.errors import EntityError
from events.iscsi import IscsiSessionEstablished

_EXACT = ("naa.", "eui.")
"""Forms of which the kernel's text alone gives the name that multipath uses."""


def learn(inventory: Inventory, record: RawRecord) -> list[Event]:
    """Take one record in; return the event of a session that is logged in."""
    fields = record.fields
    match fields.get("what"):
        case "session":
            return _session(inventory, record, fields)
        case "disk":
            if inventory.disks.get(fields["address"]) != fields["disk"]:  # not known, or lines of before are out of date
                inventory.attach(fields["address"], fields["disk"])
            if fields["wwid"].startswith(_EXACT):
                inventory.luns.setdefault(fields["address"], lun_id(fields["wwid"]))
        case "map":
            legs = fields["legs"].split()
            state = inventory.maps.setdefault(fields["map"], MapState())
            state.legs, state.most, state.wwid = legs, max(state.most, len(legs)), fields["wwid"]
    return []


def _session(inventory: Inventory, record: RawRecord, fields: Mapping[str, str]) -> list[Event]:
    try:
        subject = portal(fields["address"], fields["port"])
    except EntityError:
        return []
    number = int(fields["session"])
    inventory.join(number, SessionPeer(fields["target"], subject.key))
    if fields["state"] != "LOGGED_IN":
        return []
    seen = Seen(source=record.source, excerpt=f"session{number}: {fields['state']}")
    return [IscsiSessionEstablished(subject=subject, seen=seen, target=fields["target"], session=number)]
