"""What was done lately: a part of the reasons, and sometimes the reason."""

from __future__ import annotations

from controller.core.causes import Cause
from controller.core.facts import Facts
from controller.core.happenings import Happening, Recent, happenings
from controller.core.inference.beforehand import touches
from controller.core.inference.likelihood import DONE_BEFORE
from controller.core.report import Change, IncidentReport
from events.agent import AgentStarted
from events.base import Event, Seen, Source
from events.cluster import HaArming, HaNodeMaintenance, NodeBooted, NodeUnitStopped, PropertyChange, StorageConfigChanged
from events.envelope import Envelope
from events.nfs import NfsServerReachable, NfsServerUnreachable, NfsSilence
from faultline.timeline import Timeline
from tests.sim.facts import nodes, storage

T0 = 1_795_000_000_000_000
SECOND = 1_000_000
SEEN = Seen(source=Source.PMXCFS)
PROBED = Seen(source=Source.NFS)
NODES = ("pve1", "pve2", "pve3")
OLD, NEW = "10.0.3.100", "10.0.3.200"


def moved(before: str = OLD, after: str = NEW) -> Event:
    """Return the change of a storage's server."""
    change = PropertyChange(storage="nfs1", name="server", before=before, after=after)
    return StorageConfigChanged(subject="cluster/prod", seen=SEEN, digest="0" * 40, changed=("nfs1",), changes=(change,))


def down(server: str) -> Event:
    """Return a probe's word that a server does not answer."""
    return NfsServerUnreachable(subject=f"nfs-server/{server}", seen=PROBED, how=NfsSilence.NO_REPLY)


def up(server: str) -> Event:
    """Return a probe's word that it does."""
    return NfsServerReachable(subject=f"nfs-server/{server}", seen=PROBED)


def told(*happened: tuple[str, Event, float]) -> list[IncidentReport]:
    """Return what is told of these events (node, event, second)."""
    timeline = Timeline("prod", NODES)
    found: list[IncidentReport] = []
    for number, (node, event, second) in enumerate(happened, 1):
        envelope = Envelope("prod", node, f"boot-{node}", "test", number, T0 + int(second * SECOND), int(second * SECOND), event)
        found += timeline.feed(envelope)
    return [*found, *timeline.advance(timeline.now + 30 * SECOND)]


def cluster(server: str) -> list[tuple[str, Event, float]]:
    """Return the facts of three nodes with one NFS storage."""
    return [("pve1", nodes(*NODES), 0), ("pve1", storage("nfs1", "nfs", server=server, export="/a", path="/mnt/pve/nfs1"), 1)]


def test_a_storage_pointed_at_what_never_answered() -> None:
    """When storage.cfg is pointed at a server that never answered, the change is the cause, and the report shows it."""
    opened = told(*cluster(NEW), ("pve1", moved(), 100), *((node, down(NEW), 110) for node in NODES))[0]

    assert (opened.cause, opened.entity) == ("storage-config-changed", "storage/nfs1")
    assert f"10 s before: storage nfs1: server {OLD} → {NEW}." in opened.why


def test_a_server_that_did_answer_is_no_matter_of_configuration() -> None:
    """A server that answered before and is silent now is down, whatever was changed beside it; the change is told all the same."""
    ups = [(node, up(NEW), 50.0) for node in NODES]
    opened = told(*cluster(NEW), *ups, ("pve1", moved(), 100), *((node, down(NEW), 110) for node in NODES))[0]

    assert (opened.cause, opened.entity) == ("nfs-server-down", f"nfs-server/{NEW}")
    assert f"10 s before: storage nfs1: server {OLD} → {NEW}." in opened.why


def test_an_old_change_is_not_mentioned() -> None:
    """What was done long before has nothing to do with it."""
    opened = told(*cluster(NEW), ("pve1", moved(), 100), *((node, down(NEW), 500) for node in NODES))[0]

    assert opened.cause == "nfs-server-down"
    assert not any("storage nfs1" in line for line in opened.why)


def test_maintenance_is_mentioned_until_it_ends() -> None:
    """A node's maintenance is part of the reasons however long ago it began, and no longer once it has ended."""
    began, ended = (HaNodeMaintenance(subject="node/pve2", seen=SEEN, active=active) for active in (True, False))
    lost = [("pve2", down(NEW), 5000.0)]
    wells = [(node, up(NEW), second) for node in NODES for second in (4000.0, 5010.0) if node != "pve2" or second < 5000]
    during = told(*cluster(NEW), ("pve1", began, 100), *wells[:3], *lost, *wells[3:])
    after = told(*cluster(NEW), ("pve1", began, 100), ("pve1", ended, 200), *wells[:3], *lost, *wells[3:])

    assert [any("HA maintenance of pve2 began" in line for line in reports[0].why) for reports in (during, after)] == [True, False]
    assert during[0].change is Change.OPENED


