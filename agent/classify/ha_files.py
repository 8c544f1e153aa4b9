"""HA's files to events: what is managed and where it may run, what the managers do, who does not answer.

What several files say together (a rule holds only if no other binds the same guest, groups become rules) is judged anew with every
change of one of them, as the manager itself does; so they come in one record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from agent.classify.definitions import Definitions
from agent.record import RawRecord
from events.base import Event, Seen
from events.cluster import (
    HaArming,
    HaLocalManagerAlive,
    HaLocalManagerDead,
    HaNodeFenced,
    HaNodeFencing,
    HaNodeMaintenance,
    HaServiceError,
    HaServiceSettled,
)
from events.definitions import HaManagerState, HaResourceDefined, HaResourceGone, HaRuleDefined, HaRuleGone, HaServiceState, NodePriority
from events.entity import Entity, EntityKind
from pve import ha_groups, ha_resources, ha_rules, ha_status
from pve.errors import FormatError
from pve.ha import Ha, unite
from pve.ha_rules import NEGATIVE, NodeAffinity, Rule
from pve.ha_status import Age, LrmStatus, ManagerStatus

MANAGER: Final = "ha/manager_status"
_NAME, _VALUE, _MOST, _MEMBERS = 256, 1024, 256, 512
_FENCE: Final = "fence"
_ERROR: Final = "error"
_DISARMED: Final = "disarmed"


class HaClassifier:
    """Takes in HA's files of one cluster. ``memory`` is what :meth:`memory` returned before."""

    def __init__(self, node: str, definitions: Definitions, memory: Mapping[str, Any] | None = None) -> None:
        state = memory or {}
        self._node = node
        self._definitions = definitions
        self._groups = False
        self._manager = ManagerStatus()
        self._lrms: dict[str, LrmStatus] = {}
        self._errors: set[str] = set(state.get("errors", ()))
        self._fenced: set[str] = set(state.get("fenced", ()))
        self._maintenance: set[str] = set(state.get("maintenance", ()))
        self._disarmed: bool = state.get("disarmed", False)
        self._dead: bool | None = None
        """Whether our own local manager is dead; None before it could be judged."""
        self._told_dead: bool = state.get("dead", False)
        self._managed = False
        """Whether the manager's status was read: without it nobody knows which services are here."""

    def memory(self) -> dict[str, Any]:
        """Return what was told as bad or unusual and whose end must be told as well."""
        return {
            "errors": sorted(self._errors),
            "fenced": sorted(self._fenced),
            "maintenance": sorted(self._maintenance),
            "disarmed": self._disarmed,
            "dead": self._told_dead,
        }

    def configuration(self, record: RawRecord, nodes: Collection[str]) -> Iterator[Event]:
        """Yield what resources.cfg, groups.cfg and rules.cfg together say anew; ``nodes`` are all nodes of the cluster."""
        texts = {name: record.fields.get(name, "").encode("latin-1") for name in ("resources", "groups", "rules")}
        groups = ha_groups.parse(texts["groups"])
        self._groups = bool(groups.names)
        ha = unite(ha_resources.parse(texts["resources"]), groups, ha_rules.parse(texts["rules"]), nodes, self._manager)
        seen = _seen(record, "HA's resources, groups and rules")
        resources = [sid for sid in ha.resources.resources if len(sid) < _NAME]
        yield from self._definitions.news(_resource(ha, sid, seen) for sid in resources)
        for sid in self._definitions.missing("ha.resource.defined", resources):
            yield HaResourceGone(subject=Entity(EntityKind.HA, sid), seen=seen)
        rules = {**dict(_rules(ha, seen)), **dict(_group_rules(ha, seen))}
        yield from self._definitions.news(rules.values())
        for name in self._definitions.missing("ha.rule.defined", rules):
            yield HaRuleGone(subject=Entity(EntityKind.HA_RULE, name), seen=seen)

    def manager(self, record: RawRecord, subject: Entity) -> Iterator[Event]:
        """Yield what the manager's status means; ``subject`` is the cluster."""
        try:
            data = record.fields.get("text", "").encode("latin-1")
            self._manager = ha_status.parse_manager(data) if data else ManagerStatus()
        except FormatError:
            return  # torn or of a future version: the next one will tell
        self._managed = True
        yield from self._states(record, subject)

    def lrm(self, record: RawRecord, subject: Entity) -> Iterator[Event]:
        """Yield what a local manager's status means. Its age is judged by our clock on our own node only: clocks differ."""
        node = record.fields.get("node", "")
        try:
            self._lrms[node] = ha_status.parse_lrm(record.fields.get("text", "").encode("latin-1"))
        except FormatError:
            return
        yield from self._manager_state(record, subject)
        if node == self._node:
            yield from self._local_manager(record, self._lrms[node])

    # What the managers do

    def _states(self, record: RawRecord, subject: Entity) -> Iterator[Event]:
        manager, seen = self._manager, _seen(record, f"{MANAGER} of {self._manager.master}")
        yield from self._definitions.news(
            HaServiceState(subject=Entity(EntityKind.HA, sid), seen=seen, service=one.state[:_NAME], node=one.node[:_NAME])
            for sid, one in sorted(manager.services.items())
            if one.state and len(sid) < _NAME
        )
        errors = {sid for sid, one in manager.services.items() if one.state == _ERROR}
        yield from _turned(
            self._errors, errors, lambda sid: HaServiceError(subject=Entity(EntityKind.HA, sid), seen=seen, reason="error state")
        )
        yield from _turned(errors, self._errors, lambda sid: HaServiceSettled(subject=Entity(EntityKind.HA, sid), seen=seen))
        fenced = {node for node, state in manager.nodes.items() if state == _FENCE}
        yield from _turned(self._fenced, fenced, lambda node: HaNodeFencing(subject=Entity(EntityKind.NODE, node), seen=seen))
        yield from _turned(
            fenced,
            self._fenced,
            lambda node: HaNodeFenced(subject=Entity(EntityKind.NODE, node), seen=seen, outcome=manager.nodes.get(node, "")[:_NAME]),
        )
        maintenance = set(manager.maintenance)
        for node in sorted(maintenance ^ self._maintenance):
            yield HaNodeMaintenance(subject=Entity(EntityKind.NODE, node), seen=seen, active=node in maintenance)
        disarmed = manager.disarm is not None and manager.disarm.state == _DISARMED
        if disarmed != self._disarmed:
            mode = manager.disarm.mode if manager.disarm else ""
            yield HaArming(subject=subject, seen=seen, armed=not disarmed, mode=mode[:_NAME])
        self._errors, self._fenced, self._maintenance, self._disarmed = errors, fenced, maintenance, disarmed
        yield from self._manager_state(record, subject)

    def _manager_state(self, record: RawRecord, subject: Entity) -> Iterator[Event]:
        if not self._manager.master:
            return
        now = record.at / 1_000_000
        served = {one.node for one in self._manager.services.values()}
        old = sorted(node for node, lrm in self._lrms.items() if node in served and ha_status.age(lrm.timestamp, now) is Age.OLD)
        yield from self._definitions.news(
            [
                HaManagerState(
                    subject=subject,
                    seen=_seen(record, MANAGER),
                    master=self._manager.master[:_NAME],
                    groups=self._groups,
                    maintenance=tuple(sorted(self._manager.maintenance))[:_MOST],
                    unreachable=tuple(old)[:_MOST],
                )
            ]
        )

    def _local_manager(self, record: RawRecord, lrm: LrmStatus) -> Iterator[Event]:
        """Judge our own: with no service here it may idle, and an old status means nothing."""
        if not self._managed:
            return
        now = record.at / 1_000_000
        served = any(one.node == self._node for one in self._manager.services.values())
        dead = served and ha_status.age(lrm.timestamp, now) is Age.OLD
        known, self._dead = self._dead, dead
        if dead == known or (known is None and not dead and not self._told_dead):
            return
        self._told_dead = dead
        subject, seen = Entity(EntityKind.NODE, self._node), _seen(record, f"lrm_status: {lrm.state}, timestamp {lrm.timestamp}")
        if dead:
            yield HaLocalManagerDead(subject=subject, seen=seen, silent=max(0, int(now) - lrm.timestamp))
        else:
            yield HaLocalManagerAlive(subject=subject, seen=seen, manager=lrm.state[:_NAME])


