"""What a change of storage.cfg means: which storages and properties differ, and which nodes see less or more than before.

Both sides are plain data without a secret, as :func:`remember` makes it, so that the one before can be kept over a restart. A secret is
remembered as a fingerprint: that it changed can be told, what it is cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pve.storage_cfg import Storage, StorageConfig
from pve.storage_secrets import MASK

Memory = dict[str, dict[str, Any]]
"""Storage id to its type, properties, nodes (None: all), whether it is disabled, and fingerprints of its secrets."""
TYPE: Final = "type"


@dataclass(frozen=True, slots=True)
class PropertyDiff:
    """A property that differs; None where it is not there. Of a secret both sides are the mask."""

    storage: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class StorageChanges:
    """All that differs, in alphabetical order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    properties: tuple[PropertyDiff, ...]
    hidden: Mapping[str, tuple[str, ...]]
    """Storage to the nodes that could see it and no longer can."""
    revealed: Mapping[str, tuple[str, ...]]
    """Storage to the nodes that can see it and could not."""

    @property
    def changed(self) -> tuple[str, ...]:
        """Return the storages that were and are there, and differ."""
        return tuple(sorted({one.storage for one in self.properties}))


def remember(config: StorageConfig) -> Memory:
    """Return what :func:`compare` needs of a configuration later: plain data, no secret."""
    return {name: _remembered(storage) for name, storage in config.storages.items()}


def _remembered(storage: Storage) -> dict[str, Any]:
    shown = storage.public
    secrets = {name: _fingerprint(storage.id, str(storage.values[name])) for name, value in shown.items() if MASK in value}
    return {
        "properties": {TYPE: storage.type, **shown},
        "nodes": None if storage.nodes is None else sorted(storage.nodes),
        "disabled": storage.disabled,
        "secrets": secrets,
    }


def _fingerprint(storage: str, secret: str) -> str:
    return hashlib.sha256(f"{storage}\0{secret}".encode("latin-1", "replace")).hexdigest()[:16]


def compare(before: Memory, after: Memory, nodes: Collection[str]) -> StorageChanges:
    """Return what differs; ``nodes`` are all nodes of the cluster."""
    was, now = set(before), set(after)
    visible = {name: (_visible(before.get(name), nodes), _visible(after.get(name), nodes)) for name in was | now}
    return StorageChanges(
        tuple(sorted(now - was)),
        tuple(sorted(was - now)),
        tuple(diff for name in sorted(was & now) for diff in _properties(name, before[name], after[name])),
        {name: tuple(sorted(old - new)) for name, (old, new) in sorted(visible.items()) if old - new},
        {name: tuple(sorted(new - old)) for name, (old, new) in sorted(visible.items()) if new - old},
    )


def _properties(storage: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[PropertyDiff]:
    old, new = before["properties"], after["properties"]
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    names |= {name for name in before["secrets"].keys() & after["secrets"].keys() if before["secrets"][name] != after["secrets"][name]}
    return [PropertyDiff(storage, name, old.get(name), new.get(name)) for name in sorted(names)]


def _visible(storage: Mapping[str, Any] | None, nodes: Collection[str]) -> set[str]:
    if storage is None or storage["disabled"]:
        return set()
    return set(nodes) if storage["nodes"] is None else set(nodes) & set(storage["nodes"])
