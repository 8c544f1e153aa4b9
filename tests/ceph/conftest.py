"""One running cluster for all live tests of a run, for it takes 20 seconds to start; agents and a controller for each module of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ceph.agents import Watched
from tests.ceph.cluster import CephCluster, missing
from tests.ceph.cut import no_cuts

_HOLD = 5.0
"""Seconds that a fault must be over before it is called resolved: more than the moments between an OSD's flaps, and no longer."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[CephCluster]:
    """Yield a healthy cluster. Its directory's path is short, for sockets lie in it."""
    if reason := missing() or no_cuts():
        pytest.fail(f"{reason} (`make ceph` installs what is missing)")
    with tempfile.TemporaryDirectory(prefix="flc") as place, CephCluster(Path(place) / "c") as one:
        yield one


@pytest.fixture(scope="module")
def watched(cluster: CephCluster) -> Iterator[Watched]:
    """Yield agents that have told that the cluster is well, and their controller."""
    cluster.wait_calm()
    with tempfile.TemporaryDirectory(prefix="flw") as place, Watched(cluster, Path(place) / "w", _HOLD) as one:
        yield one
