"""Volume groups of storage.cfg on recorded hosts: as root reads them, and as the agent's own user does, who may not read LVM's files."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from agent.classify.lvm_probe import LvmClassifier
from agent.record import RawRecord
from agent.sources.configured import Configured
from agent.sources.looking import LookingSource
from agent.sources.lvm import Groups, lvm_looks, without_likes
from events.base import Event, Source
from events.block import LvmVgMissing
from tests.vanishing import vanishing

HOSTS = Path(__file__).parents[2] / "samples/hosts"
SECOND = 1_000_000
LUN0 = "3600140572d9224762e54785bb434709f"
SWAPPED = "36001405404bd82949e04651b7bf94f20"
ROOT_ONLY = ("run/lvm", "etc/lvm")
DISK = "sys/class/iscsi_session/session{}/device/target{}:0:0/{}:0:0:{}/state"


class Node:
    """A node that is looked at as one recorded host after another; a look each five seconds."""

    def __init__(self, where: Path, *groups: str, base: str = "", memory: dict[str, Any] | None = None) -> None:
        self.where = where
        extra = f"\tbase {base}\n" if base else ""
        text = "".join(f"lvm: store-{vg}\n\tvgname {vg}\n{extra}\tshared 1\n\n" for vg in groups)
        where.mkdir(exist_ok=True)
        (where / "storage.cfg").write_text(text, encoding="utf-8")
        self.made = LvmClassifier("pve1", memory)
        self.at = 1_790_000_000 * SECOND
        self.ahead = 0
        """µs by which the clock was set forward."""
        self._groups: dict[Path, Groups] = {}

    def host(self, name: str, *, root: bool = True) -> Path:
        """Return a copy of a recorded host, with or without what only root may read."""
        made = self.where / f"{name}-{root}"
        shutil.copytree(HOSTS / name, made)
        for path in () if root else ROOT_ONLY:
            shutil.rmtree(made / path, ignore_errors=True)
        return made

    def look(self, host: Path, times: int = 1, after: int = 5) -> dict[str, Event]:
        """Look some times; return the last word on each group."""
        groups = self._groups.setdefault(host, Groups(Configured(self.where, "pve1"), host))
        said: dict[str, Event] = {}
        for _ in range(times):
            self.at += after * SECOND
            fields = {"look": "groups", "found": json.dumps(groups.look().picture)}
            record = RawRecord(Source.LVM, self.at + self.ahead, self.at, "boot", fields)
            said |= {event.subject.key: event for event in self.made.classify(record)}
        return said


def kinds(said: dict[str, Event]) -> dict[str, str]:
    """Return the kinds by group."""
    return {vg: event.kind for vg, event in said.items()}


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Return a node whose storage.cfg wants all groups of the recorded host."""
    return Node(tmp_path / "pve", "vg-iscsi", "vg-idle", "vg-single", "pve")


COMPLETE, MISSING = "lvm.vg.complete", "lvm.vg.missing"


def test_groups_that_are_there_are_complete(node: Node) -> None:
    """With root's rights all four are, also those without any active volume; the first look says so and the next ones nothing."""
    host = node.host("good")

    assert kinds(node.look(host)) == dict.fromkeys(("vg-iscsi", "vg-idle", "vg-single", "pve"), COMPLETE)
    assert node.look(host, times=10) == {}


def test_without_rights_only_what_shows_is_said(node: Node) -> None:
    """Groups with active volumes are complete, of the others nothing is claimed."""
    assert kinds(node.look(node.host("good", root=False), times=100)) == dict.fromkeys(("vg-iscsi", "pve"), COMPLETE)


@pytest.mark.parametrize("root", [True, False])
def test_a_group_whose_lun_goes_is_missing_within_two_looks(node: Node, root: bool) -> None:
    """All sessions logged out: said at the second sight, with the LUN's name and how many are missing."""
    node.look(node.host("good", root=root))
    gone = node.host("gone", root=root)
    assert node.look(gone) == {}
    said = node.look(gone)["vg-iscsi"]

    assert isinstance(said, LvmVgMissing)
    assert (said.missing, said.reason) == (1, f"LUN {LUN0} is not on this node")


def test_what_a_group_lay_on_is_remembered_over_a_restart(node: Node, tmp_path: Path) -> None:
    """The agent was started anew while the LUN was away: it is missed as soon as a boot's logins would be over."""
    node.look(node.host("good", root=False))
    anew = Node(tmp_path / "anew", "vg-iscsi", memory=json.loads(json.dumps(node.made.memory())))
    gone = anew.host("gone", root=False)

    assert kinds(anew.look(gone, times=20)) == {}
    assert kinds(anew.look(gone, times=6)) == {"vg-iscsi": MISSING}


