"""SCSI and block layer lines of the kernel.

Texts: drivers/scsi/{scsi_lib,scsi_error,sd}.c, drivers/scsi/device_handler/scsi_dh_alua.c, block/{blk-mq,genhd}.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.line import Line, Rule, nothing, rule
from events.base import Event
from events.block import (
    ScsiAccessStateChanged,
    ScsiDeviceOffline,
    ScsiIoFailed,
    ScsiLunConfirmed,
    ScsiLunIdentified,
    ScsiLunPresent,
    ScsiLunRemapped,
    ScsiLunsChanged,
    ScsiLunVanished,
    ScsiReservationConflict,
    ScsiThinThreshold,
)
from events.entity import Entity, EntityKind


def _attached(line: Line, match: re.Match[str]) -> tuple[()]:
    line.inventory.attach(match["address"], match["disk"])
    return ()


def _device(line: Line, address: str) -> Entity:
    return Entity(EntityKind.SCSI_DEVICE, f"{line.node}/{address}")


def _identified(line: Line, match: re.Match[str]) -> Iterator[Event]:
    """Compare a device's identity with its first: another one means another LUN, whatever multipath says."""
    inventory, address, wwid = line.inventory, match["address"], "3" + match["naa"]
    first = inventory.luns.setdefault(address, wwid)
    if wwid != first:
        inventory.remapped[address] = wwid
        yield ScsiLunRemapped(subject=Entity(EntityKind.LUN, first), seen=line.seen(), before=first, now=wwid)
    elif inventory.remapped.pop(address, None):
        yield ScsiLunConfirmed(subject=Entity(EntityKind.LUN, first), seen=line.seen())
    else:
        yield ScsiLunIdentified(subject=_device(line, address), seen=line.seen(), wwid=wwid)


def _offline(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield ScsiDeviceOffline(subject=_device(line, match["address"]), seen=line.seen(), dead=match["state"] == "dead")


def _luns_changed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield ScsiLunsChanged(subject=_device(line, match["address"]), seen=line.seen())


def _thin(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield ScsiThinThreshold(subject=line.inventory.lun_of_address(line.node, match["address"]), seen=line.seen())


def _reservation(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield ScsiReservationConflict(subject=line.inventory.lun_of_address(line.node, match["address"]), seen=line.seen())


def _access_state(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield ScsiAccessStateChanged(subject=_device(line, match["address"]), seen=line.seen(), group=match["group"], access=match["state"])


def _io_error(line: Line, match: re.Match[str]) -> Iterator[Event]:
    disk = match["disk"]
    if not disk.startswith(("sd", "dm-", "nvme", "rbd")):
        return  # floppy and optical drives are nobody's shared storage
    subject = line.inventory.lun_of_disk(disk) or Entity(EntityKind.NODE, line.node)
    yield ScsiIoFailed(subject=subject, seen=line.seen(), device=disk, error=match["error"], operation=match["operation"])


def _capacity(line: Line, match: re.Match[str]) -> Iterator[Event]:
    subject = line.inventory.lun_of_disk(match["disk"])
    if subject is None:
        return
    if match["now"] == "0":
        yield ScsiLunVanished(subject=subject, seen=line.seen(), device=match["disk"])
    elif match["before"] == "0":
        yield ScsiLunPresent(subject=subject, seen=line.seen(), device=match["disk"])


_SD: Final = r"sd (?P<address>\d+:\d+:\d+:\d+): "

KERNEL: Final[tuple[Rule, ...]] = (
    rule("SCSI-13", "sd ", _SD + r"\[(?P<disk>sd[a-z]+)\] Attached SCSI disk", _attached),
    rule("SCSI-15", "sd ", _SD + r"alua: device naa\.(?P<naa>[0-9a-f]+) port group \S+ rel port \S+", _identified),
    rule("SCSI-15", "sd ", _SD + r"alua: port group (?P<group>\S+) state (?P<state>\S) .*", _access_state),
    rule("SCSI-01/02", "sd ", _SD + r"rejecting I/O to (?P<state>offline|dead) device", _offline),
    rule(
        "SCSI-07",
        "sd ",
        _SD + r"(?:Warning! Received an indication that the )?LUN assignments on this target have changed\..*",
        _luns_changed,
    ),
    rule("SCSI-11", "sd ", _SD + r"Warning! Received an indication that the LUN reached a thin provisioning soft threshold\.", _thin),
    rule("SCSI-12", "sd ", _SD + r"reservation conflict", _reservation),
    rule("SCSI-18", "sd", r"(?P<disk>sd[a-z]+): detected capacity change from (?P<before>\d+) to (?P<now>\d+)", _capacity),
    *(
        rule(
            "SCSI-16",
            prefix,
            r"(?:blk_update_request: )?"
            r"(?P<error>I/O|timeout|critical \w+(?: \w+)?|recoverable transport|device offline|reservation conflict)"
            r" error, dev (?P<disk>\S+), sector \d+ op 0x[0-9a-f]+:\((?P<operation>\w+)\) .*",
            build,
        )
        for prefix, build in (
            ("I/O error", _io_error),
            ("blk_update_request: ", _io_error),
            ("critical ", _io_error),
            ("device offline error", _io_error),
            ("recoverable transport error", _io_error),
            ("reservation conflict error", _io_error),
            ("timeout error", _io_error),
        )
    ),
    rule("SCSI-13", "scsi ", r"scsi .*", nothing),
)
