"""The host source on this very machine: its own tables, real interfaces and mounts in namespaces, and what hangs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.classify.host import HostClassifier
from agent.record import Batch
from agent.sources import host as host_module
from agent.sources.deadline import OneAtATime
from agent.sources.errors import HostHungError
from agent.sources.host import HostSource, look
from agent.sources.host_files import Kept, Tree
from agent.sources.host_mounts import MOUNTINFO, MountTable
from agent.sources.host_storage import BlockStorage

HOSTS = Path(__file__).parents[2] / "samples" / "hosts"
KINDS = {"networks", "mounts", "iscsi", "multipath", "volumes", "ceph"}

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of one's own take root")

LOOK = """
import json
from pathlib import Path
from agent.classify.host import HostClassifier
from agent.record import RawRecord
from agent.sources.host import look
from events.base import Source
made = HostClassifier("pve1")
records = [RawRecord(Source.HOST, 1, 1, "boot", fields) for fields in look(Path("/"))]
print(json.dumps([event.model_dump(mode="json") for record in records for event in made.classify(record)]))
"""


def in_namespaces(before: str, code: str = LOOK) -> object:
    """Return the JSON that a program prints, run in a network and a mount namespace of its own after these shell commands."""
    script = f'set -e\nmount -t sysfs sysfs /sys\n{before}\nexec "{sys.executable}" -c "$CODE"'
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script],
        env={**os.environ, "CODE": code, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def whats(batch: Batch | None) -> set[str]:
    """Return which pictures a batch holds."""
    return {record.fields["what"] for record in batch.records} if batch else set()


@root_only
def test_addresses_and_routes_are_those_of_the_kernel() -> None:
    """Second addresses with their own prefix, IPv6, bridges, interfaces without a link, routes through gateways: as `ip` set them."""
    events = in_namespaces(
        """
        ip link add stor1 type veth peer name far1
        ip link set stor1 mtu 9000 up; ip link set far1 up
        ip addr add 10.1.1.11/24 dev stor1; ip addr add 10.1.9.11/16 dev stor1; ip addr add 10.1.1.12/24 dev stor1 label stor1:1
        ip link add vmbr0 type bridge; ip addr add 192.168.7.11/22 dev vmbr0; ip link set vmbr0 up
        ip -6 addr add 2001:db8::11/64 dev stor1 nodad
        ip addr add 10.99.0.1/32 dev lo; ip link set lo up
        ip route add default via 10.1.1.1; ip route add 10.20.0.0/16 via 10.1.1.2 metric 7; ip route add 10.20.0.0/16 via 10.1.1.3 metric 5
        ip route add blackhole 10.30.0.0/16; ip -6 route add default via 2001:db8::1
        """
    )
    assert isinstance(events, list)
    (networks,) = (event for event in events if event["kind"] == "node.networks")
    interfaces = {one["name"]: one for one in networks["interfaces"]}
    routes = [(one["destination"], one["interface"], one["gateway"]) for one in networks["routes"]]

    assert set(interfaces) == {"lo", "stor1", "vmbr0"}
    assert set(interfaces["stor1"]["addresses"]) == {"10.1.1.11/24", "10.1.9.11/16", "10.1.1.12/24", "2001:db8::11/64"}
    assert (interfaces["stor1"]["mtu"], interfaces["stor1"]["speed"], interfaces["stor1"]["up"]) == (
        9000,
        10000,
        True,
    )  # veth says 10 Gbit/s
    assert interfaces["vmbr0"]["addresses"] == ["192.168.7.11/22"]
    assert interfaces["lo"]["addresses"] == ["10.99.0.1/32"]
    assert routes[:4] == [
        ("0.0.0.0/0", "stor1", "10.1.1.1"),
        ("::/0", "stor1", "2001:db8::1"),
        ("10.20.0.0/16", "stor1", "10.1.1.3"),
        ("10.20.0.0/16", "stor1", "10.1.1.2"),
    ]
    assert ("192.168.4.0/22", "vmbr0", "") in routes
    assert not [one for one in routes if one[0].startswith(("10.30.", "fe80", "ff00"))]


@root_only
def test_mounts_are_those_that_can_be_seen(tmp_path: Path) -> None:
    """A directory bound elsewhere is told with its device; what covers another mount is told and the covered one is not; tmpfs is not."""
    for name in ("data", "store", "a b"):
        (tmp_path / name).mkdir()
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(4 << 20)
    events = in_namespaces(
        f"""
        mkfs.ext4 -q '{image}'
        mount -o loop,ro '{image}' '{tmp_path}/a b'
        mount -t tmpfs none '{tmp_path}/store'; mount --bind '{tmp_path}/data' '{tmp_path}/store'
        mount --bind '{tmp_path}/data' '{tmp_path}/data'
        """
    )
    assert isinstance(events, list)
    (mounts,) = (event for event in events if event["kind"] == "node.mounts")
    mounted = {one["target"]: one for one in mounts["mounted"]}

    assert "ro" in mounted[f"{tmp_path}/a b"]["options"].split(",")
    assert "rw" not in mounted[f"{tmp_path}/a b"]["options"].split(",")
    assert mounted[f"{tmp_path}/a b"]["type"] == "ext4"
    assert mounted[f"{tmp_path}/store"]["type"] != "tmpfs"
    assert f"{tmp_path}/data" not in mounted  # it shows itself
    assert mounted["/"]["source"]


@root_only
def test_a_mount_is_noticed_at_once() -> None:
    """The kernel's word that its table changed makes the next look due, whatever the interval; the rest is not looked at then."""
    code = """
import json, subprocess, time
from agent.sources.host import HostSource
source = HostSource(mounts_interval=3600, interval=3600)
first = [record.fields["what"] for record in source.read_batch(timeout=20).records]
idle = source.read_batch(timeout=0.2)
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "faultline", "/mnt"], check=True)
begun = time.monotonic()
second = source.read_batch(timeout=20)
source.close()
found = json.loads(second.records[0].fields["found"])
print(json.dumps([first, idle, [r.fields["what"] for r in second.records], time.monotonic() - begun, "faultline" in found["mountinfo"]]))
"""
    answer = in_namespaces("", code)
    assert isinstance(answer, list)
    first, idle, second, waited, there = answer

    assert set(first) == KINDS
    assert (idle, second, there) == (None, ["mounts"], True)
    assert waited < 10


