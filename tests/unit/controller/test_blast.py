"""Who suffers from an incident: what the report says of storages, guests and HA, from facts and evidence together."""

from __future__ import annotations

from controller.core.evidence import SECOND
from controller.core.report import Change, IncidentReport
from events.base import Event, Seen, Source
from events.envelope import Envelope
from events.iscsi import IscsiConnectionFailed, IscsiSessionEstablished
from events.nfs import NfsServerReachable, NfsServerUnreachable, NfsSilence
from faultline.timeline import Timeline
from tests.sim import facts as make

SEEN = Seen(source=Source.JOURNALD, excerpt="seen")
PROBE = Seen(source=Source.NFS, excerpt="asked")
T0 = 1_795_000_000 * SECOND
NODES = ("pve1", "pve2", "pve3")
TARGET = "iqn.2005-10.org.freenas.ctl:pve"
PORTALS = ("10.0.1.100:3260", "10.0.2.100:3260")


def told(*events: tuple[str, Event, float]) -> list[IncidentReport]:
    """Feed (node, event, seconds) to a core and let an hour pass."""
    timeline = Timeline("prod", NODES)
    reports: list[IncidentReport] = []
    for seq, (node, event, at) in enumerate(events, 1):
        moment = T0 + int(at * SECOND)
        reports += timeline.feed(Envelope("prod", node, "boot", "s", seq, moment, int(at * SECOND), event))
    return [*reports, *timeline.advance(T0 + 3600 * SECOND)]


def cluster() -> list[tuple[str, Event, float]]:
    """Return three nodes with an NFS storage and LVM on iSCSI, a guest on each node and storage; HA manages those on NFS."""
    facts: list[Event] = [
        make.nodes(*NODES),
        *(make.networks(node, f"10.0.1.{n}/24", f"10.0.2.{n}/24", f"10.0.3.{n}/24") for n, node in enumerate(NODES, 1)),
        *(make.sessions(node, TARGET, *PORTALS, luns=("36001405e1069b6f0",)) for node in NODES),
        *(make.volumes(node, "vg1", "36001405e1069b6f0") for node in NODES),
        make.storage("nfs1", "nfs", server="10.0.3.100", export="/export/pve"),
        make.storage("san", "iscsi", portal=PORTALS[0], target=TARGET),
        make.storage("vg1", "lvm", vgname="vg1", base="san:0.0.0.scsi-36001405e1069b6f0"),
        *(make.guest(100 + n, node, "nfs1") for n, node in enumerate(NODES, 1)),
        *(make.guest(200 + n, node, "vg1") for n, node in enumerate(NODES, 1)),
        *(make.managed(100 + n) for n in (1, 2, 3)),
    ]
    return [("pve1", fact, 0.0) for fact in facts]


def nfs_down(node: str) -> Event:
    """Return the kernel's word that the server is silent."""
    return NfsServerUnreachable(subject="nfs-server/10.0.3.100", seen=SEEN, how=NfsSilence.STILL_TRYING)


def session_down(portal: str) -> Event:
    """Return the kernel's word that the session over a portal broke."""
    return IscsiConnectionFailed(subject=f"iscsi-portal/{portal}", seen=SEEN, target=TARGET, session=1, code=1022)


def session_up(portal: str) -> Event:
    """Return a login over a portal."""
    return IscsiSessionEstablished(subject=f"iscsi-portal/{portal}", seen=SEEN, target=TARGET, session=1)


def test_dead_server_freezes_the_guests_of_all_nodes() -> None:
    """A dead NFS server's report names its storage and every guest on it; HA cannot help, and it says so."""
    opened = told(*cluster(), *((node, nfs_down(node), 200.0) for node in NODES))[0]

    assert opened.cause == "nfs-server-down"
    assert opened.storages == ("nfs1",)
    assert opened.guests.frozen == ("101", "102", "103")
    assert not opened.ha_can_help
    assert "3 guests (101, 102, 103) stand still, all of them managed by HA; no other node could run them." in opened.why


