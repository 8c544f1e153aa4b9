"""All watches of a virtual cluster."""

from __future__ import annotations

from collections.abc import Iterator

from tests.sim.ceph_view import ceph_watches
from tests.sim.membership import membership_watches
from tests.sim.reaching import nfs_watches, storage_watches
from tests.sim.sessions import iscsi_watches
from tests.sim.stage import Stage, Watch


def watches(stage: Stage) -> Iterator[Watch]:
    """Yield what all sources of all nodes look at."""
    yield from nfs_watches(stage)
    yield from iscsi_watches(stage)
    yield from storage_watches(stage)
    yield from membership_watches(stage)
    yield from ceph_watches(stage)
