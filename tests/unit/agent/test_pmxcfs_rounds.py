"""Rounds of looks at /etc/pve: the thread that looks goes on by itself, and whoever waits for it hears only what there is to say."""

from __future__ import annotations

import json
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent.sources.background import Background
from agent.sources.pmxcfs_look import Look
from agent.sources.pmxcfs_rounds import Rounds
from tests.fuse_pmxcfs import Pmxcfs, can_mount

fuse = pytest.mark.skipif(not can_mount(), reason="mounting a FUSE file system takes root and /dev/fuse")
_LONG = 20.0
"""Seconds after which what should have happened long ago counts as not happening."""


def version(storage: int, restless: int = 1) -> bytes:
    """Return a `.version` of one life of pmxcfs."""
    return json.dumps({"starttime": 1000, "vmlist": 1, "storage.cfg": storage, "ha/manager_status": restless}).encode()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Pmxcfs]:
    """Return a served /etc/pve."""
    (mountpoint := tmp_path / "pve").mkdir()
    members = b'{"nodename": "pve1", "version": 1}'
    served = Pmxcfs(mountpoint, {".version": version(1), ".members": members, ".vmlist": b'{"version": 1}', "storage.cfg": b"dir: a\n"})
    yield served
    served.stop()


@pytest.fixture
def make() -> Iterator[Callable[..., Rounds]]:
    """Return what makes rounds that are closed at the end."""
    made: list[Rounds] = []

    def new(root: Path, interval: float = 0.01, deadline: float = _LONG) -> Rounds:
        made.append(Rounds(root, "pve1", interval, deadline))
        return made[-1]

    yield new
    for one in made:
        one.close()


def found(rounds: Rounds) -> Look | None:
    """Wait for a round to end and return what it found."""
    assert select.select([rounds], [], [], _LONG)[0]
    return rounds.take()


def ready(rounds: Rounds) -> bool:
    """Tell whether a round has ended."""
    return bool(select.select([rounds], [], [], 0)[0])


def first(rounds: Rounds) -> Look:
    """Take the first look, with what only a slow one finds; return what is known then."""
    rounds.begin(None, None)
    seen = found(rounds)
    assert seen is not None
    return replace(seen, files={} if not seen.plain else seen.files, guests={} if not seen.plain else seen.guests, slow={})


