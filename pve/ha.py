"""High availability of one cluster as a whole: what is managed, where it may run, and what the managers say.

Proxmox VE 8 binds resources to nodes by groups, 9 by rules. A cluster that is being upgraded keeps its groups until every node is on 9 and
online, so which of them holds is seen in the files, never in a version: when ``groups.cfg`` names no group, rules hold (pve-ha-manager
``Manager.pm``, "have groups been migrated"). While there are groups, the manager of 9 makes a rule of each in memory, and so does this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pve.ha_feasibility import Compiled, Dropped, compiled
from pve.ha_groups import Groups
from pve.ha_resources import Resource, Resources
from pve.ha_rules import NEGATIVE, NodeAffinity, Rule, Rules
from pve.ha_status import LrmStatus, ManagerStatus

Model = Literal["groups", "rules"]
_LAST_RESORT = -1
"""Priority of the nodes that a rule that is not strict does not name."""


@dataclass(frozen=True, slots=True)
class Ha:
    """Made by :func:`unite`. ``nodes`` are all nodes of the cluster, online or not; ``lrms`` those whose status could be read."""

    resources: Resources
    groups: Groups
    rules: Rules
    nodes: frozenset[str]
    manager: ManagerStatus = field(default_factory=ManagerStatus)
    lrms: Mapping[str, LrmStatus] = field(default_factory=dict)
    bindings: Compiled = field(default_factory=Compiled)
    """What the rules that hold mean for each resource, those made of groups included."""

    @property
    def model(self) -> Model:
        """What binds resources to nodes in this cluster now."""
        return "groups" if self.groups.names else "rules"

    @property
    def dropped(self) -> tuple[Dropped, ...]:
        """The rules that do not hold, with the manager's reasons."""
        return self.bindings.dropped

    def resource(self, sid: str) -> Resource | None:
        """Return the managed resource ``sid`` (``vm:100``), None for one that HA does not know."""
        return self.resources.resources.get(sid)

    def allowed_nodes(self, sid: str) -> frozenset[str]:
        """Return the cluster's nodes on which the resource may be, by its one rule or group; with none, all of them."""
        return frozenset(self._priorities(sid))

    def preferred(self, sid: str, online: Collection[str] | None = None) -> frozenset[str]:
        """Return the nodes of the highest priority that has one among ``online`` (None: all); empty when none is allowed."""
        priorities = {node: rank for node, rank in self._priorities(sid).items() if online is None or node in online}
        highest = max(priorities.values(), default=0)
        return frozenset(node for node, rank in priorities.items() if rank == highest)

    def together(self, sid: str) -> frozenset[str]:
        """Return the other resources that must be on the same node."""
        return self.bindings.together.get(sid, frozenset()) - {sid}

    def apart(self, sid: str) -> frozenset[str]:
        """Return the resources that must be on other nodes."""
        return self.bindings.apart.get(sid, frozenset())

    def failback(self, sid: str) -> bool:
        """Return whether the manager moves the resource to a node of higher priority as soon as that comes online."""
        resource = self.resource(sid)
        group = self.groups.groups.get(resource.group) if resource and self.model == "groups" else None
        if group is not None:
            return not group.nofailback
        return resource is None or resource.failback

    def _priorities(self, sid: str) -> dict[str, int]:
        rule = self.bindings.node_rules.get(sid)
        if rule is None:
            return dict.fromkeys(self.nodes, 0)
        named = {node: rank for node, rank in rule.nodes.items() if node in self.nodes}
        if rule.affinity == NEGATIVE:
            named = dict.fromkeys(self.nodes - named.keys(), 0)
        return named if rule.strict else {**dict.fromkeys(self.nodes, _LAST_RESORT), **named}


def unite(
    resources: Resources,
    groups: Groups,
    rules: Rules,
    nodes: Collection[str],
    manager: ManagerStatus | None = None,
    lrms: Mapping[str, LrmStatus] | None = None,
) -> Ha:
    """Bring the files together. ``nodes`` are all nodes of the cluster (of :mod:`pve.members`): rules are judged by how many there are."""
    merged: dict[str, Rule] = {rule.id: rule for rule in rules.rules.values()}
    merged.update({rule.id: rule for rule in _group_rules(resources, groups)})
    bindings = compiled(merged.values(), nodes)
    return Ha(resources, groups, rules, frozenset(nodes), manager or ManagerStatus(), lrms or {}, bindings)


def _group_rules(resources: Resources, groups: Groups) -> Iterator[NodeAffinity]:
    """Make of each group that has resources the rule that migration makes of it; a group that is not there binds nothing."""
    members: dict[str, set[str]] = {}
    for resource in resources.resources.values():
        if resource.group in groups.groups:
            members.setdefault(resource.group, set()).add(resource.sid)
    for name, sids in members.items():
        group = groups.groups[name]
        yield NodeAffinity(f"ha-group-{name}", frozenset(sids), group.nodes, group.restricted, comment=group.comment, line=group.line)
