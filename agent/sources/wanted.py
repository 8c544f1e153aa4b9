"""Which journal entries anything in the agent can use: one definition for the journal's own matches and for plain data.

The journal walks an index per ``FIELD=value``, so exact terms keep a busy log of no interest from being read at all.
Everything that a program on the node may choose itself (its identifier, a message id) is paired with a field that only
journald or the kernel sets (``_UID``, ``_PID``, ``_TRANSPORT``): no local user can forge evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from systemd.journal import Reader

Group = Mapping[str, Collection[str]]
"""Field to accepted values. All fields must agree; of a field, any value."""

ROOT_DAEMONS: Final = (
    *("iscsid", "multipathd", "lvm", "mount"),
    *("pvestatd", "pmxcfs", "corosync", "pve-ha-crm", "pvescheduler", "pvedaemon", "vzdump"),
)
"""SYSLOG_IDENTIFIER of what runs as root and has a table in :mod:`agent.classify.journald`; what has none is not read."""
RATE_LIMITED: Final = "a596d6fe7bfa4994828e72309e95d61e"
"""journald dropped entries of a unit over its rate limit (sd-messages.h, SD_MESSAGE_JOURNAL_DROPPED)."""
KERNEL_MISSED: Final = "e9bf28e6e834481bb6f48f548ad13606"
"""The kernel's ring buffer overran before journald read it (sd-messages.h, SD_MESSAGE_JOURNAL_MISSED)."""
UNIT_STOPPED: Final = "9d1aaa27d60140bd96365438aad20286"
"""systemd stopped a unit (sd-messages.h, SD_MESSAGE_UNIT_STOPPED); ``UNIT`` names it."""

WANTED: Final[tuple[Group, ...]] = (
    # User space may write to /dev/kmsg, but never with facility 0: that one is the kernel's own.
    {"_TRANSPORT": ("kernel",), "SYSLOG_FACILITY": ("0",)},
    {"SYSLOG_IDENTIFIER": ROOT_DAEMONS, "_UID": ("0",)},
    {"MESSAGE_ID": (RATE_LIMITED, KERNEL_MISSED), "_TRANSPORT": ("driver",)},
    {"MESSAGE_ID": (UNIT_STOPPED,), "_PID": ("1",)},
)
"""An entry is wanted when any group agrees."""

FIELDS: Final[tuple[str, ...]] = (
    "MESSAGE",
    "SYSLOG_IDENTIFIER",
    "_TRANSPORT",
    "PRIORITY",
    "_SYSTEMD_UNIT",
    "_KERNEL_SUBSYSTEM",
    "_KERNEL_DEVICE",
    "_UDEV_SYSNAME",
    "MESSAGE_ID",
    "N_DROPPED",
    "UNIT",
    "JOB_TYPE",
    "_HOSTNAME",
)
"""Fields that records carry on, when the entry has them."""

_BYTES: Final = tuple({name: frozenset(value.encode() for value in values) for name, values in group.items()} for group in WANTED)


def add_matches(reader: Reader) -> None:
    """Restrict a journal reader to the wanted entries. The reader loses its place and must be positioned anew."""
    for number, group in enumerate(WANTED):
        if number:
            reader.add_disjunction()
        for name, values in group.items():
            for value in values:
                reader.add_match(f"{name}={value}")


def is_wanted(entry: Mapping[str, Iterable[bytes]]) -> bool:
    """Judge an entry given as field to its values exactly as :func:`add_matches` makes the journal do."""
    return any(all(not accepted.isdisjoint(entry.get(name, ())) for name, accepted in group.items()) for group in _BYTES)


def text(value: bytes | list[bytes]) -> str:
    """Return a field's value as text: a field given twice counts once (the smaller, for the order in a file is not the sender's)."""
    return (min(value) if isinstance(value, list) else value).decode(errors="replace")
