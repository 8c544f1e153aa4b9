"""``ha/rules.cfg``: where HA resources may run, and which of them together or apart (Proxmox VE 9).

Source: pve-ha-manager ``Rules.pm``, ``Rules/NodeAffinity.pm``, ``Rules/ResourceAffinity.pm`` 5.2.0. Which of the rules hold is judged by
:mod:`pve.ha_feasibility`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pve.ha_formats import encoded_comment, priorities, resources, skip_reason
from pve.section_config import Kind, Property, Section, Warned, flag, one_of
from pve.section_config import parse as parse_sections

FILE: Final = "ha/rules.cfg"
POSITIVE: Final = "positive"
NEGATIVE: Final = "negative"
NODE_AFFINITY: Final = "node-affinity"
RESOURCE_AFFINITY: Final = "resource-affinity"


@dataclass(frozen=True, slots=True)
class NodeAffinity:
    """Resources that belong on some nodes, or, when ``affinity`` is ``negative``, that should keep off them."""

    id: str
    resources: frozenset[str]
    nodes: Mapping[str, int]
    """Node to priority; the highest that is online is preferred."""
    strict: bool = False
    """No other nodes at all. Without, others are a last resort."""
    affinity: str = POSITIVE
    """``negative`` from Proxmox VE 9.2; pve-ha-manager up to 5.2.0 does not know it and takes such a rule as positive."""
    disabled: bool = False
    comment: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class ResourceAffinity:
    """Resources that must be on one node (``positive``) or each on another (``negative``)."""

    id: str
    resources: frozenset[str]
    affinity: str
    disabled: bool = False
    comment: str = ""
    line: int = 0


Rule = NodeAffinity | ResourceAffinity

_COMMON: Final = {
    "resources": Property(resources, required=True),
    "disable": Property(flag, is_flag=True),
    "comment": Property(encoded_comment),
}
_AFFINITY: Final = one_of(POSITIVE, NEGATIVE)
_BASE: Final = frozenset({"type", "rule"})
_NODE: Final = Kind(
    {
        **_COMMON,
        "nodes": Property(priorities, required=True),
        "strict": Property(flag, is_flag=True),
        "affinity": Property(_AFFINITY),
    },
    _BASE,
)
_NODE_UP_TO_5_2_0: Final = Kind({name: prop for name, prop in _NODE.properties.items() if name != "affinity"}, _BASE)
_RESOURCE: Final = Kind({**_COMMON, "affinity": Property(_AFFINITY, required=True)}, _BASE)


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules by id, in the file's order. ``digest`` is the SHA-1 of the bytes."""

    rules: Mapping[str, Rule]
    broken: Mapping[str, str]
    """Rules that lack something, with the reason: they bind nothing."""
    digest: str
    warnings: tuple[Warned, ...] = ()


def parse(data: bytes, filename: str = FILE, *, negative_nodes: bool = True) -> Rules:
    """Read the file's bytes, none for a file that is not there. Any bytes give a value, as they do for Proxmox VE.

    Without ``negative_nodes`` the file is read as pve-ha-manager up to 5.2.0 reads it: a node rule's ``affinity`` is warned of and
    ignored. While a cluster's nodes differ there, the manager on the one may obey what it takes for the opposite.
    """
    kinds = {NODE_AFFINITY: _NODE if negative_nodes else _NODE_UP_TO_5_2_0, RESOURCE_AFFINITY: _RESOURCE}
    found = parse_sections(data, filename, kinds, lambda _, name: (name, skip_reason(name)))
    return Rules({name: _rule(section) for name, section in found.sections.items()}, found.broken, found.digest, found.warnings)


def _rule(section: Section) -> Rule:
    values = section.values
    # The manager looks whether "disable" is there, so a rule with "disable 0" is switched off too.
    tail = "disable" in values, values.get("comment", ""), section.line
    if section.type == RESOURCE_AFFINITY:
        return ResourceAffinity(section.id, values["resources"], values["affinity"], *tail)
    head = section.id, values["resources"], values["nodes"], values.get("strict", False)
    return NodeAffinity(*head, values.get("affinity", POSITIVE), *tail)