def test_the_first_look_says_everything_and_the_next_only_what_changed(tmp_path: Path) -> None:
    """A picture that stayed the same is not told again."""
    (tmp_path / "etc").mkdir()
    source = HostSource(tmp_path, mounts_interval=0.01, interval=0.01)
    try:
        assert whats(source.read_batch(timeout=10)) == KINDS
        assert source.read_batch(timeout=0.05) is None
        (tmp_path / "etc/fstab").write_text("nas:/export /mnt/nas nfs defaults 0 0\n")
        assert whats(source.read_batch(timeout=10)) == {"mounts"}
    finally:
        source.close()


def test_a_copied_tree_tells_nothing_of_this_machine(tmp_path: Path) -> None:
    """An empty tree has no interface, no route, no mount: whoever reads a copy must not see the host that he sits at."""
    made = HostClassifier("pve1")
    source = HostSource(tmp_path)
    try:
        batch = source.read_batch(timeout=10)
    finally:
        source.close()
    assert batch is not None
    events = [event for record in batch.records for event in made.classify(record)]

    assert {event.kind for event in events} == {f"node.{what}" for what in KINDS}
    assert all(not value for event in events for name, value in event if name not in ("kind", "subject", "state", "seen"))


def test_nothing_published_is_published_again_after_a_restart(tmp_path: Path) -> None:
    """With the memory of the last run an unchanged node says nothing, a changed one only what changed."""
    (tmp_path / "etc").mkdir()
    source = HostSource(tmp_path)
    try:
        batch = source.read_batch(timeout=10)
    finally:
        source.close()
    assert batch is not None
    made = HostClassifier("pve1")
    told = [event for record in batch.records for event in made.classify(record)]
    again = HostClassifier("pve1", made.memory())

    assert len(told) == len(KINDS)
    assert [event for record in batch.records for event in again.classify(record)] == []


