"""Trees recorded on a real node (tests/samples/hosts): what is said of them is what multipath, vgs and ip said there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.classify.host import HostClassifier
from agent.classify.journald import JournalClassifier
from agent.record import RawRecord
from agent.sources.host import look
from agent.sources.sysfs import inventory
from events.base import Event, Source
from events.host import NodeIscsi, NodeMounts, NodeMultipath, NodeNetworks, NodeVolumes

SAMPLES = Path(__file__).parents[2] / "samples/hosts"
TREES = ("good", "degraded", "gone", "rebooted", "swapped")
IQN = "iqn.2005-10.org.freenas.ctl:pve-cluster"
LUN0, LUN1, LUN2, LUN3 = (
    "3600140572d9224762e54785bb434709f",
    "36001405bd7332bf2bbc4f8a820bfcec3",
    "36001405113dfd418a234a62bb8be1142",
    "360014057e785ae3fd0f4134a2ba74026",
)


def told(made: HostClassifier, tree: str) -> dict[str, Event]:
    """Return what a classifier says of a tree, by kind."""
    events = [event for fields in look(SAMPLES / tree) for event in made.classify(RawRecord(Source.HOST, 1, 1, "boot", fields))]
    return {event.kind: event for event in events}


def groups(event: Event) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """Return completeness and LUNs of each volume group."""
    assert isinstance(event, NodeVolumes)
    return {one.name: (one.complete, one.luns) for one in event.groups}


def test_sessions_with_their_luns_and_records() -> None:
    """Two sessions through two portals, each with the LUNs as `multipath -ll` named them, and what logs in at boot."""
    event = told(HostClassifier("pve1"), "good")["node.iscsi"]
    assert isinstance(event, NodeIscsi)

    assert event.initiator == "iqn.1993-08.org.debian:01:pve1"
    assert [(one.number, one.target, one.portal, one.state, set(one.luns)) for one in event.sessions] == [
        (1, IQN, "10.1.2.1:3260", "LOGGED_IN", {LUN0, LUN1, LUN2, LUN3}),
        (2, IQN, "10.1.1.1:3260", "LOGGED_IN", {LUN0, LUN1, LUN2, LUN3}),
    ]
    assert [(one.portal, one.startup) for one in event.records] == [("10.1.1.1:3260", "automatic"), ("10.1.2.1:3260", "manual")]


def test_maps_with_their_paths() -> None:
    """Each map's paths with portal and WWID; then one portal is logged out and multipathd stopped."""
    made = HostClassifier("pve1")
    event = told(made, "good")["node.multipath"]
    assert isinstance(event, NodeMultipath)
    less = told(made, "degraded")["node.multipath"]
    assert isinstance(less, NodeMultipath)

    assert (event.running, less.running) == (True, False)
    assert {one.name: one.wwid for one in event.maps} == {"mpatha": LUN0, "mpathb": LUN2, "mpathc": LUN1}
    assert [(path.device, path.state, path.portal, path.wwid) for path in event.maps[0].paths] == [
        ("sda", "running", "10.1.2.1:3260", LUN0),
        ("sdb", "running", "10.1.1.1:3260", LUN0),
    ]
    assert [[path.portal for path in one.paths] for one in less.maps] == [["10.1.1.1:3260"]] * 3


def test_groups_with_and_without_active_volumes() -> None:
    """The local group has no LUN; one without active volumes is known from LVM's backup; one lies on a disk without multipath."""
    event = told(HostClassifier("pve1"), "good")["node.volumes"]

    assert groups(event) == {
        "pve": (True, ()),
        "vg-idle": (True, tuple(sorted((LUN1, LUN2)))),
        "vg-iscsi": (True, (LUN0,)),
        "vg-single": (True, (LUN3,)),
    }
    assert event.seen.excerpt == "vg-idle: by its backup of 2026-11-23; vg-single: by its backup of 2026-11-23"


def test_groups_whose_luns_are_gone_still_name_them() -> None:
    """All sessions logged out: the groups are incomplete, and where they were is remembered, also across a restart of the agent."""
    before = HostClassifier("pve1")
    told(before, "good")
    after = told(HostClassifier("pve1", before.memory()), "gone")
    sessions = after["node.iscsi"]
    assert isinstance(sessions, NodeIscsi)

    assert groups(after["node.volumes"]) == {
        "pve": (True, ()),
        "vg-idle": (False, tuple(sorted((LUN1, LUN2)))),
        "vg-iscsi": (False, (LUN0,)),
        "vg-single": (False, (LUN3,)),
    }
    assert "vg-idle: 2 of 2 disks missing by its backup of 2026-11-23" in after["node.volumes"].seen.excerpt
    assert sessions.sessions == ()


def test_a_degraded_node_keeps_its_groups() -> None:
    """One path fewer changes no volume group, though udev has forgotten the ids of the disks meanwhile: nothing is said of them."""
    made = HostClassifier("pve1")
    told(made, "good")

    assert set(told(made, "degraded")) == {"node.iscsi", "node.multipath"}


def test_a_missing_lun_makes_its_group_incomplete() -> None:
    """After a reboot without LUN 2, as `vgs` said: vg-idle is partial; the other shared group is whole."""
    event = told(HostClassifier("pve1"), "rebooted")["node.volumes"]
    found = groups(event)

    assert [(name, found[name][0], len(found[name][1])) for name in ("pve", "vg-idle", "vg-iscsi")] == [
        ("pve", True, 0),
        ("vg-idle", False, 1),
        ("vg-iscsi", True, 1),
    ]
    assert "vg-idle: 1 of 2 disks missing" in event.seen.excerpt


