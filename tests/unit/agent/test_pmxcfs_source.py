import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.sources.errors import PmxcfsDeniedError
from agent.sources.pmxcfs import PmxcfsSource
from tests.fuse_pmxcfs import Pmxcfs, can_mount

Make = Callable[..., PmxcfsSource]
Fields = dict[str, str]

STORAGE = b"dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl\n\nnfs: nas-vm\n\tserver 10.1.3.1\n\texport /export/pve\n\n"
MORE = STORAGE + b"cifs: office\n\tserver 10.0.0.7\n\tshare x\n\tpassword hunter2\n\n"


@pytest.fixture
def make() -> Iterator[Make]:
    sources: list[PmxcfsSource] = []

    def new(root: Path, interval: float = 0.05, deadline: float = 2) -> PmxcfsSource:
        sources.append(PmxcfsSource(root, interval=interval, deadline=deadline, node="pve1"))
        return sources[-1]

    yield new
    for source in sources:
        source.close()


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    root = tmp_path / "pve"
    (root / "ha").mkdir(parents=True)
    (root / "storage.cfg").write_bytes(STORAGE)
    (root / "ha" / "resources.cfg").write_text("vm: 100\n")
    return root


def news(source: PmxcfsSource, until: Callable[[Fields], bool], seconds: float = 10) -> list[Fields]:
    """Read records until one is as asked for; return all of them."""
    found: list[Fields] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if batch := source.read_batch(timeout=0.1):
            found += [dict(record.fields) for record in batch.records]
            if any(until(fields) for fields in found):
                return found
    raise AssertionError(f"not seen within {seconds} s; seen: {found}")


def quiet(source: PmxcfsSource, looks: int = 3) -> list[Fields]:
    """Let it look a few times; return what it had to say."""
    found: list[Fields] = []
    for _ in range(looks):
        if batch := source.read_batch(timeout=0.2):
            found += [dict(record.fields) for record in batch.records]
    return found


def what(name: str, **fields: str) -> Callable[[Fields], bool]:
    return lambda found: found["what"] == name and all(found.get(key) == value for key, value in fields.items())


def files(found: list[Fields]) -> list[str]:
    """Return the paths of the files that records are about."""
    return [fields["path"] for fields in found if fields["what"] == "file"]


def digests(found: list[Fields]) -> list[str]:
    """Return the digests of the files that records are about."""
    return [fields["digest"] for fields in found if fields["what"] == "file"]


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


# A plain directory


def test_plain_directory(make: Make, plain: Path) -> None:
    """The first look says what is there, later ones only what changed."""
    source = make(plain)
    first = news(source, what("file", path="ha/resources.cfg"))
    assert first[0] == {"what": "served", "starttime": ""}
    assert any(what("file", path="storage.cfg", digest=sha1(STORAGE))(fields) for fields in first)
    assert quiet(source) == []
    (plain / "storage.cfg").write_bytes(MORE)
    changed = news(source, what("file", path="storage.cfg", digest=sha1(MORE)))
    assert files(changed) == ["storage.cfg"]


def test_local_change_is_seen_at_once(make: Make, plain: Path) -> None:
    """Inotify makes a change on this node known long before the next poll is due."""
    source = make(plain, interval=30)
    news(source, what("file", path="storage.cfg"))
    temporary = plain / "storage.cfg.tmp.1234"
    temporary.write_bytes(MORE)
    temporary.rename(plain / "storage.cfg")
    news(source, what("file", path="storage.cfg", digest=sha1(MORE)), seconds=5)


def test_temporary_and_restless_files_are_ignored(make: Make, plain: Path) -> None:
    """PVE's temporary files, and files of the HA manager that move every ten seconds, are no news."""
    source = make(plain)
    news(source, what("file", path="ha/resources.cfg"))
    (plain / "ha" / "rules.cfg.tmp.4711").write_text("x")
    (plain / "ha" / "manager_status").write_text("{}")
    assert quiet(source) == []
    (plain / "ha" / "rules.cfg").write_text("x")
    assert files(news(source, what("file", path="ha/rules.cfg"))) == ["ha/rules.cfg"]