MOVED_FROM = {"volumes": {}, "groups": {"vg-iscsi": [SWAPPED], "vg-idle": [SWAPPED]}}
"""Where two groups were before another node moved them: a LUN that is not on the host `good`."""


def test_a_group_that_was_moved_is_complete_where_its_volumes_are_active(tmp_path: Path) -> None:
    """Another node moved it to a new LUN, and the old one was taken away: that it once lay there is no fault, also of this node."""
    node = Node(tmp_path / "pve", "vg-iscsi", memory=MOVED_FROM)

    assert kinds(node.look(node.host("good", root=False), times=30)) == {"vg-iscsi": COMPLETE}
    assert node.made.memory()["groups"] == {"vg-iscsi": [LUN0]}


def test_a_group_that_was_moved_is_complete_where_pvscan_found_it_so(tmp_path: Path) -> None:
    """The same of a group without active volumes: udev has pvscan's word of its new disks; without it the old LUN is missed."""
    node = Node(tmp_path / "pve", "vg-idle", memory=MOVED_FROM)
    host = node.host("good", root=False)
    assert kinds(node.look(host, times=30)) == {"vg-idle": MISSING}
    for name in ("b253:1", "b253:2"):
        with (host / "run/udev/data" / name).open("a", encoding="utf-8") as file:
            file.write("E:LVM_VG_NAME_COMPLETE=vg-idle\n")
    told = Node(tmp_path / "told", "vg-idle", memory=MOVED_FROM)

    assert kinds(told.look(host, times=30)) == {"vg-idle": COMPLETE}


def test_a_disk_that_is_gone_below_an_active_volume_is_missed(node: Node) -> None:
    """The kernel goes on to name the disk below a volume, and not its LUN: that one is remembered."""
    node.look(node.host("good", root=False))
    gone = node.host("gone", root=False)
    active = gone / "sys/class/block/dm-9"
    shutil.copytree(node.where / "good-False/sys/class/block/dm-9", active)

    assert kinds(node.look(gone, times=2))["vg-iscsi"] == MISSING


def test_a_clock_that_is_set_is_no_patience(node: Node, tmp_path: Path) -> None:
    """A node boots, and its clock is put right by a day: its logins have the rest of their time."""
    node.look(node.host("good", root=False))
    anew = Node(tmp_path / "anew", "vg-iscsi", memory=json.loads(json.dumps(node.made.memory())))
    gone = anew.host("gone", root=False)
    anew.look(gone)
    anew.ahead = 86_400 * SECOND

    assert kinds(anew.look(gone, times=20)) == {}
    assert kinds(anew.look(gone, times=6)) == {"vg-iscsi": MISSING}


def test_a_lost_path_leaves_a_group_complete(node: Node) -> None:
    """One session less: two groups are still whole, though udev has forgotten their physical volumes."""
    node.look(node.host("good"))
    said = node.look(node.host("degraded"), times=3)

    assert "vg-iscsi" not in said
    assert "vg-idle" not in said


def test_a_disk_that_does_not_run_makes_its_group_missing(node: Node) -> None:
    """The only path of vg-single was set offline when `degraded` was recorded; it came back, and so does the group."""
    node.look(node.host("good"))
    degraded = node.host("degraded")
    assert node.look(degraded, times=2)["vg-single"].kind == MISSING
    (degraded / DISK.format(2, 3, 3, 3)).write_text("running\n", encoding="ascii")

    assert kinds(node.look(degraded)) == {"vg-single": COMPLETE}


def test_a_blocked_disk_is_still_there(node: Node) -> None:
    """A session that recovers holds I/O for a moment: that is its path's matter."""
    host = node.host("good", root=False)
    node.look(host)
    for session, number in ((1, 2), (2, 3)):
        (host / DISK.format(session, number, number, 0)).write_text("blocked\n", encoding="ascii")

    assert node.look(host, times=5) == {}


def test_a_lun_that_was_exchanged_makes_its_group_missing(node: Node) -> None:
    """The map stands, both of its paths run and lead to another LUN: the group's LUN is not on this node."""
    node.look(node.host("rebooted", root=False))
    said = node.look(node.host("swapped", root=False), times=2)["vg-iscsi"]

    assert isinstance(said, LvmVgMissing)
    assert said.reason == f"LUN {SWAPPED} is not on this node"


def test_a_partial_group_is_missing(node: Node) -> None:
    """After a reboot without one of two LUNs `vgs` called vg-idle partial; said once a boot's logins would be over."""
    rebooted = node.host("rebooted")

    assert "vg-idle" not in node.look(rebooted, times=10)
    said = node.look(rebooted, times=30)["vg-idle"]
    assert isinstance(said, LvmVgMissing)
    assert said.reason.startswith("incomplete: 1 of 2 disks missing")


