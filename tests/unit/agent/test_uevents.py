"""What is read anew when the kernel tells of devices, and what is not while it is silent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.sources import uevents
from agent.sources.host_files import Tree
from agent.sources.host_storage import BlockStorage
from agent.sources.multipath import Paths
from agent.sources.uevents import Uevents

HOST = Path(__file__).parents[2] / "samples" / "hosts" / "good"
DISK = "sys/class/iscsi_session/session1/device/target2:0:0/2:0:0:0"
LEG = "sys/class/block/dm-0/slaves/sda/device"
NAME = "sys/class/block/dm-0/dm/name"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Copy the recorded healthy host and give it the kernel's count, to be changed."""
    host = Path(shutil.copytree(HOST, tmp_path / "host"))
    (host / "sys/kernel").mkdir()
    count(host, 2560)
    return host


def count(host: Path, number: int) -> None:
    """Have the kernel have told so often of devices."""
    (host / "sys/kernel/uevent_seqnum").write_text(f"{number}\n")


def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a message be old as soon as it was heard."""
    monkeypatch.setattr(uevents, "_SETTLE", 0.0)


def test_what_moved_is_heard_for_a_while(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message counts until some seconds after it; then nothing is heard until the next."""
    monkeypatch.setattr(uevents, "_SETTLE", 0.2)
    one = Uevents(host, 30)
    heard = [one.heard(), one.heard()]
    time.sleep(0.25)
    heard += [one.heard(), one.heard()]
    count(host, 2561)

    assert [*heard, one.heard(), one.heard()] == [True, True, False, False, True, True]


def test_udev_is_heard_too(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's file in its database that is replaced after the kernel's message counts as one."""
    (host / "run/udev/data").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(uevents, "_SETTLE", 0.1)
    one = Uevents(host, 30)
    one.heard()
    time.sleep(0.15)
    heard = [one.heard()]
    (host / "run/udev/data/.new").write_text("E:ID_FS_TYPE=LVM2_member\n")
    (host / "run/udev/data/.new").rename(host / "run/udev/data/b8:0")

    assert [*heard, one.heard()] == [False, True]


def test_legs_need_no_message(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that leaves its map some time after the kernel's message is seen to have left."""
    settled(monkeypatch)
    paths = Paths(host, scan=3600, identity=0)
    paths.look()
    shutil.rmtree(host / "sys/class/block/dm-0/slaves/sda")

    assert paths.look().picture["maps"]["dm-0"]["legs"] == ["sdb"]


def test_all_is_read_anew_seldom_while_nothing_is_heard(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading after which nothing moved lasts four times as long; a message ends that."""
    settled(monkeypatch)
    one = Uevents(host, 0.2)
    one.heard()
    dues = [one.due()]
    one.read()
    time.sleep(0.25)
    one.heard()
    dues.append(one.due())
    count(host, 2561)
    one.heard()

    assert [*dues, one.due()] == [True, False, True]


def test_where_there_is_no_count_everything_counts_as_moving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copied tree has none: it is read at the full pace."""
    settled(monkeypatch)
    one = Uevents(tmp_path, 0.1)
    one.read()
    time.sleep(0.15)
    one.heard()

    assert one.due()


def test_a_map_is_read_anew_when_the_kernel_tells_of_it(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new name is seen in the first look after the message."""
    settled(monkeypatch)
    paths = Paths(host, scan=0.2, identity=0)
    paths.look()
    (host / NAME).write_text("renamed\n")
    time.sleep(0.25)
    before = paths.look().picture["maps"]["dm-0"]["map"]
    count(host, 2561)

    assert (before, paths.look().picture["maps"]["dm-0"]["map"]) == ("mpatha", "renamed")


def test_states_and_wwids_need_no_message(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that goes offline, or leads to another LUN, is seen in the next look, of it and of the map above it."""
    settled(monkeypatch)
    storage = BlockStorage(host, every=3600)
    storage.look(Tree(host))
    for device in (DISK, LEG):  # one and the same in a real sysfs, which this is a copy of
        (host / device / "state").write_text("offline\n")
        (host / device / "wwid").write_text("naa.6001405aaaaaaaaaaaaaaaaaaaaaaaaa\n")
    found = storage.look(Tree(host))
    expected = {"state": "offline", "wwid": "naa.6001405aaaaaaaaaaaaaaaaaaaaaaaaa"}

    assert next(row for row in found["iscsi"]["disks"] if row["address"] == "2:0:0:0").items() >= expected.items()
    assert next(row for row in found["multipath"]["maps"] if row["map"] == "mpatha")["states"]["sda"] == expected


def test_the_second_look_is_as_the_first(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a host on which nothing changed is what a full reading finds, with what it could not read."""
    settled(monkeypatch)
    storage, first, second, full = BlockStorage(host, every=3600), Tree(host), Tree(host), Tree(host)
    looks = [storage.look(first), storage.look(second), BlockStorage(host).look(full)]

    assert looks[0] == looks[1] == looks[2]
    assert first.denied == second.denied == full.denied


KERNEL = """
import subprocess
import time
from pathlib import Path
from agent.sources import uevents
uevents._SETTLE = 0.1
one = uevents.Uevents(Path("/"), 3600)
one.heard()
time.sleep(0.2)
heard = [one.heard()]
subprocess.run(["ip", "link", "add", "name", "here", "type", "veth", "peer", "name", "there"], check=True)
print([*heard, one.heard()])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network interface in a namespace of its own")
def test_this_kernel_counts_its_messages() -> None:
    """A device that comes is heard from the real count; without one nothing is."""
    done = subprocess.run(["unshare", "--net", sys.executable, "-c", KERNEL], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() in ("[False, True]", "[True, True]"), done.stderr  # another program's device may come just then