def test_removed_file(make: Make, plain: Path) -> None:
    """A file that is gone while others are there was removed; a storage.cfg that is gone counts as empty, as PVE has it."""
    (plain / "ha" / "fence.cfg").write_text("x")
    source = make(plain)
    news(source, what("file", path="ha/resources.cfg"))
    (plain / "ha" / "resources.cfg").unlink()
    news(source, what("file", path="ha/resources.cfg", digest=""))
    (plain / "ha" / "fence.cfg").unlink()
    news(source, what("file", path="ha/fence.cfg", digest=""))
    (plain / "storage.cfg").unlink()
    (plain / "ceph.conf").write_text("")
    news(source, what("file", path="storage.cfg", digest=sha1(b"")))


def test_emptied_root_is_no_removal(make: Make, plain: Path) -> None:
    """When everything is gone, that is a lost file system and not a removal of files; also when the directory itself goes."""
    source = make(plain)
    news(source, what("file", path="ha/resources.cfg"))
    plain.rename(plain.with_name("away"))
    assert news(source, what("lost")) == [{"what": "lost", "how": "unmounted"}]
    plain.mkdir()
    assert quiet(source) == []
    plain.rmdir()
    plain.with_name("away").rename(plain)
    assert news(source, what("served")) == [{"what": "served", "starttime": ""}]


def test_half_written_file_is_awaited(make: Make, plain: Path) -> None:
    """An editor that truncates and then writes does not show as a removal of all storages."""
    source = make(plain, interval=0.5)
    news(source, what("file", path="storage.cfg"))
    os.truncate(plain / "storage.cfg", 0)
    end = time.monotonic() + 10
    while not source._emptied:
        assert time.monotonic() < end
        assert source.read_batch(timeout=0.2) is None
    (plain / "storage.cfg").write_bytes(MORE)
    assert digests(news(source, what("file"))) == [sha1(MORE)]
    os.truncate(plain / "storage.cfg", 0)
    assert digests(news(source, what("file"))) == [sha1(b"")]


def test_directory_in_place_of_a_file(make: Make, plain: Path) -> None:
    """What is no file is left out; the rest is still watched."""
    (plain / "ceph.conf").mkdir()
    found = news(make(plain), what("file", path="ha/resources.cfg"))
    assert "ceph.conf" not in files(found)
    assert "ha/resources.cfg" in files(found)


def test_ha_files_come_together(make: Make, plain: Path) -> None:
    """Resources, groups and rules are one record: only together they say where a guest may run."""
    source = make(plain)
    first = news(source, what("ha"))
    assert first[-1]["what"] in ("ha", "guests")
    assert [fields["resources"] for fields in first if fields["what"] == "ha"] == ["vm: 100\n"]
    (plain / "ha" / "rules.cfg").write_text("x")
    found = news(source, what("ha"))
    assert [(fields["resources"], fields["rules"]) for fields in found if fields["what"] == "ha"] == [("vm: 100\n", "x")]


@pytest.mark.parametrize(
    ("files", "release"),
    [
        ({}, "9"),
        ({"ha/groups.cfg": "group: grp\n\tnodes pve1\n"}, "8"),
        ({"ha/groups.cfg": "group: grp\n\tnodes pve1\n", "ha/rules.cfg": "x"}, "9"),
        ({".rrd": "pve2-node/pve1:1:2:3\n"}, "8"),
        ({".rrd": "pve2-node/pve1:1:2:3\npve-node-9.0/pve2:1:2:3\n", "ha/groups.cfg": "group: grp\n\tnodes pve1\n"}, "9"),
    ],
)
def test_release_is_told_by_content(make: Make, plain: Path, files: dict[str, str], release: str) -> None:
    """Which release's parser reads a copied storage.cfg is seen in what lies beside it; a cluster with one node on 9 counts as 9."""
    for path, text in files.items():
        (plain / path).write_text(text)

    assert news(make(plain), what("file", path="storage.cfg"))
    assert [fields["release"] for fields in quiet(make(plain), 1) if fields.get("path") == "storage.cfg"] == [release]