def test_a_look_that_hangs_is_abandoned_and_costs_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start after it fails at its deadline, in words that say what to look for; when the hang ends, looks work again."""
    free = threading.Event()
    monkeypatch.setattr(host_module, "mounts", lambda _: {"mountinfo": "", "fstab": str(free.wait(60))})
    worker: OneAtATime[list[dict[str, str]]] = OneAtATime("host-look-test")
    before = set(threading.enumerate())
    for _ in range(3):
        source = HostSource(tmp_path, deadline=0.05, worker=worker)
        with pytest.raises(HostHungError, match="is the root file system dead"):
            source.read_batch(timeout=5)
        source.close()

    assert set(threading.enumerate()) <= before
    free.set()
    source = HostSource(tmp_path, deadline=30, worker=worker)
    assert whats(source.read_batch(timeout=5)) == KINDS
    source.close()
    worker.close()


def test_waking_ends_a_wait(tmp_path: Path) -> None:
    """A stop does not wait for the next look."""
    source = HostSource(tmp_path)
    source.read_batch(timeout=10)
    threading.Timer(0.1, source.wake).start()
    begun = time.monotonic()

    assert source.read_batch(timeout=60) is None
    assert time.monotonic() - begun < 30
    source.close()


def test_files_are_read_with_bounds(tmp_path: Path) -> None:
    """A long file ends at a whole line, a pipe without a writer and a directory are nothing, other bytes are replaced."""
    (tmp_path / "long").write_text("0123456789\n" * 1000)
    (tmp_path / "odd").write_bytes(b"\xff\xfe x\n")
    os.mkfifo(tmp_path / "pipe")
    tree = Tree(tmp_path)

    assert tree.text("long", 25) == "0123456789\n0123456789"
    assert tree.text("odd") == "\ufffd\ufffd x"
    assert [tree.text(name) for name in ("pipe", ".", "nowhere", "odd/x")] == [""] * 4
    assert tree.names("nowhere") == []


def test_kept_files_are_those_that_are_there_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is read again and again tells what stands in it now, also when it was replaced, went and came; of many some are kept."""
    monkeypatch.setattr("agent.sources.host_files._MOST_KEPT", 2)
    for name in "abc":
        (tmp_path / name).write_text(f"{name}1\n")
    kept = Kept(tmp_path)
    before = _descriptors()
    first = [kept.text(name) for name in "abcd"]
    (tmp_path / "a").write_text("a2\n")
    (tmp_path / "new").write_text("b2\n")
    (tmp_path / "new").rename(tmp_path / "b")
    (tmp_path / "c").unlink()
    lost, second = kept.lost, [kept.text(name) for name in "abcd"]
    (tmp_path / "b").unlink()
    third = [kept.text(name) for name in "ab"]
    (tmp_path / "b").write_text("b3\n")
    fourth = [kept.text(name) for name in "ab"]
    opened = _descriptors() - before
    kept.keep(["a"])
    left = _descriptors() - before
    kept.keep([])

    assert first == ["a1", "b1", "c1", ""]
    assert second == ["a2", "b2", "", ""]
    assert third == ["a2", ""]
    assert fourth == ["a2", "b3"]
    assert (lost, kept.lost, opened, left, _descriptors() - before) == (0, 2, 2, 1, 0)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


DEVICE = """
import subprocess, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from agent.sources.host_files import Kept
ip = lambda *words: subprocess.run(["ip", "link", *words], check=True)
subprocess.run(["mount", "-t", "sysfs", "none", "/sys"], check=True)
kept, said = Kept(Path("/sys")), []
for mtu in ("1400", "1300"):
    ip("add", "fl0", "mtu", mtu, "type", "veth", "peer", "fl1")
    said.append(kept.text("class/net/fl0/mtu"))
    ip("set", "fl0", "mtu", "1280")
    said += [kept.text("class/net/fl0/mtu"), str(kept.lost)]
    ip("delete", "fl0")
said += [kept.text("class/net/fl0/mtu"), str(kept.lost)]
print(*said, sep=",")
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="making a device takes root and iproute2")
def test_a_kept_attribute_of_a_device_that_went_is_not_the_next_ones() -> None:
    """In sysfs an open attribute tells what is so now, and when its device went and another has its name, of that one."""
    path = ":".join([*(one for one in sys.path if one), str(Path.cwd())])
    apart = ["unshare", "--net", "--mount", sys.executable, "-c", DEVICE, path]
    said = subprocess.run(apart, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert said == "1400,1280,0,1300,1280,1,,2"


def test_what_may_not_be_read_is_said() -> None:
    """Without root's rights the picture lacks open-iscsi's records and LVM's backups, and its excerpt says so."""
    code = """
import json, os, tempfile
from pathlib import Path
from agent.classify.host import HostClassifier
from agent.record import RawRecord
from agent.sources.host import look
from events.base import Source
made = HostClassifier("pve1")
with tempfile.TemporaryDirectory() as directory:
    os.chmod(directory, 0o755)
    for closed in ("var/lib/iscsi/nodes", "etc/lvm/backup"):
        (Path(directory) / closed).mkdir(parents=True)
        os.chmod(Path(directory) / closed, 0)
    own = os.geteuid()
    if own == 0:
        os.seteuid(65534)
    try:
        seen = list(look(Path(directory)))
    finally:
        os.seteuid(own)
    # As root again: what is imported only when it is needed may lie where nobody else may read.
    events = [event for fields in seen for event in made.classify(RawRecord(Source.HOST, 1, 1, "boot", fields))]
print(json.dumps({event.kind: event.seen.excerpt for event in events}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said = json.loads(done.stdout)

    assert said["node.iscsi"] == said["node.volumes"] == "not readable: /etc/lvm/backup /var/lib/iscsi/nodes"
    assert said["node.networks"] == ""


def test_a_look_opens_no_device_and_no_mount_point() -> None:
    """All files that a look at this very host opens lie below /proc, /sys, /run and /etc."""
    code = """
