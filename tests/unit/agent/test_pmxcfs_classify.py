import dataclasses
import hashlib
import json
from itertools import pairwise

import msgpack

from agent.classify.pmxcfs import PmxcfsClassifier
from agent.record import RawRecord
from events.base import Event, Source
from events.cluster import (
    ClusterFileChanged,
    MemberJoined,
    MemberLeft,
    PmxcfsLost,
    PmxcfsServed,
    QuorumLost,
    QuorumRegained,
    StorageConfigBroken,
    StorageConfigChanged,
    StorageConfigValid,
)
from events.definitions import (
    BackupJobDefined,
    BackupJobGone,
    CephDefined,
    CorosyncDefined,
    GuestDefined,
    GuestGone,
    HaRuleDefined,
    HaRuleGone,
    StorageDefined,
    StorageUndefined,
)

BEFORE = b"""dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl

nfs: nas
\tserver 10.1.3.1
\texport /a

cifs: office
\tserver h
\tshare s
\tpassword hunter2
"""
AFTER = b"dir: local\n\tcontent vztmpl,iso\n\tpath /var/lib/vz\n\ncifs: office\n\tserver h\n\tshare s\n\tpassword hunter3\n\n"
AFTER += b"lvm: vg\n\tvgname vg-iscsi\n"
ONE, TWO = "1" * 40, "2" * 40


def record(**fields: str) -> RawRecord:
    return RawRecord(Source.PMXCFS, 1, 1, "b", fields)


def storage(data: bytes, cluster: str = "c1") -> RawRecord:
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return record(what="file", path="storage.cfg", digest=digest, cluster=cluster, release="9", text=data.decode("latin-1"))


def changes(events: list[Event]) -> list[StorageConfigChanged]:
    return [event for event in events if isinstance(event, StorageConfigChanged)]


def one(events: list[Event]) -> Event:
    (event,) = events
    return event


def test_served_lost_restarted() -> None:
    """Start, loss and restart are told apart; equal records say nothing twice."""
    classifier = PmxcfsClassifier("pve1")
    first = one(classifier.classify(record(what="served", starttime="1000")))
    assert isinstance(first, PmxcfsServed)
    assert (str(first.subject), first.restarted) == ("node/pve1", False)
    assert classifier.classify(record(what="served", starttime="1000")) == []
    lost = one(classifier.classify(record(what="lost", how="crashed")))
    assert isinstance(lost, PmxcfsLost)
    assert lost.how == "crashed"
    again = one(classifier.classify(record(what="served", starttime="2000")))
    assert isinstance(again, PmxcfsServed)
    assert again.restarted


def test_storage_change() -> None:
    """A change names what came, went and differs, and who can no longer see it; a password only as changed."""
    classifier = PmxcfsClassifier("pve1")
    classifier.classify(record(what="nodes", names="pve1 pve2", cluster="c1"))
    assert changes(classifier.classify(storage(BEFORE))) == []
    (event,) = changes(classifier.classify(storage(AFTER)))
    assert (event.added, event.removed, event.changed) == (("vg",), ("nas",), ("office",))
    assert [(one.storage, one.nodes) for one in event.hidden] == [("nas", ("pve1", "pve2"))]
    assert [(one.storage, one.name, one.before, one.after) for one in event.changes] == [("office", "password", "***", "***")]
    assert str(event.subject) == "cluster/c1"
    assert "hunter" not in event.model_dump_json()
    assert "hunter" not in str(classifier.memory())


def test_storages_are_defined_once() -> None:
    """Each storage is told when it is new or differs, and its end; after a restart only what changed meanwhile."""
    classifier = PmxcfsClassifier("pve1")
    first = [event for event in classifier.classify(storage(BEFORE)) if isinstance(event, StorageDefined)]
    assert [event.subject.key for event in first] == ["local", "nas", "office"]
    assert "hunter" not in "".join(event.model_dump_json() for event in first)
    later = PmxcfsClassifier("pve1", msgpack.unpackb(msgpack.packb(classifier.memory())))
    events = later.classify(storage(AFTER))
    assert [event.subject.key for event in events if isinstance(event, StorageDefined)] == ["vg"]
    assert [event.subject.key for event in events if isinstance(event, StorageUndefined)] == ["nas"]