def test_a_lun_exchanged_under_a_live_map_shows() -> None:
    """`multipath -ll` said `active ready` and the old WWID; both disks say that they are another LUN. The groups keep theirs."""
    made = HostClassifier("pve1")
    before = told(made, "rebooted")
    after = told(made, "swapped")
    event = after["node.multipath"]
    assert isinstance(event, NodeMultipath)
    foreign = {one.name: [path.wwid != one.wwid for path in one.paths] for one in event.maps}

    assert sorted(foreign.values()) == [[False, False], [True, True]]
    assert "node.volumes" in before
    assert "node.volumes" not in after


def test_networks_as_ip_shows_them() -> None:
    """Bridge, VLAN with two addresses, storage networks with large frames, an interface that is down, a route with two next hops."""
    event = told(HostClassifier("pve1"), "good")["node.networks"]
    assert isinstance(event, NodeNetworks)
    known = {one.name: one for one in event.interfaces}

    assert known["vmbr0.30"].addresses == ("10.1.3.11/24", "10.1.3.12/24")
    assert "2001:db8:7::11/64" in known["vmbr0"].addresses
    assert (known["stor1"].mtu, known["stor1"].up, known["spare"].up) == (9000, True, False)
    assert set(known) == {"lo", "spare", "stor1", "stor2", "vmbr0", "vmbr0.30"}  # bond0 has a link-local address only
    assert [(one.destination, one.interface, one.gateway) for one in event.routes[:5]] == [
        ("0.0.0.0/0", "vmbr0", "192.168.7.1"),
        ("::/0", "vmbr0", "fe80::2"),
        ("10.20.0.0/16", "vmbr0.30", "10.1.3.1"),
        ("10.21.0.0/16", "stor1", "10.1.1.2"),
        ("10.21.0.0/16", "stor2", "10.1.2.2"),
    ]


def test_the_same_routes_without_what_ip_recorded(tmp_path: Path) -> None:
    """/proc/net alone gives the same, but of a route with several next hops the first only."""
    tree = tmp_path / "good"
    subprocess.run(["cp", "-r", str(SAMPLES / "good"), str(tree)], check=True)
    full = told(HostClassifier("pve1"), "good")["node.networks"]
    (tree / "ip-route.json").unlink()
    less = told(HostClassifier("pve1"), str(tree))["node.networks"]
    assert isinstance(full, NodeNetworks)
    assert isinstance(less, NodeNetworks)

    assert less.interfaces == full.interfaces
    assert [one for one in full.routes if one not in less.routes] == [one for one in full.routes if one.gateway == "10.1.2.2"]


def test_mounts_over_automounts_and_what_fstab_mounts() -> None:
    """NFS v3 and v4 with blanks in names, over autofs; a bind mount over a tmpfs; no password of fstab."""
    event = told(HostClassifier("pve1"), "good")["node.mounts"]
    assert isinstance(event, NodeMounts)

    assert [(one.target, one.source, one.type) for one in event.mounted if one.target != "/share"] == [
        ("/", "/dev/vda", "ext4"),
        ("/mnt/iso store", "10.1.3.1:/export/iso", "nfs"),
        ("/mnt/pve/nas-vm", "10.1.3.1:/export/pve", "nfs4"),
        ("/srv/sub", "10.1.3.1:/export/pve/sub", "nfs4"),
        ("/srv/twice", "/dev/vda", "ext4"),
    ]
    assert [(one.target, one.type) for one in event.configured] == [
        ("/", "ext4"),
        ("/mnt/iso store", "nfs"),
        ("/mnt/office", "cifs"),
        ("/srv/sub", "none"),
    ]


@pytest.mark.parametrize("tree", TREES)
def test_the_journal_gets_its_joins_from_the_same_files(tree: str) -> None:
    """Each session that is logged in is told as established, and a line that names a session only is joined to its portal."""
    made = JournalClassifier("pve1")
    found = inventory(SAMPLES / tree / "sys")
    events = [event for fields in found for event in made.classify(RawRecord(Source.ISCSI, 1, 1, "boot", fields))]
    numbers = [fields["session"] for fields in found if fields["what"] == "session"]

    assert [event.kind for event in events] == ["iscsi.session.established"] * len(numbers)
    for number in numbers:
        line = {"MESSAGE": f" connection{number}:0: detected conn error (1022)", "_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "kernel"}
        (lost,) = made.classify(RawRecord(Source.JOURNALD, 1, 1, "boot", line))
        assert lost.subject.key in {"10.1.1.1:3260", "10.1.2.1:3260"}


def test_no_sample_holds_a_secret() -> None:
    """The laboratory's passwords are in none of the files, nor any line of open-iscsi's records but how it starts."""
    texts = {path: path.read_text(errors="replace") for tree in TREES for path in (SAMPLES / tree).rglob("*") if path.is_file()}

    assert not [path for path, text in texts.items() if "hunter2" in text or "firstsecret" in text]
    assert {text.partition("=")[0].strip() for path, text in texts.items() if "iscsi/nodes" in str(path)} == {"node.startup"}


def test_the_recorder_copies_what_a_look_reads(tmp_path: Path) -> None:
    """A tree that record.sh makes here and now tells the same of this machine as a look at the machine itself."""
    subprocess.run([str(SAMPLES / "record.sh"), str(tmp_path / "copy")], check=True, capture_output=True, timeout=60)
    here = {fields["what"]: fields for fields in look(Path("/"))}
    copied = {fields["what"]: fields for fields in look(tmp_path / "copy")}

    def event(fields: dict[str, str]) -> str:
        (one,) = HostClassifier("pve1").classify(RawRecord(Source.HOST, 1, 1, "boot", fields))
        return one.model_dump_json(exclude={"seen"})

    assert event(copied["networks"]) == event(here["networks"])
    assert event(copied["iscsi"]) == event(here["iscsi"])
    assert event(copied["volumes"]) == event(here["volumes"])
