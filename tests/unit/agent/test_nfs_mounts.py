"""Mounts that answer, deny, went stale and hang: real file systems behind the kernel, and what is said of them."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.classify.nfs_mounts import NfsMounts
from agent.classify.nfs_probe import NfsClassifier
from agent.mountstats import Totals, totals
from agent.record import RawRecord
from agent.sources.configured import Configured
from agent.sources.nfs_mount_probe import BLIND, HUNG, WELL, Prober
from agent.sources.nfs_mounts import Mounts, mount_looks
from events.base import Event, Source
from events.nfs import (
    NfsExportDenied,
    NfsExportGranted,
    NfsHandleStale,
    NfsHandleValid,
    NfsLatencyHigh,
    NfsLatencyNormal,
    NfsMounted,
    NfsMountFailed,
    NfsMountReadOnly,
    NfsMountResponsive,
    NfsMountUnresponsive,
    NfsMountWritable,
    NfsRequestsRepeated,
)
from tests.fuse_pmxcfs import Pmxcfs, can_mount

ROW = {"mounted": True, "source": "10.0.3.1:/e", "target": "/mnt/pve/nas", "storage": "nas", "security": "sys", "ro": False, "detail": ""}
ROOT = {"root": "/"}
mounts_for_real = pytest.mark.skipif(not can_mount(), reason="mounting takes root and /dev/fuse")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Pmxcfs]]:
    """Return a maker of file systems that can hang and fail."""
    held: list[Pmxcfs] = []

    def make(name: str) -> Pmxcfs:
        place = tmp_path / name
        place.mkdir()
        held.append(Pmxcfs(place, {"file": b"x"}))
        return held[-1]

    yield make
    for one in held:
        one.stop()


def watch(tmp_path: Path, *places: Path, deadline: float = 0.5, options: str = "rw", storages: str = "") -> Mounts:
    """Return a look at these places, which the table of mounts calls NFS."""
    (tmp_path / "proc" / "self").mkdir(parents=True, exist_ok=True)
    lines = (f"6{n} 28 0:5{n} / {place} {options} - nfs4 10.0.3.1:/e{n} rw,vers=4.2,addr=10.0.3.1\n" for n, place in enumerate(places))
    (tmp_path / "proc" / "self" / "mountinfo").write_text("".join(lines))
    (tmp_path / "storage.cfg").write_text(storages)
    return Mounts(Configured(tmp_path, "pve1", every=0.01), tmp_path, deadline)


def answers(one: Mounts) -> list[str]:
    """Return how the mounts answered."""
    return [row["answer"] for row in one.look().picture if row["mounted"]]


def plus(sums: Totals, more: Totals) -> Totals:
    """Return counters after more was done."""
    return Totals(*map(sum, zip(sums, more, strict=True)))


def record(look: str, at: float, found: str = "[]") -> RawRecord:
    """Return a record of a look at so many seconds."""
    return RawRecord(Source.NFS, int(at * 1e6), int(at * 1e6), "b", {"look": look, "found": found})


def said(classifier: NfsMounts, at: float, *rows: dict[str, Any]) -> list[type[Event]]:
    """Return the kinds of what a picture says."""
    return [type(event) for event in classifier.mounts(list(rows), record("mounts", at))]


@mounts_for_real
def test_errors_of_a_mount_are_told_by_name(tmp_path: Path, mounted: Callable[[str], Pmxcfs]) -> None:
    """A mount that answers, one that denies and one that is stale are told apart, and each recovers at the next look."""
    places = [mounted(name) for name in ("well", "denied", "stale", "soft")]
    for place, trouble in zip(places, (0, errno.EACCES, errno.ESTALE, errno.EIO), strict=True):
        place.trouble = trouble
    one = watch(tmp_path, *(place.mountpoint for place in places), deadline=20)
    found = answers(one)
    for place in places:
        place.trouble = 0

    assert found == [WELL, "EACCES", "ESTALE", "EIO"]
    assert answers(one) == [WELL] * 4


def test_a_mount_below_a_directory_that_may_not_be_entered_is_not_denied() -> None:
    """A mount below a directory of mode 0700 cannot be seen by another user, which is nothing of its server's; where it can, it answers."""
    other = ("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory() as base:
        private = Path(base, "private")
        (private / "nas").mkdir(parents=True)
        Path(base).chmod(0o755)
        watch(Path(base), private / "nas")
        one = Mounts(Configured(Path(base), "pve1", every=0.01), Path(base), 20, Prober((*other, "/usr/bin/stat", "--cached=never")))
        found = []
        for mode in (0o755, 0o600, 0o755):
            private.chmod(mode)
            look = one.look()
            found.append((look.picture[0]["answer"], look.bad))

    assert found == [(WELL, False), (BLIND, False), (WELL, False)]


DENYING = """
import os, sys
path = sys.argv[-1]
if path.endswith("/."):
    sys.exit("strange")
elif not os.path.exists(path + "/well"):
    sys.exit(f"stat: cannot statx '{path}': Permission denied")
"""


def test_a_denial_below_a_directory_that_says_nothing_is_believed_of_a_mount_that_answered_once(tmp_path: Path) -> None:
    """Whoever was answered there once may enter the directories above; else nobody can tell whose denial it is."""
    watch(tmp_path, tmp_path / "nas")
    (tmp_path / "nas").mkdir()
    one = Mounts(Configured(tmp_path, "pve1", every=0.01), tmp_path, 20, Prober((sys.executable, "-c", DENYING)))
    found = answers(one)
    (tmp_path / "nas/well").touch()
    found += answers(one)
    (tmp_path / "nas/well").unlink()

    assert [*found, *answers(one)] == [BLIND, WELL, "EACCES"]


@mounts_for_real
def test_a_dead_mount_has_one_child_however_often_it_is_asked(tmp_path: Path, mounted: Callable[[str], Pmxcfs]) -> None:
    """Beside twenty blocked readers a dead mount costs one child, no thread and no further descriptor; it is well when it returns."""
    dead, well = mounted("dead"), mounted("well")
    prober = Prober()
    watch(tmp_path, dead.mountpoint, well.mountpoint)
    one = Mounts(Configured(tmp_path, "pve1"), tmp_path, 0.3, prober)
    assert [row["answer"] for row in one.look().picture] == [WELL, WELL]
    dead.hang()
    readers = [threading.Thread(target=_read, args=(dead.mountpoint / "file",), daemon=True) for _ in range(20)]
    for reader in readers:
        reader.start()

    first = [row["answer"] for row in one.look().picture]
    before = _cost()
    began = time.monotonic()
    later = [[row["answer"] for row in one.look().picture] for _ in range(50)]
    took = time.monotonic() - began

    assert first == [HUNG, WELL]
    assert later == [[HUNG, WELL]] * 50
    assert _cost() == before
    assert prober.outstanding == 1
    assert took < 50 * 0.3  # a mount that is known to hang is not waited for again
    dead.answer()
    end = time.monotonic() + 20
    while (found := answers(one)) != [WELL, WELL] and time.monotonic() < end:
        time.sleep(0.02)
    assert (found, prober.outstanding) == ([WELL, WELL], 0)
    for reader in readers:
        reader.join(20)


def _read(path: Path) -> None:
    path.read_bytes()


def _cost() -> tuple[int, int, int]:
    """Return the process's descriptors, threads and children."""
    threads = os.listdir("/proc/self/task")  # noqa: PTH208
    children = sum(len(Path(f"/proc/self/task/{number}/children").read_text().split()) for number in threads)
    return len(os.listdir("/proc/self/fd")), threading.active_count(), children  # noqa: PTH208


@mounts_for_real
def test_one_child_asks_all_mounts_as_far_as_they_answer(
    tmp_path: Path, mounted: Callable[[str], Pmxcfs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look starts one program while every mount answers, well or not; beyond one that hangs each is asked by a program of its own."""
    started: list[list[str]] = []
    run = Prober._run

    def counted(self: Prober, mount: str, paths: list[str]) -> subprocess.Popen[bytes]:
        started.append([path for path in paths if path])
        return run(self, mount, paths)

    monkeypatch.setattr(Prober, "_run", counted)
    names = ("well", "denied", "dead", "odd 'name'\n")
    places = {name: mounted(name) for name in names}
    targets = {name: str(one.mountpoint) for name, one in places.items()}
    places["denied"].trouble = errno.EACCES
    prober = Prober()

    def told() -> list[str]:
        started.clear()
        return [answer.answer for answer in prober.ask(targets, 10).values()]

    before, asked_before = told(), list(started)
    places["dead"].hang()
    first, asked_first = told(), sorted(started)
    later, asked_later = told(), list(started)
    places["dead"].answer()
    end = time.monotonic() + 20
    while (after := told()) != before and time.monotonic() < end:
        time.sleep(0.02)

    paths = list(targets.values())
    assert (before, asked_before) == ([WELL, "EACCES", WELL, WELL], [paths])
    assert (first, asked_first) == ([WELL, "EACCES", HUNG, WELL], sorted([paths, paths[3:]]))  # it hangs there itself, and nobody else
    assert (later, asked_later) == (first, [[*paths[:2], paths[3]]])
    assert (after, prober.outstanding) == (before, 0)


def test_a_child_that_asks_all_and_says_strange_things_is_not_believed(tmp_path: Path) -> None:
    """Silence, an early end, an endless line and what is no answer: each mount is asked by a program of its own then."""
    for number, says in enumerate(("exit 3", "cat /dev/zero >&2", "echo nonsense >&2", "sleep 60", 'printf "stat: cannot" >&2')):
        program = tmp_path / f"stat{number}"
        program.write_text(f'#!/bin/sh\n[ "$1" != "--format=%Z all" ] || {{ {says}; exit; }}\nexec stat --cached=never "$@"\n')
        program.chmod(0o755)
        prober = Prober((str(program),))

        assert [answer.answer for answer in prober.ask({"one": "/", "gone": "/no/such/place"}, 20).values()] == [WELL, "ENOENT"]
        assert prober.outstanding == 0


def test_a_child_that_is_killed_or_missing_says_nothing(tmp_path: Path) -> None:
    """A probe that could not be made, or was killed, is no word on the mount; one that ignores signals is given up at the deadline."""
    killed = tmp_path / "killed"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    stubborn = tmp_path / "stubborn"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM\nexec sleep 30\n")
    stubborn.chmod(0o755)

    assert Prober(("/no/such/program",)).ask(ROOT, 5)["root"].answer == BLIND
    assert Prober((str(killed),)).ask(ROOT, 20)["root"].answer == BLIND
    hanging = Prober((str(stubborn),))
    assert hanging.ask(ROOT, 0.2)["root"].answer == HUNG
    kill(hanging)


def kill(prober: Prober) -> None:
    """End a prober's children and see that each is noticed."""
    for child in prober._children.values():
        if child.process is not None:
            os.kill(child.process.pid, signal.SIGKILL)
    end = time.monotonic() + 20
    while prober.outstanding and time.monotonic() < end:
        prober.ask({}, 0.1)
    assert prober.outstanding == 0


@mounts_for_real
def test_a_mount_in_the_place_of_a_dead_one_is_asked(tmp_path: Path, mounted: Callable[[str], Pmxcfs]) -> None:
    """After `umount -l` and a mount of another server at the same place the new mount's answer is told, while the old one still hangs."""
    dead = mounted("nas")
    prober = Prober()
    watch(tmp_path, dead.mountpoint)
    one = Mounts(Configured(tmp_path, "pve1"), tmp_path, 0.3, prober)
    dead.hang()
    before = answers(one)
    dead.detach()
    instead = Pmxcfs(dead.mountpoint, {})
    try:
        watch(tmp_path, tmp_path / "unused", dead.mountpoint)
        mountinfo = tmp_path / "proc" / "self" / "mountinfo"
        mountinfo.write_text(mountinfo.read_text().splitlines(keepends=True)[1])  # the same place, another device
        end = time.monotonic() + 20
        while (after := answers(one)) != [WELL] and time.monotonic() < end:
            pass
        left = prober.outstanding
    finally:
        instead.stop()
    dead.answer()
    kill(prober)

    assert (before, after, left) == ([HUNG], [WELL], 1)


def test_questions_without_an_answer_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many mounts die one after the other, only so many children are left in them; of more mounts nothing is said."""
    monkeypatch.setattr("agent.sources.nfs_mount_probe._MOST", 2)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    prober = Prober((str(slow),))
    found = prober.ask(dict.fromkeys("abc", "/"), 0.1)

    assert [found[name].answer for name in "abc"] == [HUNG, HUNG, BLIND]
    kill(prober)


ASKS = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from agent.sources.nfs_mount_probe import Prober
prober = Prober((sys.executable, "-c", "import sys; sys.stdin.close(); import time; time.sleep(600)"))
prober.ask({"0:52 /mnt/pve/nas": "/"}, 0.5)
print(*(child.process.pid for child in prober._children.values()), flush=True)
"""


def test_an_agent_started_anew_leaves_a_dead_mount_alone() -> None:
    """What an agent before this one left in a mount is known again: no second question, until it has ended; then the mount is asked."""
    path = ":".join([*(one for one in sys.path if one), str(Path.cwd())])
    left = int(subprocess.run([sys.executable, "-c", ASKS, path], capture_output=True, text=True, check=True, timeout=60).stdout)
    again = Prober((sys.executable, "-c", "import sys; sys.stdin.close(); import time; time.sleep(600)"))
    other = Prober()
    mount = {"0:52 /mnt/pve/nas": "/"}
    try:
        found = again.ask(mount, 0.2)["0:52 /mnt/pve/nas"]
        seen = again.outstanding
        assert other.ask(mount, 20)["0:52 /mnt/pve/nas"].answer == WELL  # another command's children are nobody's
    finally:
        os.kill(left, signal.SIGKILL)
    end = time.monotonic() + 20
    while again.outstanding and time.monotonic() < end:
        again.ask({}, 0.1)
    after = again.ask(mount, 0.2)["0:52 /mnt/pve/nas"]

    assert (found.answer, seen, after.answer, again.outstanding) == (HUNG, 1, HUNG, 1)
    assert [child.process is not None for child in again._children.values()] == [True]
    kill(again)


def test_a_child_that_cannot_be_watched_is_noticed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a free descriptor for its end a child is asked for it: its answer comes, and nothing is left behind."""

    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", fails)
    prober, end = Prober(), time.monotonic() + 20
    while (answer := prober.ask(ROOT, 0.1)["root"].answer) != WELL and time.monotonic() < end:
        pass

    assert (answer, prober.outstanding) == (WELL, 0)


def test_real_programs_errors_are_understood() -> None:
    """The real stat(1) answers for a real directory, and its errors are known by the texts of the C library."""
    found = Prober().ask({"here": "/", "nowhere": "/no-such-directory"}, 20)

    assert (found["here"].answer, found["nowhere"].answer) == (WELL, "ENOENT")


def test_storages_that_are_not_mounted_are_known(tmp_path: Path) -> None:
    """An enabled storage without its mount is in the picture with its export, an IPv6 server in brackets as the kernel writes it."""
    storages = "nfs: six\n\tserver fd00::1\n\texport /six\n\tcontent images\n\nnfs: off\n\tserver h\n\texport /x\n\tdisable\n"
    rows = watch(tmp_path, storages=storages).look().picture

    assert rows == [{"mounted": False, "source": "[fd00::1]:/six", "target": "/mnt/pve/six", "storage": "six"}]


def test_read_only_is_wrong_only_where_it_is_not_configured(tmp_path: Path) -> None:
    """A storage mounted read-only is told when its options do not ask for it."""
    place = tmp_path / "a"
    place.mkdir()
    storage = f"nfs: nas\n\tserver h\n\texport /e\n\tpath {place}\n\tcontent images\n"
    wrong = watch(tmp_path, place, options="ro", storages=storage).look()
    right = watch(tmp_path, place, options="ro", storages=storage + "\toptions ro,vers=4.2\n").look()

    assert [row["ro"] for row in (*wrong.picture, *right.picture)] == [True, False]
    assert (wrong.bad, right.bad) == (True, False)


def test_a_mount_that_is_well_is_said_once() -> None:
    """A healthy mount says that it is mounted, answers, is granted and valid, and then nothing for five minutes."""
    classifier = NfsMounts(0.02)
    row = ROW | {"answer": "ok"}

    assert said(classifier, 0, row) == [NfsMounted, NfsMountResponsive, NfsExportGranted, NfsHandleValid]
    assert said(classifier, 10, row) == []
    assert len(said(classifier, 301, row)) == 4


def test_a_full_picture_on_request() -> None:
    """When a controller does not know it, all that holds is said again at its next sight."""
    classifier = NfsClassifier("pve1")
    picture = record("mounts", 0, json.dumps([ROW | {"answer": "ok"}]))
    first = classifier.classify(picture)
    again = classifier.classify(picture)
    classifier.repeat()

    assert (len(first), again, classifier.classify(picture)) == (4, [], first)


def test_denial_needs_two_sights_and_staleness_one() -> None:
    """A denial is believed at its second sight, a stale handle and silence at once; what is well again is said."""
    classifier = NfsMounts(0.02)
    steps = ["ok", "EACCES", "ok", "EACCES", "EACCES", "ESTALE", "hung", "blind", "ENOENT", "ok"]
    found = [said(classifier, 10 * number, ROW | {"answer": answer}) for number, answer in enumerate(steps)][1:]

    assert found == [
        [],
        [],
        [],
        [NfsExportDenied],
        [NfsHandleStale],
        [NfsMountUnresponsive],
        [],
        [],
        [NfsMountResponsive, NfsExportGranted, NfsHandleValid],
    ]


def test_kerberos_denies_everybody_without_a_ticket() -> None:
    """The agent has no Kerberos ticket: that a mount denies it says nothing."""
    classifier = NfsMounts(0.02)
    found = [said(classifier, at, ROW | {"answer": "EACCES", "security": "krb5p", "storage": ""}) for at in (0, 10, 20)]

    assert found == [[], [], []]


def test_a_missing_mount_is_told_after_a_minute() -> None:
    """Proxmox VE has a minute to mount a storage; then it is told, and also that it was mounted after all."""
    classifier = NfsMounts(0.02)
    missing = {"mounted": False, "source": "10.0.3.1:/e", "target": "/mnt/pve/nas", "storage": "nas"}
    found = [said(classifier, at, missing) for at in (0, 10, 59, 60, 70)]

    assert found == [[], [], [], [NfsMountFailed], []]
    assert NfsMounted in said(classifier, 80, ROW | {"answer": "ok"})


def test_a_clock_that_is_set_is_no_patience() -> None:
    """A node boots, and its clock is put right by a day: the mount has the rest of its minute."""
    classifier = NfsMounts(0.02)
    gone = {"mounted": False, "source": "10.0.3.1:/e", "target": "/mnt/pve/nas", "storage": "nas"}
    said(classifier, 0, gone)
    found = [
        [type(event) for event in classifier.mounts([gone], dataclasses.replace(record("mounts", at), at=int((at + 86_400) * 1e6)))]
        for at in (1, 59, 60)
    ]

    assert found == [[], [], [NfsMountFailed]]


def test_read_only_is_told_and_taken_back() -> None:
    """That a mount is read-only is said; that it is writable only after that."""
    classifier = NfsMounts(0.02)
    said(classifier, 0, ROW | {"answer": "ok"})

    assert said(classifier, 10, ROW | {"answer": "ok", "ro": True}) == [NfsMountReadOnly]
    assert said(classifier, 20, ROW | {"answer": "ok"}) == [NfsMountWritable]


def latency(classifier: NfsMounts, *looks: tuple[int, float]) -> list[list[type[Event]]]:
    """Return what is said of looks each 10 s: so many requests, each with so many seconds of round trip."""
    found, sums = [], Totals()
    classifier.statistics({"h:/e": list(sums)}, record("statistics", 0))
    for number, (requests, mean) in enumerate(looks, 1):
        sums = plus(sums, Totals(requests, requests, 0, 0, int(requests * mean * 1000), int(requests * mean * 1000)))
        found.append([type(event) for event in classifier.statistics({"h:/e": list(sums)}, record("statistics", 10 * number))])
    return found


def test_slowness_must_last() -> None:
    """A mount is slow after two slow looks, not after one, and fast again after two that are well below the limit."""
    looks = [(100, 0.002), (100, 0.05), (100, 0.002), (100, 0.05), (100, 0.05), (100, 0.018), (100, 0.018), (100, 0.002), (100, 0.002)]

    assert latency(NfsMounts(0.02), *looks) == [
        [NfsLatencyNormal], [], [], [], [NfsLatencyHigh], [], [], [], [NfsLatencyNormal],
    ]  # fmt: skip


def test_slowness_is_told_with_what_waits_on_this_node() -> None:
    """A slow mount's event has the round trip, the whole time with waiting, and how many requests waited for a slot."""
    classifier, sums, found = NfsMounts(0.02), Totals(), list[Event]()
    for number in range(4):
        found += classifier.statistics({"h:/e": list(sums)}, record("statistics", 10 * number))
        sums = plus(sums, Totals(100, 100, 0, 2000, 5000, 7000, sends=50, backlog=150))
    (high,) = found

    assert isinstance(high, NfsLatencyHigh)
    assert (high.per_operation, high.execute, high.backlog) == (0.05, 0.07, 3)
    assert high.seen.excerpt == "50.0 ms round trip, 70.0 ms with queueing, 10 requests/s, backlog 3"


def test_idle_mounts_say_nothing() -> None:
    """A handful of requests makes no mean."""
    assert latency(NfsMounts(0.02), *[(4, 0.5)] * 5) == [[]] * 5


def test_a_new_mount_begins_anew() -> None:
    """Counters that went back belong to another mount: they are not compared."""
    classifier = NfsMounts(0.02)
    classifier.statistics({"h:/e": list(Totals(100, 100, 0, 0, 9000, 9000))}, record("statistics", 0))

    assert classifier.statistics({"h:/e": list(Totals(50, 50, 0, 0, 100, 100))}, record("statistics", 10)) == []


def test_repeated_requests_are_counted() -> None:
    """Requests that were sent again are told as one event with their number."""
    classifier = NfsMounts(0.02)
    classifier.statistics({"h:/e": list(Totals())}, record("statistics", 0))
    (event,) = classifier.statistics({"h:/e": list(Totals(2, 5, 3, 0, 0, 0))}, record("statistics", 10))

    assert isinstance(event, NfsRequestsRepeated)
    assert (event.count, event.seconds) == (3, 10.0)


@pytest.mark.parametrize("text", ["", "device", "device x mounted on y with fstype nfs4\n\tper-op statistics\n\tREAD: 1 2\n", "\x00"])
def test_strange_counters_are_nothing(text: str) -> None:
    """Text that is no table of counters gives no counters, and no error."""
    assert all(sums == Totals() for sums in totals(text).values())


def test_a_share_with_a_blank_has_one_name(tmp_path: Path) -> None:
    r"""The kernel writes `\040` in both of its tables: its counters are those of the export that its mount is told by."""
    source = r"10.0.3.1:/my\040share"
    one = watch(tmp_path, tmp_path)
    table = tmp_path / "proc/self/mountinfo"
    table.write_text(table.read_text().replace("10.0.3.1:/e0", source))
    counters = f"device {source} mounted on {tmp_path} with fstype nfs4 statvers=1.1\n\tper-op statistics\n\tREAD: 9 9 0 1 1 0 900 900 0\n"
    (tmp_path / "proc/self/mountstats").write_text(counters)

    assert [row["source"] for row in one.look().picture] == list(one.statistics().picture) == ["10.0.3.1:/my share"]


def test_records_go_where_they_belong() -> None:
    """The source's three looks are told apart; a look that failed or hangs says nothing."""
    classifier = NfsClassifier("pve1")

    assert classifier.classify(record("servers", 0)) == []
    assert classifier.classify(record("mounts", 0)) == []
    assert classifier.classify(record("statistics", 0, "{}")) == []
    assert classifier.classify(record("else", 0)) == []
    assert classifier.classify(RawRecord(Source.NFS, 0, 0, "b", {"look": "mounts", "hung": "6.0"})) == []
    assert classifier.memory() == {}


def test_the_looks_have_their_own_pace(tmp_path: Path) -> None:
    """Mounts are asked each ten seconds, and soon again while one is bad; counters are read each ten."""
    mounts, statistics = mount_looks(Configured(tmp_path, "pve1"), root=tmp_path)

    assert [(one.name, one.interval, one.fast) for one in (mounts, statistics)] == [("mounts", 10.0, 2.0), ("statistics", 10.0, 10.0)]