def test_broken_section() -> None:
    """The section that blinds every node is told with its lines and reason; so is its end."""
    classifier = PmxcfsClassifier("pve1")
    classifier.classify(storage(BEFORE))
    (broken,) = [event for event in classifier.classify(storage(b"nfs: nas\n\tserver h\n")) if isinstance(event, StorageConfigBroken)]
    assert (broken.section, broken.line, broken.reason) == ("nas", 1, "missing value for required option 'export'")
    assert [type(event) for event in classifier.classify(storage(BEFORE)) if event.kind.startswith("storage.config.valid")] == [
        StorageConfigValid
    ]


def test_guests() -> None:
    """A guest's storages are told by what they are needed for, and its end when the list lacks it, also after a restart."""
    classifier = PmxcfsClassifier("pve1")
    text = "ide2: iso:iso/d.iso,media=cdrom\nname: db\nscsi0: san:vm-100-disk-0\n\n[before]\nscsi0: old:vm-100-disk-0\n"
    guest = record(what="guest", node="pve1", vmid="100", kind="qemu", text=text)
    event = one(classifier.classify(guest))
    assert isinstance(event, GuestDefined)
    assert [(use.storage, use.need) for use in event.uses] == [("san", "runtime"), ("iso", "start"), ("old", "history")]
    assert classifier.classify(guest) == []
    later = PmxcfsClassifier("pve1", msgpack.unpackb(msgpack.packb(classifier.memory())))
    assert later.classify(guest) == []
    gone = one(later.classify(record(what="guests", node="pve1", vmids="101")))
    assert isinstance(gone, GuestGone)
    assert (gone.subject.key, gone.node) == ("100", "pve1")


def test_ha() -> None:
    """Resources and rules are told with what HA makes of them; groups become rules without leaving anything behind."""
    classifier = PmxcfsClassifier("pve1")
    classifier.classify(record(what="nodes", names="pve1 pve2", cluster="c1"))
    resources, group = "vm: 100\n\tgroup grp\n", "group: grp\n\tnodes pve1:2,pve2\n\trestricted 1\n"
    events = classifier.classify(record(what="ha", resources=resources, groups=group, rules=""))
    (rule,) = [event for event in events if isinstance(event, HaRuleDefined)]
    assert (rule.form, rule.resources, rule.strict, [one.node for one in rule.nodes]) == ("group", ("vm:100",), True, ["pve1", "pve2"])
    rules = "node-affinity: one\n\tresources vm:100\n\tnodes pve1\n\nnode-affinity: two\n\tresources vm:100\n\tnodes pve2\n"
    migrated = classifier.classify(record(what="ha", resources="vm: 100\n", groups="", rules=rules))
    assert [event.subject.key for event in migrated if isinstance(event, HaRuleGone)] == ["grp"]
    assert all(event.dropped for event in migrated if isinstance(event, HaRuleDefined)), "one guest in two rules: HA drops both"


def test_ha_states() -> None:
    """A service in error, a fenced node, maintenance and disarming are told, and each one's end, also over a restart."""
    classifier = PmxcfsClassifier("pve1")
    bad = {
        "master_node": "pve2",
        "timestamp": 1,
        "node_status": {"pve3": "fence"},
        "node_request": {"pve2": {"maintenance": 1}},
        "service_status": {"vm:100": {"state": "error", "node": "pve1", "uid": "a"}},
        "disarm": {"mode": "freeze", "state": "disarmed"},
    }
    kinds = {event.kind for event in classifier.classify(record(what="manager", text=json.dumps(bad), cluster="c1"))}
    assert kinds >= {"ha.service.error", "ha.node.fencing", "ha.node.maintenance", "ha.arming", "ha.service.state", "ha.manager.state"}
    later = PmxcfsClassifier("pve1", msgpack.unpackb(msgpack.packb(classifier.memory())))
    good = {
        "master_node": "pve2",
        "timestamp": 2,
        "node_status": {"pve3": "online"},
        "service_status": {"vm:100": {"state": "stopped", "node": "pve1", "uid": "b"}},
    }
    kinds = {event.kind for event in later.classify(record(what="manager", text=json.dumps(good), cluster="c1"))}
    assert kinds >= {"ha.service.settled", "ha.node.settled", "ha.node.maintenance", "ha.arming"}


