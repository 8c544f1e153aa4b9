"""What the multipath source reads of a node: recorded trees, and copies of them that change between two looks."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.sources.inquiry import Inquiry
from agent.sources.looking import LookingSource
from agent.sources.multipath import Paths, identities, multipath_looks
from events.base import Source
from tests.vanishing import vanishing

SAMPLES = Path(__file__).parents[2] / "samples"
HOSTS, PAGES = SAMPLES / "hosts", SAMPLES / "multipath"
LUN0 = "3600140572d9224762e54785bb434709f"
LEG = "sys/class/block/dm-0/slaves/sda"
SESSION = "sys/class/iscsi_session/session1/device/target2:0:0/2:0:0:0"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Copy the recorded healthy host, to be changed."""
    return Path(shutil.copytree(HOSTS / "good", tmp_path / "host"))


def test_maps_legs_and_disks_of_a_recorded_host() -> None:
    """Three maps with two legs each, and the two paths of a LUN without a map."""
    found = Paths(HOSTS / "good").look()
    maps, disks = found.picture["maps"], found.picture["disks"]

    assert {one["map"]: one["legs"] for one in maps.values()} == {
        "mpatha": ["sda", "sdb"],
        "mpathb": ["sde", "sdf"],
        "mpathc": ["sdc", "sdd"],
    }
    assert maps["dm-0"]["wwid"] == LUN0
    assert sorted(disks) == [f"sd{letter}" for letter in "abcdefgh"]
    assert disks["sda"] == {
        "dev": "8:0",
        "address": "2:0:0:0",
        "via": "1",
        "state": "running",
        "times": 0,
        "wwid": "naa.600140572d9224762e54785bb434709f",
        "names": [],
    }
    assert not found.bad


def test_a_state_that_changes_is_seen_in_the_next_look(host: Path) -> None:
    """A path that goes offline between two looks, with nothing else changed."""
    looked = Paths(host, scan=3600, identity=0)
    looked.look()
    (host / SESSION / "state").write_text("transport-offline\n", encoding="ascii")

    assert looked.look().picture["disks"]["sda"]["state"] == "transport-offline"


def test_a_disk_that_takes_the_name_of_another_is_itself(host: Path) -> None:
    """One goes and another comes with its name and address between two looks: its number is told at the look after the next at latest."""
    looked = Paths(host, scan=3600, identity=0)
    before = looked.look().picture["disks"]["sda"]["dev"]
    (host / SESSION / "state").unlink()
    (host / SESSION / "state").write_text("running\n", encoding="ascii")
    (host / SESSION / "block" / "sda" / "dev").write_text("8:160\n", encoding="ascii")
    looked.look()

    assert before == "8:0"
    assert looked.look().picture["disks"]["sda"]["dev"] == "8:160"


def test_a_blocked_disk_is_counted_and_looked_at_again_soon(host: Path) -> None:
    """The first look at a blocked disk asks for another soon; from the second on the picture stays the same."""
    looked = Paths(host, scan=3600, identity=0)
    (host / SESSION / "state").write_text("blocked\n", encoding="ascii")
    seen = [looked.look() for _ in range(3)]

    assert [(one.picture["disks"]["sda"]["times"], one.bad) for one in seen] == [(1, True), (2, False), (2, False)]


@pytest.mark.parametrize("state", ["connecting", "resetting"])
def test_a_path_of_nvme_waits_while_its_controller_comes_back(host: Path, state: str) -> None:
    """Its state is that of its controller: told as the kernel writes it, and counted while the controller is lost like a blocked disk's."""
    controller = host / "sys/class/block/dm-0/slaves/nvme0n1/device/state"
    controller.parent.mkdir(parents=True)
    (controller.parent.parent / "dev").write_text("259:0\n", encoding="ascii")
    looked, seen = Paths(host, scan=3600, identity=0), []
    for text in ("live", state, state, "live"):
        controller.write_text(f"{text}\n", encoding="ascii")
        found = looked.look()
        row = found.picture["disks"]["nvme0n1"]
        seen.append((row["state"], row["times"], found.bad))

    assert seen == [("live", 0, False), (state, 1, True), (state, 2, False), ("live", 0, False)]


