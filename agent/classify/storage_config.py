"""storage.cfg to events: each storage as it is defined, what changed, and the section that blinds every node.

A password that somebody typed into the file goes no further than the parser (:mod:`pve.storage_cfg`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from agent.classify.definitions import Definitions
from agent.record import RawRecord
from events.base import Event, Seen
from events.cluster import PropertyChange, StorageConfigBroken, StorageConfigChanged, StorageConfigValid, Visibility
from events.definitions import Property, StorageConfigWarned, StorageDefined, StorageUndefined
from events.entity import Entity, EntityKind
from pve.release import Release
from pve.storage_cfg import FILE, Storage, StorageConfig, parse
from pve.storage_diff import StorageChanges, compare, remember

_MOST: Final = 64
"""Most entries of each list in one event: an event is no copy of the file."""
_NAME, _VALUE = 256, 1024
_APART: Final = frozenset({"content", "nodes", "shared", "disable", "type"})
"""Properties that have a field of their own."""


class StorageConfigClassifier:
    """Turns the contents of storage.cfg, in order, into events. ``memory`` is what :meth:`memory` returned before."""

    def __init__(self, definitions: Definitions, memory: Mapping[str, Any] | None = None) -> None:
        state = memory or {}
        self._definitions = definitions
        self._digest: str | None = state.get("digest")
        self._storages: dict[str, dict[str, Any]] | None = state.get("storages")
        self._judged: str | None = None
        self.enabled: dict[str, frozenset[str] | None] = {}
        """Storages that are not disabled, each with the nodes that may use it (None: all)."""
        self.broken = False

    def memory(self) -> dict[str, Any]:
        """Return what must be kept for a change to be seen as one after a restart: plain data without secrets."""
        return {"digest": self._digest, "storages": self._storages}

    def take(self, record: RawRecord, subject: Entity, nodes: Collection[str]) -> Iterator[Event]:
        """Yield the events that a content of the file stands for; ``subject`` is the cluster, ``nodes`` are all its nodes."""
        config = parse(record.fields.get("text", "").encode("latin-1"), Release(record.fields.get("release") or Release.PVE9))
        self.enabled = {name: one.nodes for name, one in config.storages.items() if not one.disabled}
        self.broken = bool(config.broken)
        seen = _seen(record, f"digest of {FILE}: {config.digest}")
        yield from self._changed(config, subject, seen, nodes)
        yield from self._judgement(config, subject, seen)
        yield from self._defined(config, subject, seen)

    def _changed(self, config: StorageConfig, subject: Entity, seen: Seen, nodes: Collection[str]) -> Iterator[Event]:
        before, was = self._digest, self._storages
        self._digest, self._storages = config.digest, remember(config)
        if before is None or was is None or before == config.digest:
            return  # seen for the first time is not changed
        yield _change(compare(was, self._storages, nodes), subject, seen, config.digest, before)

    def _judgement(self, config: StorageConfig, subject: Entity, seen: Seen) -> Iterator[Event]:
        judged = repr(config.broken)
        if judged == self._judged:
            return
        self._judged = judged
        for one in config.broken:
            excerpt = f"{FILE} line {one.line} to {one.end}, section '{one.id}': {one.reason}"
            yield StorageConfigBroken(
                subject=subject,
                seen=seen.model_copy(update={"excerpt": excerpt[:512]}),
                section=one.id[:_NAME],
                line=one.line,
                reason=one.reason[:_NAME],
            )
        if not config.broken:
            yield StorageConfigValid(subject=subject, seen=seen, digest=config.digest)

    def _defined(self, config: StorageConfig, subject: Entity, seen: Seen) -> Iterator[Event]:
        named = {name: one for name, one in config.storages.items() if len(name) <= _NAME}
        yield from self._definitions.news(_definition(one, seen) for one in named.values())
        for name in self._definitions.missing("storage.defined", named):
            yield StorageUndefined(subject=Entity(EntityKind.STORAGE, name), seen=seen)
        warnings = tuple(one[:_VALUE] for one in config.public_warnings[:32])
        if warnings or self._definitions.said("storage.config.warned", subject.key):
            yield from self._definitions.news([StorageConfigWarned(subject=subject, seen=seen, warnings=warnings)])


def _definition(storage: Storage, seen: Seen) -> StorageDefined:
    values = [(name, value) for name, value in storage.public.items() if name not in _APART]
    return StorageDefined(
        subject=Entity(EntityKind.STORAGE, storage.id),
        seen=seen,
        type=storage.type,
        content=tuple(sorted(storage.content)),
        nodes=None if storage.nodes is None else _names(storage.nodes, 256),
        disabled=storage.disabled,
        shared=storage.shared,
        properties=tuple(Property(name=name, value=value[:_VALUE]) for name, value in values[:_MOST]),
    )


def _change(found: StorageChanges, subject: Entity, seen: Seen, digest: str, before: str) -> StorageConfigChanged:
    changes = tuple(
        PropertyChange(storage=one.storage[:_NAME], name=one.name[:_NAME], before=_cut(one.before), after=_cut(one.after))
        for one in found.properties[:_MOST]
    )
    return StorageConfigChanged(
        subject=subject,
        seen=seen,
        digest=digest,
        previous=before,
        added=_names(found.added),
        removed=_names(found.removed),
        changed=_names(found.changed),
        changes=changes,
        hidden=_visibility(found.hidden),
        revealed=_visibility(found.revealed),
    )


def _visibility(found: Mapping[str, tuple[str, ...]]) -> tuple[Visibility, ...]:
    return tuple(Visibility(storage=name[:_NAME], nodes=_names(nodes, 256)) for name, nodes in list(found.items())[:_MOST])


def _names(names: Iterable[str], most: int = _MOST) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if 0 < len(name) <= _NAME)[:most])


def _cut(value: str | None) -> str | None:
    return None if value is None else value[:_VALUE]


def _seen(record: RawRecord, excerpt: str) -> Seen:
    return Seen(source=record.source, cursor=record.cursor, excerpt=excerpt)
