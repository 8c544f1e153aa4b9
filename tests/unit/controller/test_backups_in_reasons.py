"""A backup that runs while storage is slow stands in the reasons."""

from __future__ import annotations

from controller.core.correlate import Heard
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from events.base import Event, Seen, Source
from events.ceph import CephOpsSlow, CephOsdDown
from events.cluster import BackupEnded, BackupStarted
from events.codec import decode, encode
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from tests.sim.channel import Arrival
from tests.sim.plan import CLUSTER
from tests.sim.trial import Engine

FSID = "2a882841-48a3-11f1-838c-d00d99b60350"
SECOND = 1_000_000
START = 1_795_000_000 * SECOND
NODE = Entity(EntityKind.NODE, "pve1")
SLOW = CephOpsSlow(subject=Entity(EntityKind.CEPH, FSID), seen=Seen(source=Source.CEPH), count=8, oldest=31)
DOWN = CephOsdDown(subject=Entity(EntityKind.CEPH_OSD, f"{FSID}/6"), seen=Seen(source=Source.CEPH), host="pve3")
BEGAN = BackupStarted(subject=NODE, seen=Seen(source=Source.JOURNALD), storage="nas-backup")
ENDED = BackupEnded(subject=NODE, seen=Seen(source=Source.JOURNALD), result="OK")


def told(*events: tuple[int, Event]) -> list[IncidentReport]:
    """Return the reports on what pve1 says, at seconds after the start."""
    engine = Engine(CoreState(CLUSTER))
    due = dict(events)
    for second in range(max(due) + 40):
        at = START + second * SECOND
        engine.take(Arrival(at, Heard("pve1")))
        if second in due:
            engine.take(Arrival(at, decode(encode(Envelope(CLUSTER, "pve1", "boot", "s", second + 1, at, at, due[second])))))
    return engine.history


def has_backup(reports: list[IncidentReport]) -> bool:
    """Tell whether a reason of the first report names the backup."""
    return any("began a backup to storage nas-backup" in line for line in reports[0].why)


def test_slow_requests_name_the_backup_that_runs() -> None:
    """Who reads of slow requests reads that a backup has been running for ten minutes, and where to."""
    assert has_backup(told((0, BEGAN), (600, SLOW)))


def test_a_backup_that_ended_is_no_reason() -> None:
    """A backup that was over long before is not named."""
    assert not has_backup(told((0, BEGAN), (60, ENDED), (600, SLOW)))


def test_a_dead_disk_is_no_matter_of_load() -> None:
    """What no load can break does not name the backup."""
    assert not has_backup(told((0, BEGAN), (600, DOWN)))