import sys
opened = []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name in ("open", "os.listdir", "os.scandir") else None)
from pathlib import Path
from agent.sources.host import look
import socket, struct, encodings.idna
del opened[:]
look(Path("/"))
import json
print(json.dumps(opened))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    opened = json.loads(done.stdout)

    assert "/proc/self/mountinfo" in opened
    assert [
        path for path in opened if not path.startswith(("/proc/", "/sys/", "/run/", "/etc/", "/var/lib/iscsi/", "/var/lib/ceph/"))
    ] == []
    assert {fields["what"] for fields in look(Path("/"))} == KINDS


def test_looks_and_sources_leave_nothing_open(tmp_path: Path) -> None:
    """Scan after scan, and a source started again and again, hold as many files open as the first."""
    host = Path(shutil.copytree(HOSTS / "good", tmp_path / "host"))
    (host / "sys/kernel").mkdir()
    (host / "sys/kernel/uevent_seqnum").write_text("1\n")

    def once() -> int:
        BlockStorage(host).look(Tree(host))
        source = HostSource(host)
        source.read_batch(timeout=20)
        source.close()
        return _descriptors()

    assert len({once() for _ in range(5)}) == 1


TABLE = """
import os, resource, subprocess, sys
sys.path[:0] = sys.argv[1].split(":")
from pathlib import Path
from agent.sources.host_mounts import MountTable
table = MountTable(Path("/"))
first = table.text()
told = [table.text() is first]
subprocess.run(["mount", "-t", "tmpfs", "faultline-apart", "/mnt"], check=True)
told += ["faultline-apart" in table.text(), table.text() is table.text()]
subprocess.run(["umount", "/mnt"], check=True)
mounted, limits = table.text(), resource.getrlimit(resource.RLIMIT_NOFILE)
told.append(mounted == first)
subprocess.run(["mount", "-t", "tmpfs", "faultline-apart", "/mnt"], check=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    told.append(table.text() is mounted)
for one in taken:
    os.close(one)
print([*told, "faultline-apart" in table.text()])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts in a namespace of its own")
def test_the_table_of_mounts_is_read_again_only_when_the_kernel_says_so() -> None:
    """The same object while nothing is mounted; what comes or goes is in the next text, and not lost while no file can be opened."""
    apart = ["unshare", "--mount", sys.executable, "-c", TABLE, ":".join([*(one for one in sys.path if one), str(Path.cwd())])]
    done = subprocess.run(apart, capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() == "[True, True, True, True, True, True]", done.stderr


def test_a_copied_table_of_mounts_is_read_each_time(tmp_path: Path) -> None:
    """A file of a copied tree has no kernel behind it that would say that it changed."""
    (tmp_path / "proc/self").mkdir(parents=True)
    table, file = MountTable(tmp_path), tmp_path / MOUNTINFO
    texts = []
    for text in ("one", "two"):
        file.write_text(text)
        texts.append(table.text())

    assert texts == ["one", "two"]