def test_a_release_that_the_feed_told_holds_between_two_feeds(make: Make, plain: Path) -> None:
    """The feed is read in slow looks only; a storage.cfg that changes in between is still read as that release does."""
    (plain / ".rrd").write_text("pve2-node/pve1:1:2:3\n")
    source = make(plain)
    news(source, what("file", path="storage.cfg"))
    quiet(source)
    (plain / "storage.cfg").write_bytes(MORE)

    assert [one["release"] for one in news(source, what("file")) if one["what"] == "file"] == ["8"]


def test_guests_of_a_plain_directory(make: Make, plain: Path) -> None:
    """This node's guests are told when they are new or changed; who is not there any more is told by the list."""
    folder = plain / "nodes" / "pve1" / "qemu-server"
    folder.mkdir(parents=True)
    (plain / "nodes" / "pve2" / "lxc").mkdir(parents=True)
    (plain / "nodes" / "pve2" / "lxc" / "200.conf").write_text("rootfs: a:b\n")
    (folder / "100.conf").write_text("scsi0: a:b\n")
    source = make(plain)
    first = news(source, what("guests"))
    assert [(fields["vmid"], fields["kind"]) for fields in first if fields["what"] == "guest"] == [("100", "qemu")]
    (folder / "100.conf").write_text("scsi0: a:c\n")
    assert [fields["text"] for fields in news(source, what("guest"))] == ["scsi0: a:c\n"]
    (folder / "100.conf").unlink()
    assert [fields["vmids"] for fields in news(source, what("guests"))] == [""]


