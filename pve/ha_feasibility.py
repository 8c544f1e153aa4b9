"""Which HA rules hold: Proxmox VE drops those that contradict each other, and says so only in the log.

Source: pve-ha-manager ``Rules.pm`` (``check_feasibility``, ``transform``), ``Rules/*.pm``, ``Rules/Helpers.pm`` 5.2.0. The reasons are the
manager's own words (``Drop rule '%s', because %s.``), so that they can be found in its log. All checks look at the rules as they are in the
file: a rule that is dropped still makes others fall. The manager may log a reason more than once; here it stands once.

Of negative node affinity (Proxmox VE 9.2) no published source was at hand: such a rule is taken to name all other nodes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pve.ha_rules import NEGATIVE, POSITIVE, NodeAffinity, ResourceAffinity, Rule

USED_TWICE: Final = "resource '%s' is already used in another node affinity rule"
TOO_FEW: Final = "rule is ineffective as there are less than two resources"
TOO_MANY: Final = "rule defines more resources than available nodes"
POSITIVE_SHARED: Final = "rule shares two or more resources with a negative resource affinity rule"
NEGATIVE_SHARED: Final = "rule shares two or more resources with a positive resource affinity rule"
RESOURCE_PRIORITIES: Final = "resources are in node affinity rules with multiple priorities"
NODE_PRIORITIES: Final = "resources are in a resource affinity rule and cannot be in a node affinity rule with multiple priorities"
MANY_NODE_RULES: Final = "resources are in multiple node affinity rules"
OTHER_NODE_RULE: Final = (
    "at least one resource is in a positive resource affinity rule and there are other resources in at least one"
    " other node affinity rule already"
)
NEGATIVE_CROWDED: Final = "two or more resources are restricted to less nodes than available to the resources"
NODE_CROWDED: Final = (
    "at least one resource is in a negative resource affinity rule and this rule would restrict these to less nodes"
    " than available to the resources"
)


class Dropped(NamedTuple):
    """A rule that does not hold, and the manager's reasons."""

    rule: str
    reasons: tuple[str, ...]

    def log_lines(self) -> tuple[str, ...]:
        """Return the lines that the manager's log shows for it."""
        return tuple(f"Drop rule '{self.rule}', because {reason}." for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the rules that hold mean for each resource."""

    node_rules: Mapping[str, NodeAffinity] = field(default_factory=dict)
    """The one node affinity rule of a resource, or of one that it must be together with."""
    together: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The resources that must be on the same node, itself among them."""
    apart: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The resources that must be on other nodes."""
    dropped: tuple[Dropped, ...] = ()


class _Group(NamedTuple):
    """Positive rules that share resources, and all their resources."""

    rules: list[str]
    resources: set[str]


class _Enabled:
    """The rules that are switched on, by kind, and who uses a resource."""

    def __init__(self, rules: Iterable[Rule], nodes: Collection[str]) -> None:
        self.nodes = frozenset(nodes)
        enabled = [rule for rule in rules if not rule.disabled]
        self.node_rules = {rule.id: rule for rule in enabled if isinstance(rule, NodeAffinity)}
        self.resource_rules = {rule.id: rule for rule in enabled if isinstance(rule, ResourceAffinity)}
        self.positive = {name: rule for name, rule in self.resource_rules.items() if rule.affinity == POSITIVE}
        self.negative = {name: rule for name, rule in self.resource_rules.items() if rule.affinity == NEGATIVE}
        self.users = _users(self.node_rules)
        """The node affinity rules of each resource."""
        self.separators = _users(self.negative)
        """The negative rules of each resource."""
        self.groups = _groups(self.positive)

    def node_rules_of(self, resources: Iterable[str]) -> list[str]:
        """Return the node affinity rules that use any of the resources, sorted."""
        return sorted({rule for sid in resources for rule in self.users.get(sid, ())})

    def separators_of(self, resources: Iterable[str]) -> list[str]:
        """Return the negative rules that use any of the resources, sorted."""
        return sorted({rule for sid in resources for rule in self.separators.get(sid, ())})

    def open_nodes(self, sid: str) -> frozenset[str]:
        """Return the nodes that the resource's node affinity rules name, strict or not; of negative ones all others."""
        open_to = [self._open(self.node_rules[name]) for name in self.users.get(sid, ())]
        return open_to[0].union(*open_to[1:]) if open_to else frozenset()

    def _open(self, rule: NodeAffinity) -> frozenset[str]:
        return frozenset(rule.nodes) if rule.affinity == POSITIVE else self.nodes - rule.nodes.keys()


def _users(rules: Mapping[str, Rule]) -> dict[str, list[str]]:
    users: dict[str, list[str]] = defaultdict(list)
    for name, rule in rules.items():
        for sid in rule.resources:
            users[sid].append(name)
    return dict(users)


def _groups(rules: Mapping[str, ResourceAffinity]) -> list[_Group]:
    """Unite rules as the manager does: by their lowest resource, each into the first group that it shares one with.

    A rule that would join two groups joins the first only; the manager leaves it at that.
    """
    groups: list[_Group] = []
    first: dict[str, int] = {}
    for name in sorted(rules, key=lambda name: (min(rules[name].resources, default=""), name)):
        resources = rules[name].resources
        place = min((first[sid] for sid in resources if sid in first), default=len(groups))
        if place == len(groups):
            groups.append(_Group([], set()))
        groups[place].rules.append(name)
        groups[place].resources.update(resources)
        for sid in resources:
            first[sid] = min(first.get(sid, place), place)
    return groups


_Found = Iterator[tuple[str, str]]
"""Pairs of a rule and a reason."""


def _single_reference(rules: _Enabled) -> _Found:
    for name, rule in rules.node_rules.items():
        for sid in sorted(rule.resources):
            if len(rules.users[sid]) > 1:
                yield name, USED_TWICE % sid


def _resource_count(rules: _Enabled) -> _Found:
    return ((name, TOO_FEW) for name, rule in rules.resource_rules.items() if len(rule.resources) < 2)


def _negative_count(rules: _Enabled) -> _Found:
    return ((name, TOO_MANY) for name, rule in rules.negative.items() if len(rule.resources) > len(rules.nodes))


def _together_and_apart(rules: _Enabled) -> _Found:
    for group in rules.groups:
        both = [name for name in rules.separators_of(group.resources) if len(group.resources & rules.negative[name].resources) >= 2]
        yield from ((name, NEGATIVE_SHARED) for name in both)
        yield from ((name, POSITIVE_SHARED) for name in group.rules if both)


def _single_priority(rules: _Enabled) -> _Found:
    many = {sid for rule in rules.node_rules.values() if len(set(rule.nodes.values())) > 1 for sid in rule.resources}
    bound = [rule for rule in rules.resource_rules.values() if not many.isdisjoint(rule.resources)]
    yield from ((rule.id, RESOURCE_PRIORITIES) for rule in bound)
    yield from ((name, NODE_PRIORITIES) for name in rules.node_rules_of({sid for rule in bound for sid in rule.resources}))


def _single_node_rule(rules: _Enabled) -> _Found:
    for group in rules.groups:
        paired = rules.node_rules_of(group.resources)
        if len(paired) > 1:
            yield from ((member, MANY_NODE_RULES) for member in group.rules)
            yield from ((other, OTHER_NODE_RULE) for other in paired)


def _room_to_be_apart(rules: _Enabled) -> _Found:
    open_nodes = {sid: rules.open_nodes(sid) for sid in rules.users if sid in rules.separators}
    crowded = [rule for rule in rules.negative.values() if _crowded([open_nodes[sid] for sid in rule.resources if sid in open_nodes])]
    yield from ((rule.id, NEGATIVE_CROWDED) for rule in crowded)
    yield from ((name, NODE_CROWDED) for name in rules.node_rules_of({sid for rule in crowded for sid in rule.resources}))


def _crowded(open_nodes: list[frozenset[str]]) -> bool:
    """Return whether resources with these nodes each are more than all these nodes."""
    return len(frozenset().union(*open_nodes)) < len(open_nodes)


_CHECKS: Final[tuple[Callable[[_Enabled], _Found], ...]] = (
    _single_reference,
    _resource_count,
    _negative_count,
    _together_and_apart,
    _single_priority,
    _single_node_rule,
    _room_to_be_apart,
)
"""In the manager's order: those of one kind of rule, then those between kinds."""


def feasibility(rules: Iterable[Rule], nodes: Collection[str]) -> tuple[Dropped, ...]:
    """Return the rules that the manager drops, by name, with its reasons in its order. ``nodes`` are all nodes of the cluster.

    Rules that are switched off are not judged. Whether a resource exists makes no difference.
    """
    enabled = _Enabled(rules, nodes)
    found: dict[str, list[str]] = defaultdict(list)
    for check in _CHECKS:
        for name, reason in check(enabled):
            found[name].append(reason)
    return tuple(Dropped(name, tuple(dict.fromkeys(found[name]))) for name in sorted(found))


def compiled(rules: Iterable[Rule], nodes: Collection[str]) -> Compiled:
    """Return what is left of the rules for each resource, rules that the manager adds by itself included."""
    rules = tuple(rules)
    dropped = feasibility(rules, nodes)
    gone = {drop.rule for drop in dropped}
    holding = _Enabled((rule for rule in rules if rule.id not in gone), nodes)
    node_rules = {sid: rule for rule in holding.node_rules.values() for sid in rule.resources}
    for group in holding.groups:
        for name in holding.node_rules_of(group.resources)[:1]:
            node_rules.update(dict.fromkeys(group.resources, holding.node_rules[name]))
    return Compiled(node_rules, _together(holding), _apart(holding), dropped)


def _together(rules: _Enabled) -> dict[str, frozenset[str]]:
    together: dict[str, frozenset[str]] = {}
    for group in rules.groups:
        resources = frozenset(group.resources)
        for sid in resources:
            together[sid] = together[sid] | resources if sid in together else resources
    return together


def _apart(rules: _Enabled) -> dict[str, frozenset[str]]:
    """Return who keeps off whom: a resource also off those that keep off one that it must be together with."""
    pairs: dict[str, set[str]] = defaultdict(set)
    for rule in rules.negative.values():
        for sid in rule.resources:
            pairs[sid] |= rule.resources - {sid}
    for group in rules.groups:
        for name in rules.separators_of(group.resources):
            for other in rules.negative[name].resources - group.resources:
                pairs[other] |= group.resources
                for sid in group.resources:
                    pairs[sid].add(other)
    return {sid: frozenset(others) for sid, others in pairs.items()}