def test_local_manager() -> None:
    """Our own local manager is dead when it has services and stopped writing; idle without any it is not."""
    at = 1_795_000_000 * 1_000_000
    lrm = {
        "what": "lrm",
        "node": "pve1",
        "text": json.dumps({"state": "active", "mode": "active", "timestamp": 1_795_000_000 - 100, "results": {}}),
    }
    classifier = PmxcfsClassifier("pve1")
    assert classifier.classify(RawRecord(Source.PMXCFS, at, 1, "b", lrm)) == []
    manager = {"master_node": "pve1", "timestamp": 1, "service_status": {"vm:1": {"state": "started", "node": "pve1", "uid": "a"}}}
    classifier.classify(record(what="manager", text=json.dumps(manager), cluster="c1"))
    dead = classifier.classify(RawRecord(Source.PMXCFS, at, 1, "b", lrm))
    assert [event.kind for event in dead if event.kind.startswith("ha.lrm")] == ["ha.lrm.dead"]
    alive = classifier.classify(RawRecord(Source.PMXCFS, at - 80_000_000, 1, "b", lrm))
    assert [event.kind for event in alive if event.kind.startswith("ha.lrm")] == ["ha.lrm.alive"]


def test_cluster_files() -> None:
    """corosync.conf, ceph.conf and datacenter.cfg are told as what they define."""
    classifier = PmxcfsClassifier("pve1")
    corosync = "nodelist {\n  node {\n    name: pve1\n    nodeid: 1\n    ring0_addr: 10.0.0.1\n  }\n}\ntotem {\n  cluster_name: c1\n}\n"
    ceph = "[global]\n\tfsid = 4b5c8c0a\n\tmon_host = 10.0.3.1 10.0.3.2\n[mon.pve1]\n\tpublic_addr = 10.0.3.1\n"
    event = one(classifier.classify(record(what="file", path="corosync.conf", digest=ONE, cluster="c1", text=corosync)))
    assert isinstance(event, CorosyncDefined)
    assert [(node.node, node.addresses) for node in event.nodes] == [("pve1", ("10.0.0.1",))]
    found = one(classifier.classify(record(what="file", path="ceph.conf", digest=ONE, cluster="c1", text=ceph)))
    assert isinstance(found, CephDefined)
    assert [(monitor.name, monitor.address) for monitor in found.monitors] == [("pve1", "10.0.3.1"), ("", "10.0.3.2")]


def rrd(at: int, *entries: str) -> RawRecord:
    """Return a read of .rrd at so many seconds."""
    return RawRecord(Source.PMXCFS, 1, at * 1_000_000, "b", {"what": "rrd", "text": "".join(f"{entry}\n" for entry in entries)})


def node_entry(node: str, at: int) -> str:
    return f"pve-node-9.0/{node}:86400::{at}:0.52:16:0.03:0.001:67430420480:20000000000:0:0:98497780736:1200:1:2:3:4:0.1:2.5:1.5:0:0"


def test_status_feed() -> None:
    """A storage that the living status daemon stops telling is inactive here; a daemon that stands still is stuck, and heals."""
    classifier = PmxcfsClassifier("pve1")
    classifier.classify(record(what="member", node="pve1", online="yes", address="10.0.0.1"))
    classifier.classify(storage(b"dir: local\n\tpath /var/lib/vz\n\nnfs: nas\n\tserver h\n\texport /x\n"))
    told: list[str] = []
    for at in range(0, 400, 10):
        entries = [node_entry("pve1", 1000 + at)] if at < 200 else [node_entry("pve1", 1190)]
        entries += [f"pve-storage-9.0/pve1/local:{1000 + min(at, 190)}:10:5"]
        entries += [f"pve-storage-9.0/pve1/nas:{1000 + min(at, 60)}:10:5"] if at < 200 else []
        told += [f"{event.kind} {event.subject.key}" for event in classifier.classify(rrd(at, *entries))]
    assert "storage.active nas" in told
    assert "storage.inactive nas" in told
    assert told[-1] == "node.status.stuck pve1"
    for at in range(400, 500, 10):
        told += [
            event.kind
            for event in classifier.classify(rrd(at, node_entry("pve1", 1000 + at), f"pve-storage-9.0/pve1/local:{1000 + at}:10:5"))
        ]
    assert "node.status.alive" in told