def wait(until: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + _LONG
    while not until():
        assert time.monotonic() < end
        time.sleep(0.002)


def inotify() -> int:
    """Return how many instances of inotify are open in this process."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own, or another thread's
            count += "inotify" in str(descriptor.readlink())
    return count


@fuse
def test_nobody_is_woken_while_nothing_changes(make: Callable[..., Rounds], mounted: Pmxcfs) -> None:
    """Look after look of one round finds what is known, also while counters move that say nothing; the first change ends it."""
    rounds = make(mounted.mountpoint)
    rounds.begin(known := first(rounds), known.plain)
    mounted.opened.clear()
    wait(lambda: mounted.opened.count(".version") > 5)
    mounted.files[".version"] = version(1, restless=2)
    mounted.opened.clear()
    wait(lambda: mounted.opened.count(".version") > 5)

    assert not ready(rounds)
    assert set(mounted.opened) == {".version", ".members"}
    mounted.files |= {"storage.cfg": b"dir: b\n", ".version": version(2, restless=2)}
    seen = found(rounds)
    assert seen is not None
    assert {path: content.data for path, content in seen.files.items()} == {"storage.cfg": b"dir: b\n"}


def test_a_copy_that_stays_as_it_is_wakes_nobody(make: Callable[..., Rounds], tmp_path: Path) -> None:
    """A plain directory is looked at in one round until a file of it changes or a guest is added."""
    (tmp_path / "storage.cfg").write_text("dir: a\n")
    guests = tmp_path / "nodes" / "pve1" / "lxc"
    guests.mkdir(parents=True)
    rounds = make(tmp_path)
    rounds.begin(known := first(rounds), known.plain)
    assert not select.select([rounds], [], [], 0.3)[0]
    (guests / "100.conf").write_text("rootfs: a:b\n")
    seen = found(rounds)
    assert seen is not None
    assert list(seen.guests) == ["100"]


def test_a_directory_that_stays_away_wakes_nobody(make: Callable[..., Rounds], tmp_path: Path) -> None:
    """An unmounted file system is found once; the round after that ends when it is there again."""
    rounds = make(root := tmp_path / "pve")
    rounds.begin(known := first(rounds), None)
    assert known.how == "unmounted"
    assert not select.select([rounds], [], [], 0.3)[0]
    root.mkdir()
    (root / "storage.cfg").write_text("dir: a\n")
    seen = found(rounds)
    assert seen is not None
    assert seen.how == "served"


@fuse
def test_no_look_begins_while_nobody_waits(make: Callable[..., Rounds], mounted: Pmxcfs) -> None:
    """A paused round looks no more, whatever is due; the next one that is begun goes on from what is known."""
    rounds = make(mounted.mountpoint)
    rounds.begin(known := first(rounds), known.plain)
    wait(lambda: rounds.pause() or ready(rounds))
    mounted.opened.clear()
    time.sleep(0.2)
    assert mounted.opened == []
    mounted.files |= {"storage.cfg": b"dir: b\n", ".version": version(2)}
    assert rounds.take() is None
    rounds.begin(known, known.plain)
    seen = found(rounds)
    assert seen is not None
    assert list(seen.files) == ["storage.cfg"]


@fuse
def test_a_look_that_hangs_is_given_up_once_and_waited_for(make: Callable[..., Rounds], mounted: Pmxcfs) -> None:
    """While a look that was given up has not returned no other begins; what it returns is dropped, and the next look begins at once."""
    rounds = make(mounted.mountpoint, deadline=0.1, interval=0.05)
    rounds.begin(known := first(rounds), known.plain)
    mounted.hang()
    wait(rounds.give_up)
    threads = threading.active_count()
    assert not rounds.give_up()
    assert rounds.pause()
    for _ in range(3):
        rounds.begin(None, None)
        assert not select.select([rounds], [], [], 0.1)[0]
    assert threading.active_count() == threads
    mounted.files |= {"storage.cfg": b"dir: b\n", ".version": version(2)}
    mounted.answer()
    assert found(rounds) is None
    rounds.begin(Look("hung"), False)
    seen = found(rounds)
    assert seen is not None
    assert seen.files["storage.cfg"].data == b"dir: b\n"


@fuse
def test_who_begins_anew_takes_no_hanging_look_twice(mounted: Pmxcfs) -> None:
    """Over the same background a look that hangs is left alone: each that begins tells of it once, and looks as soon as it has returned."""
    background, threads = Background("pmxcfs"), set[threading.Thread]()
    for _ in range(3):
        rounds = Rounds(mounted.mountpoint, "pve1", 0.05, 0.1, background)
        if not threads:
            rounds.begin(known := first(rounds), known.plain)
            mounted.hang()
        else:
            rounds.begin(None, None)
        wait(rounds.give_up)
        threads |= {one for one in threading.enumerate() if one.name == "pmxcfs-look"}
        rounds.close()
    rounds = Rounds(mounted.mountpoint, "pve1", 0.05, _LONG, background)
    rounds.begin(None, None)
    mounted.answer()
    dropped = found(rounds)
    rounds.begin(None, None)
    seen = found(rounds)
    rounds.close()
    background.close()

    assert len(threads) == 1
    assert dropped is None
    assert seen is not None
    assert seen.how == "served"


@fuse
def test_what_another_left_is_no_first_look(mounted: Pmxcfs) -> None:
    """A look of who looked before, which ended meanwhile, says only what that had not known: the first look of the next says everything."""
    background = Background("pmxcfs")
    before = Rounds(mounted.mountpoint, "pve1", 0.05, _LONG, background)
    before.begin(known := first(before), known.plain)
    mounted.hang()
    time.sleep(0.5)  # a look is under way
    mounted.files |= {".version": version(2), ".vmlist": b'{"version": 2}'}
    before.close()
    mounted.answer()
    assert select.select([background], [], [], _LONG)[0]
    rounds = Rounds(mounted.mountpoint, "pve1", 0.05, _LONG, background)
    left = rounds.take()
    rounds.begin(None, None)
    seen = found(rounds)
    rounds.close()
    background.close()

    assert left is None
    assert seen is not None
    assert "storage.cfg" in seen.files
    assert seen.present is not None


def test_closing_ends_the_thread_and_gives_back_what_it_held(make: Callable[..., Rounds], tmp_path: Path) -> None:
    """Closing does not wait for the next look: the thread ends, and neither bell nor watches stay open."""
    (tmp_path / "storage.cfg").write_text("dir: a\n")
    before, threads = inotify(), set(threading.enumerate())
    rounds = Rounds(tmp_path, "pve1", 1000, 1000)
    rounds.begin(known := first(rounds), known.plain)
    (thread,) = set(threading.enumerate()) - threads
    assert inotify() == before + 1
    assert not select.select([rounds], [], [], 0.2)[0]  # now it waits
    rounds.close()
    thread.join(_LONG)

    assert not thread.is_alive()
    assert inotify() == before