def test_another_lun_behind_a_path_is_seen_in_the_next_look(host: Path) -> None:
    """After a rescan the kernel shows another WWID and another page: both are read at once."""
    (host / SESSION / "vpd_pg83").write_bytes((PAGES / "lun0.pg83").read_bytes())
    looked = Paths(host, scan=3600, identity=0)
    before = looked.look().picture["disks"]["sda"]["names"]
    (host / SESSION / "vpd_pg83").write_bytes((PAGES / "lun2.pg83").read_bytes())
    (host / SESSION / "wwid").write_text("naa.6001405c44a4e37d1dc4f22a130622df\n", encoding="ascii")
    after = looked.look().picture["disks"]["sda"]

    assert (before[0], after["names"][0]) == ("3600140537c04200bff24683acffc5095", "36001405c44a4e37d1dc4f22a130622df")


def test_a_leg_that_goes_is_seen_in_the_next_look(host: Path) -> None:
    """A path taken out of its map, its disk still there."""
    looked = Paths(host, scan=3600, identity=0)
    looked.look()
    shutil.rmtree(host / LEG)

    assert looked.look().picture["maps"]["dm-0"]["legs"] == ["sdb"]


def test_what_vanishes_while_it_is_read_is_no_error(host: Path) -> None:
    """All of sysfs goes away under the look."""
    looked = Paths(host, scan=3600, identity=0)
    looked.look()
    shutil.rmtree(host / "sys/class/iscsi_session")
    assert {row["state"] for row in looked.look().picture["disks"].values()} == {""}
    shutil.rmtree(host / "sys")

    assert looked.look().picture == {"maps": {}, "disks": {}}


def test_disks_and_maps_that_come_and_go_while_they_are_read_are_no_error(host: Path, tmp_path: Path) -> None:
    """The kernel may take a disk or a map away between two attributes of it: what is told of the others stays right."""
    looked = Paths(host, scan=0, identity=0)
    names = ("iscsi_session/session1/device/target2:0:0/2:0:0:0", "block/dm-0", "block/dm-1/slaves/sde", "block/sdc")
    with vanishing([host / "sys/class" / name for name in names], tmp_path / "away"):
        seen = [looked.look().picture for _ in range(100)]

    assert {one["wwid"] for picture in seen for one in picture["maps"].values() if one["map"] == "mpatha"} <= {LUN0}
    assert {picture["maps"]["dm-2"]["wwid"] for picture in seen} == {looked.look().picture["maps"]["dm-2"]["wwid"]}
    assert {picture["disks"]["sdb"]["state"] for picture in seen} == {"running"}


def test_files_that_are_none_block_nothing(host: Path) -> None:
    """A pipe without a writer and a directory where files should be."""
    (host / SESSION / "wwid").unlink()
    os.mkfifo(host / SESSION / "wwid")
    os.mkfifo(host / SESSION / "vpd_pg83")
    (host / SESSION / "state").unlink()
    (host / SESSION / "state").mkdir()
    looking = threading.Thread(target=Paths(host).look, daemon=True)
    looking.start()
    looking.join(20)

    assert not looking.is_alive()


def test_the_source_tells_both_looks(host: Path, tmp_path: Path) -> None:
    """Maps and the daemon's silence come as records of their own."""
    source = LookingSource(Source.MULTIPATH, multipath_looks(root=host, addresses=(str(tmp_path / "none"),)))
    seen: dict[str, str] = {}
    end = time.monotonic() + 20
    while len(seen) < 2 and time.monotonic() < end:
        batch = source.read_batch(timeout=0.2)
        seen |= {record.fields["look"]: record.fields["found"] for record in batch.records} if batch else {}
    source.close()

    assert "mpatha" in seen["paths"]
    assert "nobody listens" in seen["daemon"]


