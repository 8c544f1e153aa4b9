"""Faults that somebody configured: what storage.cfg began to name just now, and what has never answered since."""

from __future__ import annotations

from collections.abc import Iterator

from controller.core.causes import Cause
from controller.core.inference.hypothesis import Hypothesis, suppose
from controller.core.inference.likelihood import CONFIGURATION
from controller.core.inference.scene import Scene, coherent, onset_of
from controller.core.state import Cell


def configured(scene: Scene, roots: list[Cell]) -> Iterator[Hypothesis]:
    """Yield changes of storage.cfg that point storages at what does not answer and never did, as far as this cluster knows."""
    fresh = [cell for cell in roots if not cell.was_ok]
    storages = {one.about for one in scene.happenings if one.points}
    for storage in sorted(storages) if fresh else ():
        things = scene.beneath(storage) | _named(scene, storage)
        for group in coherent(cell for cell in fresh if cell.entity in things):
            near = [one for one in scene.recent(onset_of(group)) if one.about == storage and one.points]
            well = [cell for entity in {cell.entity for cell in group} for cell in scene.well_of[entity] if cell.entity == entity]
            if near:
                yield suppose(scene, Cause.STORAGE_CONFIG_CHANGED, storage, group, well, CONFIGURATION)


def _named(scene: Scene, storage: str) -> set[str]:
    """Return what a storage was pointed at lately: an edit that was undone is the reason of what it broke all the same."""
    hosts = {one.names for one in scene.happenings if one.about == storage and one.names}
    ends = {f"{kind}/{host}" for host in hosts for kind in ("nfs-server", "server", "iscsi-portal")}
    return ends | {f"iscsi-portal/{host}:3260" for host in hosts}
