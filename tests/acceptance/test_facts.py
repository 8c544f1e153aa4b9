"""What a cluster is made of, from files of /etc/pve through real processes to a controller's knowledge."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.core.topology.impact import impact
from events.definitions import GuestDefined, StorageDefined
from faultline.cluster import read_cluster, stored_cluster
from tests.processes import ROOT, Site

NODES = ("pve1", "pve2", "pve3")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a controller and three agents that look at the demo's /etc/pve."""
    made = Site(tmp_path, NODES)
    shutil.copytree(ROOT / "demo" / "pve", tmp_path / "pve")
    for node in NODES:
        config = tmp_path / f"{node}.toml"
        text = config.read_text().replace("[pmxcfs]\nenabled = false", f'[pmxcfs]\nroot = "{tmp_path}/pve"\ninterval = 0.2')
        config.write_text(text)
    made.start("controller")
    for node in NODES:
        made.start(node)
    yield made
    made.end()


def known(site: Site) -> set[str]:
    """Return the guests and storages that the controller has been told of."""
    return {f"{one.event.kind} {one.event.subject}" for one in site.stored() if isinstance(one.event, GuestDefined | StorageDefined)}


def test_controller_knows_what_the_files_say(site: Site) -> None:
    """Three agents, each telling its own guests, give the same graph as reading the files at once."""
    site.until(lambda: len(known(site)) == 11, "6 guests and 5 storages")
    stored, read = stored_cluster(site.place / "controller.toml"), read_cluster(site.place / "pve", {})

    for failed in ("nfs-server/10.1.3.1", "node/pve1", "iscsi-portal/10.1.1.1:3260"):
        assert impact(stored.topology, [failed]).guests == impact(read.topology, [failed]).guests


def test_controller_that_lost_its_database_is_told_again(site: Site) -> None:
    """What did not change for weeks is said again to a controller that has never heard it."""
    site.until(lambda: len(known(site)) == 11, "6 guests and 5 storages")
    site.until(lambda: all(site.connected(node) for node in NODES), "sessions")
    site.stop("controller")
    for file in site.place.glob("faultline.db*"):
        file.unlink()
    site.start("controller")

    site.until(lambda: len(known(site)) == 11, "6 guests and 5 storages again", 40)