ANSWERS = """
import sys, time
for line in sys.stdin:
    name = line.split()[0]
    if name.endswith("dead"):
        time.sleep(3600)
    print(name, open(sys.argv[1], "rb").read().hex() if name.endswith("well") else "", flush=True)
"""


def asking(tmp_path: Path, deadline: float) -> Inquiry:
    """Ask a program that answers for `well`, refuses for `poor` and hangs for `dead`."""
    program = tmp_path / "child.py"
    program.write_text(ANSWERS, encoding="utf-8")
    return Inquiry(tmp_path, deadline, (sys.executable, "-I", "-S", str(program), str(PAGES / "lun0.pg83")))


def test_disks_that_answer_are_told_and_others_left_out(tmp_path: Path) -> None:
    """One process answers for all, also in the next round."""
    inquiry = asking(tmp_path, 20)
    nodes = {"sda": "well", "sdb": "poor", "sdc": "well"}
    first, second = inquiry.pages(nodes), inquiry.pages(nodes)
    inquiry.close()

    assert first == second == dict.fromkeys(("sda", "sdc"), (PAGES / "lun0.pg83").read_bytes())
    assert inquiry.left_behind() == 0


def test_a_disk_that_hangs_is_left_behind_and_the_others_answer(tmp_path: Path) -> None:
    """A look ends in time; what hung is told by nobody, and no process is left once its disk lets it end."""
    inquiry = asking(tmp_path, 1)
    nodes = {"sda": "well", "sdb": "dead", "sdc": "well", "sdd": "dead", "sde": "well"}
    for _ in range(2):
        began = time.monotonic()
        found = inquiry.pages(nodes)
        assert time.monotonic() - began < 30
        assert {"sda", "sdc"} <= set(found) <= {"sda", "sdc", "sde"}
        assert inquiry.left_behind() <= 2
    assert set(inquiry.pages({"sda": "well"})) == {"sda"}
    emptied(inquiry)


def emptied(inquiry: Inquiry) -> None:
    """Close, and see that each process that was left behind ends."""
    inquiry.close()
    end = time.monotonic() + 20
    while inquiry.pages({}) == {} and inquiry.left_behind():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_program_that_cannot_run_tells_nothing(tmp_path: Path) -> None:
    """It ends at once, again and again: no page, no error, nothing that piles up."""
    inquiry = Inquiry(tmp_path, 20, ("/bin/false",))
    for _ in range(5):
        assert inquiry.pages({"sda": "sda", "sdb": "sdb", "sdc": "sdc"}) == {}
        assert inquiry.left_behind() <= 4
    emptied(inquiry)


def test_the_real_program_refuses_what_is_no_disk() -> None:
    """/dev/null knows no SG_IO, and what is not there cannot be opened: both are left out, and the program lives on."""
    inquiry = Inquiry(Path("/dev"), 20)
    assert inquiry.pages({"sda": "null", "sdb": "none-such"}) == {}
    assert inquiry.left_behind() == 0
    inquiry.close()


def test_names_come_from_the_disks_themselves(host: Path) -> None:
    """Only disks that run are asked, by their generic node where there is one."""
    (host / SESSION / "scsi_generic/well").mkdir(parents=True)
    (host / "sys/class/iscsi_session/session2/device/target3:0:0/3:0:0:0/state").write_text("offline\n", encoding="ascii")
    kernel = Paths(host)
    kernel.look()
    assert kernel.running()["sda"] == "well"
    assert kernel.running()["sdc"] == "sdc"
    assert "sdb" not in kernel.running()

    inquiry = asking(host, 20)
    found = identities(kernel, inquiry).picture
    inquiry.close()

    assert found == {"disks": {"sda": ["3600140537c04200bff24683acffc5095", "1LIO-ORG_lun0:37c04200-bff2-4683-acff-c5095459af82"]}}