def test_lost_portal_freezes_nobody() -> None:
    """A dead portal of two puts guests at risk on every node that uses it, and freezes none."""
    ups = [(node, session_up(portal), 1.0) for node in NODES for portal in PORTALS]
    opened = told(*cluster(), *ups, *((node, session_down(PORTALS[0]), 100.0) for node in NODES))[0]

    assert opened.cause == "iscsi-portal-down"
    assert opened.guests.frozen == ()
    assert opened.guests.at_risk == ("201", "202", "203")


def test_second_lost_portal_freezes() -> None:
    """A portal that dies while the target's other one is dead freezes what the first only put at risk, and its incident says so."""
    ups = [(node, session_up(portal), 1.0) for node in NODES for portal in PORTALS]
    first = [(node, session_down(PORTALS[0]), 100.0) for node in NODES]
    second = [(node, session_down(PORTALS[1]), 200.0) for node in NODES]
    opened = [one for one in told(*cluster(), *ups, *first, *second) if one.change is Change.OPENED]

    assert [(one.cause, one.guests.frozen) for one in opened] == [("iscsi-portal-down", ()), ("iscsi-portal-down", ("201", "202", "203"))]


def test_node_that_lost_its_storage_network() -> None:
    """One node's loss freezes only its own guests, and names that others could run them."""
    ups = [(node, session_up(portal), 1.0) for node in NODES for portal in PORTALS]
    ups += [(node, NfsServerReachable(subject="nfs-server/10.0.3.100", seen=SEEN), 1.0) for node in NODES]
    downs: list[tuple[str, Event, float]] = [("pve2", session_down(portal), 100.0) for portal in PORTALS]
    opened = next(one for one in told(*cluster(), *ups, *downs) if one.change is Change.OPENED)

    assert (opened.cause, opened.entity) == ("node-storage-network", "node/pve2")
    assert opened.guests.frozen == ("102", "202")
    assert opened.ha_can_help


def test_backup_jobs_that_are_due_and_will_fail_are_named() -> None:
    """Of four jobs: one writes to what is gone, one saves a guest that stands still; a disabled one and one in three days are not told."""
    jobs = [
        make.backup_job("to-nfs", "*:00", "nfs1", exclude=("101",)),
        make.backup_job("to-san", "*/4:30", "vg1", guests=("101", "201")),
        make.backup_job("off", "*:00", "nfs1", enabled=False),
        make.backup_job("later", "2027-1-1", "nfs1"),
    ]
    facts = [*cluster(), *(("pve1", job, 0.0) for job in jobs)]
    opened = told(*facts, *((node, nfs_down("pve"), 60.0) for node in NODES))[0]
    assert (opened.change, opened.cause) == (Change.OPENED, "nfs-server-down")
    assert [(one.job, one.storage, one.guests, one.reason) for one in opened.backups] == [
        ("to-nfs", "nfs1", ("102", "103", "201", "202", "203"), "storage nfs1 is gone on pve1, pve2, pve3"),
        ("to-san", "vg1", ("101",), "they stand still"),
    ]
    assert opened.at < opened.backups[0].due < opened.backups[1].due
    assert any(line.startswith("Backup job to-nfs, due ") for line in opened.why)


def test_backup_jobs_count_only_where_their_storage_is_gone() -> None:
    """A node that lost its storage network alone fails its own guests' backups; a job for another node does not fail."""
    jobs = [make.backup_job("all", "daily", "nfs1"), make.backup_job("other", "daily", "nfs1", node="pve3")]
    facts = [*cluster(), *(("pve1", job, 0.0) for job in jobs)]
    events: list[tuple[str, Event, float]] = [
        ("pve2", NfsServerUnreachable(subject="nfs-server/10.0.3.100", seen=PROBE, how=NfsSilence.NO_REPLY), 60.0)
    ]
    well = [
        (node, NfsServerReachable(subject="nfs-server/10.0.3.100", seen=PROBE), at) for at in (1.0, 62.0, 66.0) for node in ("pve1", "pve3")
    ]
    reports = told(*sorted([*facts, *events, *well], key=lambda one: one[2]))
    assert (reports[0].cause, reports[0].nodes) == ("node-storage-network", ("pve2",))
    assert [(one.job, one.guests, one.reason) for one in reports[0].backups] == [("all", ("102", "202"), "storage nfs1 is gone on pve2")]
