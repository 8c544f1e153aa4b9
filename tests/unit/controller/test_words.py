"""Things, signs and faults in words: nobody who reads a verdict has to know the vocabulary's names."""

from __future__ import annotations

import pytest

from controller.core.inference.saying import DIRECT_CAUSES
from controller.core.words import OTHER, counted, fault, listed, sign, thing
from events.base import State
from events.entity import EntityKind
from events.vocabulary import KINDS

FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"
_UNSAID = {EntityKind.HA_RULE, EntityKind.BACKUP_JOB}
"""What no incident is about."""


@pytest.mark.parametrize("kind", sorted(set(EntityKind) - _UNSAID))
def test_every_kind_of_thing_has_a_name_in_words(kind: EntityKind) -> None:
    """No name is the entity's own text with a separator."""
    assert "/" not in thing(f"{kind.value}/x/y").replace("x/y", "")
    assert not thing(f"{kind.value}/x").startswith(f"{kind.value}/")


def test_every_question_has_words_for_both_answers() -> None:
    """Whatever an event may say is bad or well is said in words of its own."""
    aspects = {one.aspect for one in KINDS.values() if one.model_fields["state"].default in {State.BAD, State.OK}}
    asked = {(kind.value, aspect) for kind in EntityKind for aspect in aspects} | set(DIRECT_CAUSES)

    for kind, aspect in asked:
        for number, bad in ((0, True), (1, False)):
            assert sign(f"{kind}/x", aspect, bad=bad) != OTHER[number].format(it=thing(f"{kind}/x"))


@pytest.mark.parametrize(
    ("entity", "aspect", "bad", "words"),
    [
        ("nfs-server/10.1.3.1", "reach", True, "does not reach NFS server 10.1.3.1"),
        ("ceph-mon/f/a", "reach", True, "gets no word from Ceph monitor mon.a"),
        ("iscsi-portal/10.1.1.1:3260", "session", False, "keeps its session over iSCSI portal 10.1.1.1:3260"),
        (f"ceph/{FSID}", "quorum", True, "gets no answer from the monitors of the Ceph cluster 4b5c8c0a"),
        ("path/pve1/mpatha/8:16", "path", True, "lost a path of pve1 to mpatha/8:16"),
        ("node/pve3", "member", False, "sees node pve3 in the cluster"),
        ("strange/thing", "new", True, "finds trouble with strange thing"),
    ],
)
def test_signs_are_the_rest_of_a_sentence_about_a_node(entity: str, aspect: str, bad: bool, words: str) -> None:
    """Each begins with a verb and ends with the thing's name."""
    assert sign(entity, aspect, bad=bad) == words


@pytest.mark.parametrize(
    ("cause", "entity", "scope", "words"),
    [
        ("nfs-server-down", "nfs-server/10.1.3.1", "", "NFS server 10.1.3.1 does not answer"),
        ("nfs-slow", "nfs-export/10.1.3.1:/export/vm", "", "NFS export 10.1.3.1:/export/vm is slow"),
        ("nfs-stale-handle", "nfs-export/nas:/vm", "", "File handles of NFS export nas:/vm went stale"),
        ("nfs-export-denied", "nfs-server/nas", "", "NFS server nas refuses several of its exports"),
        ("node-storage-network", "node/pve1", "nfs-server/nas", "Node pve1 lost its way to NFS server nas"),
        ("ceph-osd-down", "ceph-osd/f/3", "", "Ceph osd.3 is down"),
        ("ceph-full", f"ceph/{FSID}", "", "The Ceph cluster 4b5c8c0a is full: writes stop"),
        ("ceph-mon-quorum", "ceph-mon/f/a", "", "Ceph monitor mon.a is out of quorum"),
        ("lun-wwid-conflict", "multipath-map/pve1/mpatha", "", "The identity of multipath device mpatha of pve1 conflicts"),
        (
            "storage-config-changed",
            "storage/nas",
            "",
            "Storage nas was changed in storage.cfg, and what it now names does not answer",
        ),
        ("quite-new", "node/pve1", "", "quite-new: node pve1"),
        ("unexplained", "storage/nas", "", "Trouble with storage nas that no known cause explains"),
    ],
)
def test_faults_are_whole_sentences(cause: str, entity: str, scope: str, words: str) -> None:
    """What broke is called what it is, also where a cause is of another kind of thing than usual."""
    assert fault(cause, entity, scope) == words


def test_numbers_and_lists_read_well() -> None:
    """One guest is not "1 guests", and a list of many ends."""
    assert [counted(number, "guest") for number in (0, 1, 2)] == ["0 guests", "1 guest", "2 guests"]
    assert listed(["a", "b", "c"], 2) == "a, b and 1 more"