def test_what_was_done_before_makes_a_fault_likelier_and_hides_nothing() -> None:
    """A node that lost its server just after its network was restarted is surer of its own fault, which is told with that as a reason."""
    restarted = NodeUnitStopped(subject="node/pve2", seen=SEEN, unit="networking.service", restarts=True)
    wells = [(node, up(NEW), 50.0) for node in NODES]
    lost = [("pve2", down(NEW), 110.0), ("pve2", down(NEW), 111.0), *((node, up(NEW), 112.0) for node in ("pve1", "pve3"))]
    plain, after = (told(*cluster(NEW), *wells, *done, *lost)[0] for done in ([], [("pve2", restarted, 100.0)]))

    assert (plain.cause, after.cause) == ("node-storage-network",) * 2
    assert after.score == plain.score + DONE_BEFORE
    assert "10 s before: networking.service of pve2 was restarted." in after.why


def test_what_is_done_to_one_node_touches_that_node_only() -> None:
    """Maintenance and restarts of one node say nothing of another's faults, flags of a Ceph cluster all of its own."""
    maintenance = Happening(0, "node/pve1", "HA maintenance of pve1 began", lasts=True, topic="maintenance")
    noout = Happening(0, "ceph/f", "Ceph flags noout are set", lasts=True, topic="flags")
    backup = Happening(0, "backup/pve1", "node pve1 began a backup", lasts=True, topic="backup")

    assert touches(maintenance, Cause.NODE_DOWN, "node/pve1", ["pve2", "pve3"])
    assert touches(maintenance, Cause.CEPH_HOST_DOWN, "ceph-host/f/pve1", ["pve2"])
    assert not touches(maintenance, Cause.NODE_DOWN, "node/pve2", ["pve1"])
    assert not touches(maintenance, Cause.NFS_SERVER_DOWN, "nfs-server/10.0.0.1", ["pve1"])
    assert touches(noout, Cause.CEPH_OSD_DOWN, "ceph-osd/f/1", ["pve1"])
    assert not touches(noout, Cause.CEPH_OSD_DOWN, "ceph-osd/g/1", ["pve1"])
    assert touches(backup, Cause.NFS_SLOW, "nfs-export/10.0.0.1:/a", ["pve1"])
    assert not touches(backup, Cause.NFS_SLOW, "nfs-export/10.0.0.1:/a", ["pve2"])


def test_one_thing_told_by_all_nodes_is_one_thing() -> None:
    """A change that every agent reports within seconds is remembered once, at its first report."""
    recent = Recent()
    for second in range(5):
        recent.take(Happening(second * SECOND, "storage/nfs1", "storage nfs1 was added", points=True))

    assert [one.at for one in recent.before(10 * SECOND)] == [0]


def test_what_is_remembered_is_bounded() -> None:
    """Whatever happens how often, only the latest is kept; what still holds is kept longest."""
    recent = Recent()
    recent.take(Happening(0, "node/pve1", "HA maintenance of pve1 began", lasts=True))
    for second in range(1000):
        recent.take(Happening(second * SECOND, f"node/n{second}", "booted"))

    assert len(recent.all) <= 64
    assert recent.before(1000 * SECOND)[0].lasts


def test_a_restarted_agent_is_mentioned() -> None:
    """An agent that started just before its node reported something is part of the reasons."""
    started = AgentStarted(subject="node/pve2", seen=Seen(source=Source.AGENT), version="1.2.3")
    wells = [(node, up(NEW), 50.0) for node in NODES]
    opened = told(
        *cluster(NEW), *wells, ("pve2", started, 100), ("pve2", down(NEW), 103), *((node, up(NEW), 104) for node in ("pve1", "pve3"))
    )[0]

    assert "3 s before: the agent of pve2 started, version 1.2.3." in opened.why


def test_what_lasts_ends_whenever_its_end_is_told() -> None:
    """Maintenance of hours and HA that was disarmed are over once their end is told; a boot in between ends neither."""
    seen = Recent()
    hour = 3600 * SECOND
    events: list[tuple[Event, int]] = [
        (HaNodeMaintenance(subject="node/pve2", seen=SEEN, active=True), 0),
        (HaArming(subject="cluster/prod", seen=SEEN, armed=False, mode="freeze"), 1),
        (NodeBooted(subject="node/pve2", seen=SEEN, boot_id="b"), 30 * SECOND),
    ]
    for event, at in events:
        for one in happenings(event, "pve2", at, Facts()):
            seen.take(one)
    assert {one.topic for one in seen.before(hour) if one.lasts} == {"maintenance", "arming"}
    ends: list[Event] = [
        HaNodeMaintenance(subject="node/pve2", seen=SEEN, active=False),
        HaArming(subject="cluster/prod", seen=SEEN, armed=True),
    ]
    for event in ends:
        for one in happenings(event, "pve2", hour, Facts()):
            seen.take(one)
    assert seen.before(2 * hour) == []