def _turned(before: Collection[str], now: Iterable[str], event: Callable[[str], Event]) -> Iterator[Event]:
    yield from (event(name) for name in sorted(now) if name not in before and 0 < len(name) < _NAME)


def _resource(ha: Ha, sid: str, seen: Seen) -> HaResourceDefined:
    one = ha.resources.resources[sid]
    return HaResourceDefined(
        subject=Entity(EntityKind.HA, sid),
        seen=seen,
        requested=one.state[:_NAME],
        group=one.group[:_NAME],
        failback=ha.failback(sid),
        max_restart=one.max_restart,
        max_relocate=one.max_relocate,
    )


def _rules(ha: Ha, seen: Seen) -> Iterator[tuple[str, HaRuleDefined]]:
    dropped = {one.rule: "; ".join(one.reasons) for one in ha.dropped}
    for name, rule in ha.rules.rules.items():
        if len(name) < _NAME:
            yield name, _rule(name, rule, dropped.get(name, ""), seen)


def _rule(name: str, rule: Rule, dropped: str, seen: Seen) -> HaRuleDefined:
    node_rule = isinstance(rule, NodeAffinity)
    return HaRuleDefined(
        subject=Entity(EntityKind.HA_RULE, name),
        seen=seen,
        form="node-affinity" if node_rule else "resource-affinity",
        resources=tuple(sorted(rule.resources))[:_MEMBERS],
        nodes=_priorities(rule.nodes) if isinstance(rule, NodeAffinity) else (),
        strict=rule.strict if isinstance(rule, NodeAffinity) else True,
        negative=rule.affinity == NEGATIVE,
        disabled=rule.disabled,
        dropped=dropped[:_VALUE],
    )


def _group_rules(ha: Ha, seen: Seen) -> Iterator[tuple[str, HaRuleDefined]]:
    dropped = {one.rule: "; ".join(one.reasons) for one in ha.dropped}
    for name, group in ha.groups.groups.items():
        members = sorted(sid for sid, one in ha.resources.resources.items() if one.group == name)
        if len(name) < _NAME:
            yield (
                name,
                HaRuleDefined(
                    subject=Entity(EntityKind.HA_RULE, name),
                    seen=seen,
                    form="group",
                    resources=tuple(members)[:_MEMBERS],
                    nodes=_priorities(group.nodes),
                    strict=group.restricted,
                    dropped=dropped.get(f"ha-group-{name}", "")[:_VALUE],
                ),
            )


def _priorities(nodes: Mapping[str, int]) -> tuple[NodePriority, ...]:
    return tuple(NodePriority(node=node, priority=max(0, rank)) for node, rank in sorted(nodes.items()) if 0 < len(node) <= _NAME)[:_MOST]


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, cursor=record.cursor, excerpt=excerpt[:512])
