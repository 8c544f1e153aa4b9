"""A guest's configuration as facts: which storages a VM or container uses, and how.

Sources: qemu-server ``PVE/QemuServer.pm`` and ``QemuServer/Drive.pm``, pve-container ``PVE/LXC/Config.pm``. What a role means when
its storage dies is argued at each :class:`Role`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

PENDING: Final = "PENDING"
"""A VM's section of changes that wait for the next start."""
CT_PENDING: Final = "pve:pending"
"""The same section of a container. A container's ``[PENDING]`` is a snapshot of that name, and its colon is in no snapshot's name."""
FLEECING: Final = "special:fleecing"
"""Section that lists the fleecing images of a backup that runs, or that was cut off."""

Kind = Literal["qemu", "lxc"]


class Need(StrEnum):
    """What a guest loses when the storage of one of its uses dies; the first is the worst."""

    RUNTIME = "runtime"
    """A running guest's input and output freezes, or fails."""
    START = "start"
    """A running guest goes on; it cannot start, resume or migrate."""
    HISTORY = "history"
    """Only snapshots, leftovers, waiting changes or future suspends are hit."""


class Role(StrEnum):
    """What a guest uses a volume or path for."""

    DISK = "disk"
    """A drive of a VM: ide, sata, scsi, virtio. The guest reads and writes it all the time."""
    EFI = "efi"
    """``efidisk0``: QEMU holds it open as flash memory; a write of a UEFI variable that hangs stops the whole VM."""
    TPM = "tpm"
    """``tpmstate0``: swtpm loads it at the start; later only TPM commands wait for it, never the disks."""
    CDROM = "cdrom"
    """An ISO image or a host's drive in a VM's CD tray. Its data is rarely read later, but each start and migration opens it."""
    CLOUDINIT = "cloudinit"
    """The generated cloud-init disk; rewritten and opened at each start."""
    VIRTIOFS = "virtiofs"
    """A directory of the host shared with a VM. ``volume`` is the id in mapping/directory.cfg, which knows the path per node."""
    ROOTFS = "rootfs"
    """A container's root file system."""
    MOUNTPOINT = "mountpoint"
    """A volume mounted into a container (``mp0`` to ``mp255``)."""
    BIND = "bind"
    """A directory of the host mounted into a container. Its ``path`` can lie on a storage's mount point."""
    DEVICE = "device"
    """A block device of the host given to a container as a mount point, or any device passed through (``dev0``)."""
    VMSTATE = "vmstate"
    """Saved memory: of a snapshot, or (current section) of a hibernated VM, which needs it to resume."""
    HOOKSCRIPT = "hookscript"
    """A snippet that runs around each start and stop; only the start fails without it (``GuestHelpers.pm`` exec_hookscript)."""
    CICUSTOM = "cicustom"
    """A snippet that the cloud-init disk is generated from, at each start."""
    VMSTATESTORAGE = "vmstatestorage"
    """The storage for future saved memory: suspends to disk and snapshots with memory fail. ``volume`` is ""."""
    UNUSED = "unused"
    """A volume of the guest that no drive refers to."""
    FLEECING = "fleecing"
    """A backup's scratch image, in use or left over. Guest writes wait for it 45 s at most, then QEMU breaks the backup, not the
    guest (pve-qemu ``pve-backup.c``: on-cbw-error, cbw-timeout)."""


NEEDS: Final[dict[Role, Need]] = {
    Role.DISK: Need.RUNTIME,
    Role.EFI: Need.RUNTIME,
    Role.TPM: Need.START,
    Role.CDROM: Need.START,
    Role.CLOUDINIT: Need.START,
    Role.VIRTIOFS: Need.RUNTIME,
    Role.ROOTFS: Need.RUNTIME,
    Role.MOUNTPOINT: Need.RUNTIME,
    Role.BIND: Need.RUNTIME,
    Role.DEVICE: Need.RUNTIME,
    Role.VMSTATE: Need.START,
    Role.HOOKSCRIPT: Need.START,
    Role.CICUSTOM: Need.START,
    Role.VMSTATESTORAGE: Need.HISTORY,
    Role.UNUSED: Need.HISTORY,
    Role.FLEECING: Need.HISTORY,
}
"""What each role means in the current section; in any other section it is HISTORY."""


@dataclass(frozen=True, slots=True)
class Use:
    """One reference of a guest to a volume, a path or a storage.

    ``storage`` is "" where no storage is named (then ``path`` is set, or ``volume`` names a directory mapping); ``volume`` the
    name behind the colon; ``key`` the property (``scsi0``); ``section`` "" for the current configuration, PENDING or CT_PENDING,
    FLEECING, or a snapshot's name; ``base`` the base volume of a linked clone, on the same storage; ``shared`` the drive's own ``shared=1``
    ("this path exists on all nodes").
    """

    storage: str
    volume: str
    key: str
    section: str
    role: Role
    base: str = ""
    shared: bool = False
    path: str = ""

    @property
    def need(self) -> Need:
        """What the guest loses when this storage or path dies."""
        return Need.HISTORY if self.section else NEEDS[self.role]


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM or container.

    ``name`` is "" when missing or no DNS name; ``lock`` the operation that holds the guest (``backup``, ``migrate``), "" for
    none; ``digest`` the SHA-1 of the bytes in hex, as Proxmox VE's API gives it; ``uses`` in the file's order of first
    appearance; ``warnings`` sentences with line numbers, at most WARNINGS_MAX and one that counts the rest.
    """

    vmid: int
    kind: Kind
    name: str
    template: bool
    onboot: bool
    tags: tuple[str, ...]
    lock: str
    digest: str
    uses: tuple[Use, ...]
    warnings: tuple[str, ...] = ()


WARNINGS_MAX: Final = 20
"""A file can be 1 MiB of wrong lines; nobody reads more than these."""
