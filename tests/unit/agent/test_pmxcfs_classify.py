import msgpack

from agent.classify.pmxcfs import PmxcfsClassifier, sections
from agent.record import RawRecord
from agent.sources.pmxcfs_look import outline
from events.base import Event, Source
from events.cluster import (
    ClusterFileChanged,
    MemberJoined,
    MemberLeft,
    PmxcfsLost,
    PmxcfsServed,
    QuorumLost,
    QuorumRegained,
    StorageConfigChanged,
)

BEFORE = b"""dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl

nfs: nas
\tserver 10.1.3.1
\texport /a

cifs: office
\tpassword hunter2
"""
AFTER = b"dir: local\n\tcontent vztmpl,iso\n\tpath /var/lib/vz\n\ncifs: office\n\tpassword hunter3\n\nlvm: vg\n\tvgname vg-iscsi\n"
ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


def record(**fields: str) -> RawRecord:
    return RawRecord(Source.PMXCFS, 1, 1, "b", fields)


def storage(data: bytes, digest: str, cluster: str = "c1") -> RawRecord:
    return record(what="file", path="storage.cfg", digest=digest, cluster=cluster, outline=outline(data))


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


def test_storage_change_names_sections_only() -> None:
    """A change names which sections came, went and differ, and shows no value; order of lists and lines is no change."""
    classifier = PmxcfsClassifier("pve1")
    assert classifier.classify(storage(BEFORE, ONE)) == []
    event = one(classifier.classify(storage(AFTER, TWO)))
    assert isinstance(event, StorageConfigChanged)
    assert (event.added, event.removed, event.changed) == (("vg",), ("nas",), ("office",))
    assert (event.digest, event.previous, str(event.subject)) == (TWO, ONE, "cluster/c1")
    assert "hunter" not in event.model_dump_json()
    assert "hunter" not in str(classifier.memory())


def test_change_while_the_agent_was_down() -> None:
    """With its memory, plain data, a new classifier tells a change made meanwhile, and tells states anew."""
    classifier = PmxcfsClassifier("pve1")
    served, quorum = record(what="served", starttime="1000"), record(what="quorum", held="yes")
    for seen in (served, quorum, storage(BEFORE, ONE), record(what="file", path="ceph.conf", digest=ONE)):
        classifier.classify(seen)
    memory = msgpack.unpackb(msgpack.packb(classifier.memory()))
    later = PmxcfsClassifier("pve1", memory)
    assert isinstance(one(later.classify(served)), PmxcfsServed)
    assert isinstance(one(later.classify(quorum)), QuorumRegained)
    assert later.classify(record(what="file", path="ceph.conf", digest=ONE)) == []
    assert isinstance(one(later.classify(storage(AFTER, TWO))), StorageConfigChanged)


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


def test_sections_as_pve_reads_them() -> None:
    """Only a really empty line, or one that is 0, ends a section: headers without one before them belong to the section above."""
    assert list(sections("dir: a\n\tx\n\nnfs: b\n\ty\n")) == ["a", "b"]
    assert list(sections("dir: a\n\tx\nnfs: b\n\ty\n")) == ["a"]
    assert list(sections("dir: a\n\tx\n0\nnfs: b\n")) == ["a", "b"]
    assert list(sections("dir: a\n \nnfs: b\n")) == ["a"]
    assert sections("dir: a\n\tx\n\ndir: a\n\ty\n") == sections("dir: a\n\ty\n")
    assert sections("") == {}


def test_many_sections_make_a_small_event() -> None:
    """An event names a bounded number of sections."""
    classifier = PmxcfsClassifier("pve1")
    classifier.classify(storage(b"", ONE))
    event = one(classifier.classify(storage(b"\n\n".join(b"dir: store%d" % number for number in range(500)), THREE)))
    assert isinstance(event, StorageConfigChanged)
    assert len(event.added) == 64