def test_a_group_that_no_disk_can_hold_is_not_found(tmp_path: Path) -> None:
    """A shared group, never seen here, and every LUN of the node holds another one: said, but not while the node may still boot."""
    node = Node(tmp_path / "pve", "vg-elsewhere")
    host = node.host("good")

    assert node.look(host, times=20) == {}
    assert kinds(node.look(host, times=10)) == {"vg-elsewhere": MISSING}


def test_a_group_that_an_unknown_disk_may_hold_is_not_judged(tmp_path: Path) -> None:
    """Without rights it is not known what lies on three LUNs: nothing is said for ever."""
    node = Node(tmp_path / "pve", "vg-elsewhere")

    assert node.look(node.host("good", root=False), times=100) == {}


def test_the_lun_that_proxmox_made_a_group_on_is_known(tmp_path: Path) -> None:
    """`base` names it: a group of which nothing else shows is there while its LUN is."""
    node = Node(tmp_path / "pve", "vg-elsewhere", base=f"iscsi-store:0.0.0.scsi-{LUN0}")

    assert kinds(node.look(node.host("good", root=False))) == {"vg-elsewhere": COMPLETE}
    assert kinds(node.look(node.host("gone", root=False), times=3)) == {"vg-elsewhere": MISSING}


def test_what_is_missing_is_said_again_each_minute(node: Node) -> None:
    """A controller may forget what is not renewed; and all is said again when it asks."""
    node.look(node.host("good", root=False))
    gone = node.host("gone", root=False)
    node.look(gone, times=3)
    assert [kinds(node.look(gone)).get("vg-iscsi") for _ in range(24)].count(MISSING) == 2
    node.made.repeat()

    assert kinds(node.look(gone)) == {"vg-iscsi": MISSING}


def test_a_group_that_nobody_wants_any_more_is_left_alone(node: Node) -> None:
    """Its storage was taken out of storage.cfg: no word, also when its LUN goes; storages of other types are none of ours."""
    node.look(node.host("good"))
    (node.where / "storage.cfg").write_text("nfs: nas\n\tserver 10.1.3.1\n\texport /a\n\tpath /mnt/pve/nas\n", encoding="utf-8")

    assert node.look(node.host("gone"), times=3) == {}


def test_no_group_is_wanted_where_there_is_no_storage_cfg(tmp_path: Path) -> None:
    """A node without Proxmox VE: one cheap look, and nothing."""
    groups = Groups(Configured(tmp_path / "none", "pve1"), HOSTS / "good")

    assert groups.look().picture == {"wanted": [], "denied": [], "volumes": None}
    assert LvmClassifier("pve1").classify(RawRecord(Source.LVM, 1, 1, "b", {"look": "groups", "hung": "9"})) == []


def test_what_vanishes_while_it_is_read_is_no_error(tmp_path: Path) -> None:
    """Volumes, disks and LVM's own files may go between two reads of them: the look ends, and its records can be judged."""
    node = Node(tmp_path / "node", "vg-san", "vg-other")
    host = node.host("good")
    sys = host / "sys/class"
    places = [*sorted((sys / "block").glob("dm-*")), *sorted((sys / "iscsi_session").iterdir()), host / "run/udev", host / "etc/lvm"]
    groups = Groups(Configured(node.where, "pve1"), host, scan=0)
    with vanishing(places, tmp_path / "away"):
        for _ in range(50):
            fields = {"look": "groups", "found": json.dumps(groups.look().picture)}
            node.at += SECOND
            node.made.classify(RawRecord(Source.LVM, node.at, node.at, "boot", fields))


def test_a_thousand_volumes_are_one_row_for_each_place() -> None:
    """Volumes of one group on the same disks are told once, those below others all."""
    uuid = "LVM-" + "a" * 32
    rows = [
        {"what": "block", "name": f"dm-{number}", "dev": "", "dm": f"vg-vm{number}", "uuid": f"{uuid}{number:032}", "slaves": "sda"}
        for number in range(1000)
    ]
    rows.append({"what": "block", "name": "dm-1000", "dev": "", "dm": "vg-thin", "uuid": f"{uuid}{'t' * 32}", "slaves": "dm-7 dm-8"})

    assert [row["name"] for row in without_likes(rows)] == ["dm-0", "dm-7", "dm-8", "dm-1000"]


def test_the_source_tells_its_look(node: Node) -> None:
    """Over the real frame, with storage.cfg read in its own time."""
    source = LookingSource(Source.LVM, lvm_looks(Configured(node.where, "pve1"), root=HOSTS / "good"))
    end, found = time.monotonic() + 20, ""
    while not found and time.monotonic() < end:
        batch = source.read_batch(timeout=0.2)
        found = batch.records[0].fields["found"] if batch else ""
    source.close()

    assert {row["vg"] for row in json.loads(found)["wanted"]} == {"vg-iscsi", "vg-idle", "vg-single", "pve"}