def test_change_while_the_agent_was_down() -> None:
    """With its memory, plain data, a new classifier tells a change made meanwhile, and tells states anew."""
    classifier = PmxcfsClassifier("pve1")
    served, quorum = record(what="served", starttime="1000"), record(what="quorum", held="yes")
    for seen in (served, quorum, storage(BEFORE), record(what="file", path="ceph.conf", digest=ONE)):
        classifier.classify(seen)
    memory = msgpack.unpackb(msgpack.packb(classifier.memory()))
    later = PmxcfsClassifier("pve1", memory)
    assert isinstance(one(later.classify(served)), PmxcfsServed)
    assert isinstance(one(later.classify(quorum)), QuorumRegained)
    assert later.classify(record(what="file", path="ceph.conf", digest=ONE)) == []
    assert len(changes(later.classify(storage(AFTER)))) == 1


def test_quorum_members_files() -> None:
    """Quorum, members and other files each have their event, bad and ok; a file's first sight is no change."""
    classifier = PmxcfsClassifier("pve1")
    assert isinstance(one(classifier.classify(record(what="quorum", held="no"))), QuorumLost)
    left = one(classifier.classify(record(what="member", node="pve2", online="no", address="10.1.1.12")))
    assert isinstance(left, MemberLeft)
    assert str(left.subject) == "node/pve2"
    joined = one(classifier.classify(record(what="member", node="pve2", online="yes", address="10.1.1.12")))
    assert isinstance(joined, MemberJoined)
    assert joined.address == "10.1.1.12"
    path = {"what": "file", "path": "ha/rules.cfg", "cluster": ""}
    assert classifier.classify(record(**path, digest=ONE)) == []
    changed = one(classifier.classify(record(**path, digest=TWO)))
    assert isinstance(changed, ClusterFileChanged)
    assert (changed.path, changed.digest, str(changed.subject)) == ("ha/rules.cfg", TWO, "node/pve1")
    gone = one(classifier.classify(record(**path, digest="")))
    assert isinstance(gone, ClusterFileChanged)
    assert gone.digest is None


def test_senseless_records() -> None:
    """Whatever a record holds, nothing is raised."""
    classifier = PmxcfsClassifier("pve1")
    for fields in ({}, {"what": "?"}, {"what": "lost", "how": "?"}, {"what": "member", "node": "\n"}, {"what": "quorum"}, {"what": "file"}):
        assert classifier.classify(record(**fields)) == []


def test_many_sections_make_a_small_event() -> None:
    """An event names a bounded number of sections, and is never too long to be sent."""
    classifier = PmxcfsClassifier("pve1")
    classifier.classify(storage(b""))
    events = classifier.classify(storage(b"\n\n".join(b"dir: store%d\n\tpath /x" % number for number in range(500))))
    assert len(changes(events)[0].added) == 64
    assert len([event for event in events if isinstance(event, StorageDefined)]) == 500


