"""How guests are linked: segments of multicast datagrams on the host's loopback, and each guest's own way to the host.

A segment is a hub: every guest on it sees every frame. Nothing leaves this machine, and no interface of it is touched.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

MANAGEMENT = "mgmt"
HOST = "10.0.2.2"
"""The host's loopback as guests see it over the management link."""


@dataclass(frozen=True, slots=True)
class Nic:
    """One interface of a guest. ``name`` is what it is called in the guest: ``mgmt``, ``stor1``, ``stor2``; only the latter are linked."""

    name: str

    def arguments(self, guest: str) -> list[str]:
        """Return QEMU's arguments for it."""
        device = f"virtio-net-pci,netdev={self.name},mac={self._mac(guest)},romfile="
        return ["-netdev", self._backend(), "-device", device]

    def _backend(self) -> str:
        if self.name == MANAGEMENT:
            return f"user,id={self.name}"
        # Of this run only: a group and a port that follow from the process.
        run = os.getpid()
        group = f"239.{run >> 16 & 0xFF}.{run >> 8 & 0xFF}.{run & 0xFF}"
        return f"socket,id={self.name},mcast={group}:{17000 + int(self.name[-1])},localaddr=127.0.0.1"

    def _mac(self, guest: str) -> str:
        number = 0 if self.name == MANAGEMENT else int(self.name[-1])
        tail = hashlib.sha256(f"{guest} {self.name}".encode()).digest()[:3]
        return ":".join(["52", "54", f"{number:02x}", *(f"{one:02x}" for one in tail)])
