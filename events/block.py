"""SCSI devices, the block layer and LVM above them (rows I3, I5, I6)."""

from __future__ import annotations

from typing import ClassVar, Literal

from events.base import BadEvent, Count, InfoEvent, Name, OkEvent, Text


class ScsiDeviceOffline(InfoEvent):
    """A SCSI device is offline and its I/O is rejected; the kernel never logs its return."""

    kind: Literal["scsi.device.offline"] = "scsi.device.offline"
    dead: bool = False
    """True when the device was removed (``dead device``), not only offline."""


class ScsiIoFailed(InfoEvent):
    """A request to a block device failed."""

    kind: Literal["scsi.io.failed"] = "scsi.io.failed"
    device: Name
    error: Text
    operation: Text = ""


class ScsiLunsChanged(InfoEvent):
    """A target reported that its LUN assignments changed; by itself no fault, many arrays say it on every mapping."""

    kind: Literal["scsi.luns.changed"] = "scsi.luns.changed"


class ScsiLunIdentified(InfoEvent):
    """A SCSI device told which logical unit it leads to."""

    kind: Literal["scsi.lun.identified"] = "scsi.lun.identified"
    wwid: Name


class ScsiLunRemapped(BadEvent):
    """A SCSI device now leads to another logical unit than before, under whatever uses it."""

    aspect: ClassVar[str] = "identity"
    kind: Literal["scsi.lun.remapped"] = "scsi.lun.remapped"
    before: Name
    now: Name


class ScsiLunVanished(BadEvent):
    """A logical unit no longer exists on its target."""

    aspect: ClassVar[str] = "presence"
    kind: Literal["scsi.lun.vanished"] = "scsi.lun.vanished"
    device: Text = ""


class ScsiLunPresent(OkEvent):
    """A logical unit exists and is the expected one."""

    aspect: ClassVar[str] = "presence"
    kind: Literal["scsi.lun.present"] = "scsi.lun.present"
    device: Text = ""


class ScsiReservationConflict(BadEvent):
    """Another host holds a reservation on the device."""

    aspect: ClassVar[str] = "reservation"
    kind: Literal["scsi.reservation.conflict"] = "scsi.reservation.conflict"


class ScsiThinThreshold(BadEvent):
    """The array's pool behind a thin logical unit is nearly full."""

    aspect: ClassVar[str] = "capacity"
    kind: Literal["scsi.thin.threshold"] = "scsi.thin.threshold"


class ScsiAccessStateChanged(InfoEvent):
    """An ALUA port group changed its access state (SPC-4 §5.15.2)."""

    kind: Literal["scsi.access_state.changed"] = "scsi.access_state.changed"
    group: Text = ""
    access: Text = ""


class LvmVgMissing(BadEvent):
    """A volume group is absent or incomplete on this node."""

    aspect: ClassVar[str] = "vg"
    kind: Literal["lvm.vg.missing"] = "lvm.vg.missing"
    reason: Text = ""
    missing: Count | None = None


class LvmVgComplete(OkEvent):
    """A volume group is complete on this node."""

    aspect: ClassVar[str] = "vg"
    kind: Literal["lvm.vg.complete"] = "lvm.vg.complete"
    device: Text = ""


class LvmPvDuplicate(BadEvent):
    """One physical volume shows on several devices: multipath misses a path, or a clone is presented."""

    aspect: ClassVar[str] = "duplicate"
    kind: Literal["lvm.pv.duplicate"] = "lvm.pv.duplicate"
    pv: Name
    device: Text = ""


class LvmVgConflict(BadEvent):
    """A volume group's name is used twice, or the group belongs to another host."""

    aspect: ClassVar[str] = "conflict"
    kind: Literal["lvm.vg.conflict"] = "lvm.vg.conflict"
    reason: Text


class ScsiLunConfirmed(OkEvent):
    """A SCSI device leads again to the logical unit that it led to before."""

    aspect: ClassVar[str] = "identity"
    kind: Literal["scsi.lun.confirmed"] = "scsi.lun.confirmed"