def test_a_rewritten_copy_is_seen_whatever_its_size_and_time(make: Make, plain: Path) -> None:
    """A file that was left alone for long, and gets other bytes but the size and time that it had, is told."""
    source = make(plain)
    news(source, what("file", path="storage.cfg"))
    other = STORAGE.replace(b"10.1.3.1", b"10.1.3.2")
    before = (plain / "storage.cfg").stat()
    assert quiet(source, 20) == []  # longer than it takes until a file is no longer read at each look
    (plain / "storage.cfg").write_bytes(other)
    os.utime(plain / "storage.cfg", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digests(news(source, what("file"))) == [sha1(other)]


def test_local_time_that_changes_is_told_with_the_jobs(make: Make, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backup jobs are due by local time: when that changes they are told anew, although no file did."""
    (plain / "jobs.cfg").write_text("vzdump: backup-1\n\tschedule 21:00\n")
    source = make(plain)
    try:
        monkeypatch.setenv("TZ", "XXX-1")
        time.tzset()
        news(source, what("jobs", offset="60"))
        assert quiet(source) == []
        monkeypatch.setenv("TZ", "XXX-2")
        time.tzset()
        assert [fields["offset"] for fields in news(source, what("jobs"))] == ["120"]
    finally:
        monkeypatch.undo()
        time.tzset()


# A real FUSE file system

fuse = pytest.mark.skipif(not can_mount(), reason="mounting a FUSE file system takes root and /dev/fuse")


def version(starttime: int, storage: int) -> bytes:
    return json.dumps({"starttime": starttime, "clinfo": 1, "vmlist": 1, "storage.cfg": storage, "kvstore": {"pve1": {}}}).encode()


def members(online: int) -> bytes:
    nodes = {"pve1": {"id": 1, "online": 1, "ip": "10.1.1.11"}, "pve2": {"id": 2, "online": online, "ip": "10.1.1.12"}}
    cluster = {"name": "c1", "version": 3, "nodes": 2, "quorate": 1}
    return json.dumps({"nodename": "pve1", "version": 8, "cluster": cluster, "nodelist": nodes}).encode()


DOTS = {".members": members(1), ".vmlist": b'{"version": 1}'}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Pmxcfs]:
    mountpoint = tmp_path / "etc-pve"
    mountpoint.mkdir()
    served = Pmxcfs(mountpoint, {**DOTS, ".version": version(1000, 1), "storage.cfg": STORAGE})
    yield served
    served.stop()


@fuse
def test_first_look_at_a_mount(make: Make, mounted: Pmxcfs) -> None:
    """Start time, quorum, members and files of a mount are told at the first look."""
    found = quiet(make(mounted.mountpoint), 1)
    assert found[:4] == [
        {"what": "served", "starttime": "1000"},
        {"what": "quorum", "held": "yes"},
        {"what": "member", "node": "pve1", "online": "yes", "address": "10.1.1.11"},
        {"what": "member", "node": "pve2", "online": "yes", "address": "10.1.1.12"},
    ]
    assert found[4] == {"what": "nodes", "names": "pve1 pve2", "cluster": "c1"}
    assert what("file", path="storage.cfg", digest=sha1(STORAGE), cluster="c1")(found[5])


@fuse
def test_change_on_another_node(make: Make, mounted: Pmxcfs) -> None:
    """A change that inotify cannot see is found by its counter; a counter that moves without a change is no news."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.files[".version"] = version(1000, 4)
    assert quiet(source) == []
    mounted.files |= {"storage.cfg": MORE, ".version": version(1000, 5)}
    assert digests(news(source, what("file"))) == [sha1(MORE)]


@fuse
def test_only_what_moved_is_read(make: Make, mounted: Pmxcfs) -> None:
    """A file whose counter stands still is not read again: an idle look is two small reads."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.opened.clear()
    quiet(source)
    assert set(mounted.opened) == {".version", ".members"}


@fuse
def test_restart_between_two_looks(make: Make, mounted: Pmxcfs) -> None:
    """A new start time means that all counters began anew: equal ones prove nothing."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.files |= {"storage.cfg": MORE, ".version": version(2000, 1)}
    found = news(source, what("file", digest=sha1(MORE)))
    assert found[0] == {"what": "served", "starttime": "2000"}


@fuse
def test_emptied_file_is_told_without_another_counter(make: Make, mounted: Pmxcfs) -> None:
    """A file that was emptied and stays so is told at the look after, although its counter moves no more."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.files |= {"storage.cfg": b"", ".version": version(1000, 2)}
    assert digests(news(source, what("file"))) == [sha1(b"")]


@fuse
def test_quorum_and_members(make: Make, mounted: Pmxcfs) -> None:
    """Losing quorum moves no counter: the write bit of `local` tells. A member that leaves is told."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.quorate = False
    mounted.files[".members"] = members(0)
    found = news(source, what("member"))
    assert {"what": "quorum", "held": "no"} in found
    assert {"what": "member", "node": "pve2", "online": "no", "address": "10.1.1.12"} in found


@fuse
def test_restart(make: Make, mounted: Pmxcfs) -> None:
    """A clean restart is an unmount and a new start time: nothing is removed, and what did not change is not told again."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.stop()
    assert news(source, what("lost")) == [{"what": "lost", "how": "unmounted"}]
    again = Pmxcfs(mounted.mountpoint, {**DOTS, ".version": version(2000, 1), "storage.cfg": STORAGE})
    try:
        assert news(source, what("served")) == [{"what": "served", "starttime": "2000"}]
        again.files |= {"storage.cfg": MORE, ".version": version(2000, 2)}
        assert digests(news(source, what("file"))) == [sha1(MORE)]
    finally:
        again.stop()


@fuse
def test_junk_under_the_mount_point_is_no_copy(make: Make, mounted: Pmxcfs) -> None:
    """Files that somebody wrote into the unmounted directory are not taken for the cluster's configuration."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.stop()
    (mounted.mountpoint / "storage.cfg").write_bytes(b"")
    assert news(source, what("lost")) == [{"what": "lost", "how": "unmounted"}]
    assert quiet(source) == []


@fuse
def test_crash(make: Make, mounted: Pmxcfs) -> None:
    """A server that died leaves a mount on which every access fails: that is a crash."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.crash()
    assert news(source, what("lost")) == [{"what": "lost", "how": "crashed"}]


@fuse
def test_hang(make: Make, mounted: Pmxcfs) -> None:
    """A server that does not answer is told after the deadline, costs one thread however long it lasts, and heals."""
    source = make(mounted.mountpoint, deadline=0.2)
    quiet(source)
    before = threading.active_count()
    mounted.hang()
    assert news(source, what("lost")) == [{"what": "lost", "how": "hung"}]
    assert quiet(source, 5) == []
    assert threading.active_count() == before
    mounted.answer()
    assert news(source, what("served")) == [{"what": "served", "starttime": "1000"}]


@fuse
def test_a_hanging_look_keeps_nobody_from_waking(make: Make, mounted: Pmxcfs) -> None:
    """A read that waits for a look that hangs returns at once when woken: an agent that is stopped need not wait for the deadline."""
    source = make(mounted.mountpoint, deadline=100)
    quiet(source, 1)
    mounted.hang()
    waker = threading.Timer(0.3, source.wake)
    waker.start()
    started = time.monotonic()
    assert source.read_batch(timeout=0.1) is None
    assert time.monotonic() - started < 20
    waker.join()
    mounted.answer()


@fuse
def test_nothing_is_read_while_nobody_waits(make: Make, mounted: Pmxcfs) -> None:
    """Between two reads nobody looks: what comes and goes meanwhile is never told."""
    source = make(mounted.mountpoint, interval=0.01)
    quiet(source)
    mounted.opened.clear()
    mounted.quorate = False
    time.sleep(0.2)
    mounted.quorate = True
    assert mounted.opened == []
    assert quiet(source) == []


@fuse
def test_torn_dot_file(make: Make, mounted: Pmxcfs) -> None:
    """A mix of two generations of `.version` says nothing at all; the next look reads a whole one."""
    source = make(mounted.mountpoint)
    quiet(source)
    mounted.files[".version"] = version(1000, 2)[:-20]
    mounted.files["storage.cfg"] = MORE
    assert quiet(source) == []
    mounted.files[".version"] = version(1000, 2)
    assert digests(news(source, what("file"))) == [sha1(MORE)]


@fuse
def test_unreadable_files(make: Make, mounted: Pmxcfs) -> None:
    """A file that we may not read is left out; when we may read nothing at all, that is a typed error and no crash."""
    source = make(mounted.mountpoint)
    mounted.denied = {"storage.cfg", ".members"}
    assert [fields["what"] for fields in quiet(source)] == ["served", "quorum", "nodes", "guests"]
    mounted.denied = {".version"}
    with pytest.raises(PmxcfsDeniedError):
        quiet(source)


@fuse
@pytest.mark.parametrize("content", [b"[]", b'{"nodelist": [1]}', b'{"nodelist": {"pve1": 1}, "cluster": 2}', b"{}", b"\xff"])
def test_senseless_members(make: Make, mounted: Pmxcfs, content: bytes) -> None:
    """Whatever `.members` holds, nothing breaks, and the next whole one is understood."""
    source = make(mounted.mountpoint)
    mounted.files[".members"] = content
    quiet(source)
    mounted.files[".members"] = members(1)
    news(source, what("member", node="pve2", online="yes"))


def test_wake(make: Make, plain: Path) -> None:
    """A waiting read returns at once when woken from another thread."""
    source = make(plain, interval=30)
    quiet(source, 1)
    threading.Timer(0.1, source.wake).start()
    started = time.monotonic()
    assert source.read_batch(timeout=20) is None
    assert time.monotonic() - started < 5
