"""``ha/resources.cfg``: the guests that the HA manager looks after.

Source: pve-ha-manager ``Resources.pm``, ``Resources/PVEVM.pm``, ``Resources/PVECT.pm``, 5.2.0 and 4.0.7; ``auto-rebalance`` is known from
the web interface of pve-manager 9.1.13 and later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pve.ha_formats import comment, config_id, count
from pve.section_config import Kind, Property, Section, Warned, flag, one_of
from pve.section_config import parse as parse_sections

FILE: Final = "ha/resources.cfg"
STARTED: Final = "started"
IGNORED: Final = "ignored"
_STATES: Final = (STARTED, "stopped", "enabled", "disabled", IGNORED)
_KIND: Final = Kind(
    {
        "state": Property(one_of(*_STATES)),
        "group": Property(config_id),
        "failback": Property(flag, is_flag=True),
        "auto-rebalance": Property(flag, is_flag=True),
        "max_restart": Property(count),
        "max_relocate": Property(count),
        "comment": Property(comment),
    },
    frozenset({"type", "sid"}),
)


@dataclass(frozen=True, slots=True)
class Resource:
    """A managed guest, with the defaults of Proxmox VE for what is not set."""

    sid: str
    """As ``vm:100``."""
    kind: str
    """``vm`` or ``ct``."""
    vmid: int
    state: str = STARTED
    """What is asked for: ``started``, ``stopped``, ``disabled`` or ``ignored``; ``enabled`` is read as ``started``."""
    group: str = ""
    failback: bool = True
    max_restart: int = 1
    """Tries to start it again on its node after a failed start."""
    max_relocate: int = 1
    """Tries to start it on other nodes after that; they are chosen without a look at storages."""
    auto_rebalance: bool = True
    comment: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """All managed guests by id, in the file's order. ``digest`` is the SHA-1 of the bytes."""

    resources: Mapping[str, Resource]
    digest: str
    warnings: tuple[Warned, ...] = ()


def parse(data: bytes, filename: str = FILE) -> Resources:
    """Read the file's bytes, none for a file that is not there. Any bytes give a value, as they do for Proxmox VE."""
    found = parse_sections(data, filename, {"vm": _KIND, "ct": _KIND}, _header)
    return Resources({sid: _resource(section) for sid, section in found.sections.items()}, found.digest, found.warnings)


def _header(kind: str, name: str) -> tuple[str, str]:
    if kind not in ("vm", "ct"):
        return f"{kind}:{name}", f"no such resource type '{kind}'"
    return f"{kind}:{name}", "" if re.fullmatch("[1-9][0-9]+", name, re.ASCII) else "invalid VMID"


def _resource(section: Section) -> Resource:
    values = section.values
    state = values.get("state", STARTED)
    return Resource(
        section.id,
        section.type,
        int(section.id.partition(":")[2][:20]),
        STARTED if state == "enabled" else state,
        values.get("group", ""),
        values.get("failback", True),
        values.get("max_restart", 1),
        values.get("max_relocate", 1),
        values.get("auto-rebalance", True),
        values.get("comment", ""),
        section.line,
    )
