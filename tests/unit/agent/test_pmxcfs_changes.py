"""Random changes of storage.cfg made on other nodes: none is missed, and nothing that happens to pmxcfs looks like a removal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from agent.classify.pmxcfs import PmxcfsClassifier
from agent.sources.pmxcfs import PmxcfsSource
from events.base import Event
from events.cluster import StorageConfigBroken, StorageConfigChanged
from events.definitions import GuestDefined, GuestGone, StorageDefined, StorageUndefined
from pve.storage_cfg import parse
from tests.fuse_pmxcfs import Pmxcfs, can_mount

pytestmark = pytest.mark.skipif(not can_mount(), reason="mounting a FUSE file system takes root and /dev/fuse")
CHANGES = 1000 if os.environ.get("FAULTLINE_LONG") else 150


class Cluster:
    """A served /etc/pve, an agent's source and classifier on it, and what they have told."""

    def __init__(self, mountpoint: Path) -> None:
        self.count, self.start = 1, 1000
        self.storage = b""
        self.guests: dict[str, str] = {"100": "pve1", "200": "pve2"}
        self.mountpoint = mountpoint
        self.served = Pmxcfs(mountpoint, self.files())
        self.source = PmxcfsSource(mountpoint, interval=0.01, deadline=5, node="pve1")
        self.classifier = PmxcfsClassifier("pve1")
        self.told: list[Event] = []

    def files(self) -> dict[str, bytes]:
        """Return what pmxcfs serves now."""
        version = {"starttime": self.start, "clinfo": 1, "vmlist": self.count, "storage.cfg": self.count, "ha/rules.cfg": 1, "kvstore": {}}
        members = {"nodename": "pve1", "version": 8, "cluster": {"name": "c1", "version": 3, "nodes": 2, "quorate": 1}}
        nodes = {"pve1": {"id": 1, "online": 1, "ip": "10.0.0.1"}, "pve2": {"id": 2, "online": 1, "ip": "10.0.0.2"}}
        ids = {vmid: {"node": node, "type": "qemu", "version": self.count} for vmid, node in self.guests.items()}
        return {
            ".version": json.dumps(version).encode(),
            ".members": json.dumps({**members, "nodelist": nodes}).encode(),
            ".vmlist": json.dumps({"version": self.count, "ids": ids}).encode(),
            "storage.cfg": self.storage,
            **{f"nodes/{node}/qemu-server/{vmid}.conf": b"scsi0: nas:vm-disk\n" for vmid, node in self.guests.items()},
        }

    def change(self, storage: bytes | None = None) -> None:
        """Change something as another node does."""
        self.count += 1
        if storage is not None:
            self.storage = storage
        self.served.files = self.files()

    def look(self, seconds: float = 10.0, enough: type[Event] | None = None) -> list[Event]:
        """Let the source look until an event of a kind was told, or a few times; return what was told."""
        told: list[Event] = []
        end = time.monotonic() + seconds
        looks = 0
        while time.monotonic() < end and (enough is not None or looks < 5):
            batch = self.source.read_batch(timeout=0.1)
            looks += 1
            told += [event for record in batch.records for event in self.classifier.classify(record)] if batch else []
            if enough is not None and any(isinstance(event, enough) for event in told):
                break
        self.told += told
        return told


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Return a served cluster of two nodes."""
    (mountpoint := tmp_path / "pve").mkdir()
    made = Cluster(mountpoint)
    yield made
    made.source.close()
    made.served.stop()


def config(dice: Random) -> bytes:
    """Return a random storage.cfg, now and then with a broken section."""
    names = dice.sample(["nas", "san", "pbs", "smb", "old", "new"], dice.randint(0, 5))
    text = "".join(f"nfs: {name}\n\tserver 10.0.0.{dice.randint(1, 9)}\n\texport /e{dice.randint(1, 3)}\n\n" for name in names)
    return (text + dice.choice(["", "", "", "cifs: broken\n\tserver h\n\n"])).encode()


def test_no_change_is_missed(cluster: Cluster) -> None:
    """Each change that stands until the next look is told, and what was told adds up to what the file says at the end."""
    dice = Random(7)
    cluster.change(b"nfs: nas\n\tserver h\n\texport /x\n")
    cluster.look(enough=StorageDefined)
    changes = 0
    for _ in range(CHANGES):
        before, now = cluster.storage, config(dice)
        cluster.change(now)
        if now != before:
            assert any(isinstance(event, StorageConfigChanged) for event in cluster.look(enough=StorageConfigChanged)), (before, now)
            changes += 1
    cluster.look()
    defined: dict[str, StorageDefined] = {}
    for event in cluster.told:
        if isinstance(event, StorageDefined):
            defined[event.subject.key] = event
        elif isinstance(event, StorageUndefined):
            del defined[event.subject.key]
    final = parse(cluster.storage)

    assert len([event for event in cluster.told if isinstance(event, StorageConfigChanged)]) == changes
    assert defined.keys() == final.storages.keys()
    assert {name: {one.name: one.value for one in event.properties}.get("server") for name, event in defined.items()} == {
        name: one.public.get("server") for name, one in final.storages.items()
    }
    assert any(isinstance(event, StorageConfigBroken) for event in cluster.told)


def test_restart_crash_and_hang_remove_nothing(cluster: Cluster) -> None:
    """A pmxcfs that restarts, dies or stands still, and a lost quorum, end no storage and no guest."""
    cluster.change(b"nfs: nas\n\tserver h\n\texport /x\n")
    cluster.look(enough=GuestDefined)
    cluster.served.quorate = False
    cluster.look()
    cluster.served.quorate = True
    for end in (Pmxcfs.stop, Pmxcfs.crash):
        end(cluster.served)
        cluster.look()
        cluster.served.stop()
        cluster.start += 1000
        cluster.served = Pmxcfs(cluster.mountpoint, cluster.files())
        cluster.look()

    kinds = [event.kind for event in cluster.told]
    assert kinds.count("pmxcfs.lost") == 2
    assert not [event for event in cluster.told if isinstance(event, StorageUndefined | GuestGone | StorageConfigChanged)]


def test_guest_moves_to_another_node(cluster: Cluster) -> None:
    """A guest that went to another node is gone here, once, and back when it comes back."""
    cluster.look(enough=GuestDefined)
    cluster.guests["100"] = "pve2"
    cluster.change()
    assert [event.subject.key for event in cluster.look(enough=GuestGone) if isinstance(event, GuestGone)] == ["100"]
    cluster.guests["100"] = "pve1"
    cluster.change()
    assert [event.subject.key for event in cluster.look(enough=GuestDefined) if isinstance(event, GuestDefined)] == ["100"]


def test_only_own_guests_are_read(cluster: Cluster) -> None:
    """An agent reads and tells its own node's guests: others have an agent of their own."""
    cluster.look(enough=GuestDefined)

    assert [event.subject.key for event in cluster.told if isinstance(event, GuestDefined)] == ["100"]
    assert "nodes/pve2/qemu-server/200.conf" not in cluster.served.opened