def test_backup_jobs() -> None:
    """A job is told with the guests of its pool; again when the pool changes; its end also after a restart, and nobody's user is told."""
    jobs = "vzdump: backup-1\n\tschedule 22:30\n\tstorage nas\n\tpool web\n"
    classifier = PmxcfsClassifier("pve1")
    first = one(classifier.classify(record(what="jobs", jobs=jobs, user="user:secret@pam:1:0:\npool:web::100,200::\n", offset="120")))
    assert isinstance(first, BackupJobDefined)
    assert (first.subject.key, first.schedule, first.storage, first.guests) == ("backup-1", "22:30", "nas", ("100", "200"))
    assert (first.utc_offset, first.enabled, first.everything) == (120, True, False)
    assert "secret" not in first.model_dump_json()
    assert classifier.classify(record(what="jobs", jobs=jobs, user="pool:web::200,100::\n", offset="120")) == []
    again = one(classifier.classify(record(what="jobs", jobs=jobs, user="pool:web::100::\n", offset="120")))
    assert isinstance(again, BackupJobDefined)
    assert again.guests == ("100",)
    gone = one(PmxcfsClassifier("pve1", classifier.memory()).classify(record(what="jobs", jobs="", user="", offset="120")))
    assert isinstance(gone, BackupJobGone)


def test_an_inactive_storage_is_said_again() -> None:
    """Each minute while it lasts, since a controller forgets it after 90 s; not when it is active or its daemon stands still."""
    classifier, said = PmxcfsClassifier("pve1"), list[tuple[int, str]]()
    classifier.classify(record(what="member", node="pve1", online="yes", address="10.0.0.1"))
    classifier.classify(storage(b"dir: local\n\tpath /var/lib/vz\n\nnfs: nas\n\tserver h\n\texport /x\n"))
    for at in range(0, 900, 10):
        alive = 1000 + min(at, 600)
        entries = (node_entry("pve1", alive), f"pve-storage-9.0/pve1/local:{alive}:10:5", "pve-storage-9.0/pve1/nas:1000:10:5")
        events = classifier.classify(dataclasses.replace(rrd(at, *entries), at=at * 1_000_000))
        said += [(at, f"{event.kind} {event.subject.key}") for event in events if event.kind.startswith("storage.")]
    times = [at for at, what in said if what == "storage.inactive nas"]

    assert [later - at for at, later in pairwise(times)] == [60] * (len(times) - 1)
    assert times[0] < 60
    assert 540 < times[-1] <= 640
    assert [what for _, what in said if what.startswith("storage.active")] == ["storage.active local", "storage.active nas"]


def test_what_was_told_as_dead_is_taken_back_after_a_restart() -> None:
    """A stuck status daemon and a dead local manager: the next agent says once that they work again, or that they still do not."""
    second, start = 1_000_000, 1_795_000_000

    def take(made: PmxcfsClassifier, since: int, feed: int, written: int) -> list[str]:
        """Look for a minute at a status feed and at a local manager's status that were written last at these times."""
        manager = {"master_node": "pve1", "timestamp": 1, "service_status": {"vm:1": {"state": "started", "node": "pve1", "uid": "a"}}}
        records = [record(what="member", node="pve1", online="yes", address="10.0.0.1")]
        for at in range(since, since + 60, 10):
            entry = f"{node_entry('pve1', min(at, feed))}\n"
            lrm = json.dumps({"state": "active", "mode": "active", "timestamp": start + min(at, written), "results": {}})
            restless = [{"what": "rrd", "text": entry}, {"what": "lrm", "node": "pve1", "text": lrm}]
            if at > since:
                restless.insert(0, {"what": "manager", "text": json.dumps(manager), "cluster": "c1"})
            records += [RawRecord(Source.PMXCFS, (start + at) * second, at * second, "b", fields) for fields in restless]
        events = [event for one in records for event in made.classify(one)]
        return [event.kind for event in events if event.kind.startswith(("node.status", "ha.lrm"))]

    made = PmxcfsClassifier("pve1")
    assert sorted([*take(made, 1000, 1010, 900), *take(made, 1060, 1010, 900)]) == ["ha.lrm.dead", "node.status.stuck"]
    memory = msgpack.packb(made.memory())
    still, better = (PmxcfsClassifier("pve1", msgpack.unpackb(memory)) for _ in range(2))

    assert sorted(take(still, 1300, 1010, 900)) == ["ha.lrm.dead", "node.status.stuck"]
    assert sorted(take(better, 1300, 9999, 9999)) == ["ha.lrm.alive", "node.status.alive"]
    assert take(PmxcfsClassifier("pve1", msgpack.unpackb(msgpack.packb(better.memory()))), 1400, 9999, 9999) == []
