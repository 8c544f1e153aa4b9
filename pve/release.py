"""Which major release of Proxmox VE a file is read as: parsers differ in types, properties and messages."""

from __future__ import annotations

from enum import StrEnum


class Release(StrEnum):
    """A major release."""

    PVE8 = "8"
    PVE9 = "9"
