"""``ha/groups.cfg``: sets of nodes for HA resources, up to Proxmox VE 8 and until a cluster's upgrade to 9 is complete.

Source: pve-ha-manager ``Groups.pm`` 5.2.0 and 4.0.7. The file is deleted when the groups have become rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pve.ha_formats import comment, priorities, skip_reason
from pve.section_config import Kind, Property, Section, Warned, flag
from pve.section_config import parse as parse_sections

FILE: Final = "ha/groups.cfg"
_KIND: Final = Kind(
    {
        "nodes": Property(priorities, required=True),
        "restricted": Property(flag, is_flag=True),
        "nofailback": Property(flag, is_flag=True),
        "comment": Property(comment),
    },
    frozenset({"type", "group"}),
)


@dataclass(frozen=True, slots=True)
class Group:
    """A group: its nodes with priorities, the highest first. Of a node named twice the manager takes either priority."""

    name: str
    nodes: Mapping[str, int]
    restricted: bool = False
    """No other nodes at all. Without, others are a last resort."""
    nofailback: bool = False
    comment: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Groups:
    """All groups by name, in the file's order. ``digest`` is the SHA-1 of the bytes."""

    groups: Mapping[str, Group]
    broken: Mapping[str, str]
    """Groups without nodes, with the reason: they bind nothing, and yet the cluster is one with groups."""
    digest: str
    warnings: tuple[Warned, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Names of all groups, broken ones too; while there are any, rules are not in use yet."""
        return frozenset({*self.groups, *self.broken})


def parse(data: bytes, filename: str = FILE) -> Groups:
    """Read the file's bytes, none for a file that is not there. Any bytes give a value, as they do for Proxmox VE."""
    found = parse_sections(data, filename, {"group": _KIND}, lambda _, name: (name, skip_reason(name)))
    return Groups({name: _group(section) for name, section in found.sections.items()}, found.broken, found.digest, found.warnings)


def _group(section: Section) -> Group:
    values = section.values
    head = section.id, values["nodes"], values.get("restricted", False), values.get("nofailback", False)
    return Group(*head, values.get("comment", ""), section.line)
