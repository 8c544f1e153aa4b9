"""Reading files of /etc/pve and of a copy of it: nothing twice for nothing, and no change missed for that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.sources.pmxcfs_files import Content, Files
from pve import version_file
from pve.version_file import VersionFile
from tests.fuse_pmxcfs import Pmxcfs, can_mount


def again(files: Files, path: str = "f") -> Content:
    """Look at one file of a copy, as the next look does."""
    files.begin()
    return files.copied(path)


def test_an_unchanged_copy_is_not_read_again(tmp_path: Path) -> None:
    """What has stood for a while is the very object that was read then."""
    (tmp_path / "f").write_text("a")
    files = Files(tmp_path, settled=0)
    again(files)
    settled = again(files)

    assert settled.data == b"a"
    assert again(files) is settled


@pytest.mark.skipif(not can_mount(), reason="mounting a FUSE file system takes root and /dev/fuse")
def test_a_copy_rewritten_within_a_tick_is_seen(tmp_path: Path) -> None:
    """A file that is rewritten at once keeps its size and, within a tick of its file system's clock, its times: it is seen."""
    served = Pmxcfs(tmp_path, {"f": b"0"})  # its clock stands still
    files = Files(tmp_path, settled=1000)
    try:
        for number in (b"1", b"2", b"3"):
            served.files["f"] = number
            assert [again(files).data for _ in range(3)] == [number] * 3
    finally:
        served.stop()


@pytest.mark.parametrize("renamed", [False, True])
def test_a_copy_with_its_old_time_is_seen(tmp_path: Path, *, renamed: bool) -> None:
    """A file that is rewritten, or comes in the place of another, with the size and time that it had, as `rsync` leaves them, is seen."""
    (tmp_path / "f").write_text("a")
    files = Files(tmp_path, settled=0)
    before = (tmp_path / "f").stat()
    assert [again(files).data for _ in range(3)] == [b"a"] * 3
    written = tmp_path / ("new" if renamed else "f")
    written.write_text("b")
    os.utime(written, ns=(before.st_atime_ns, before.st_mtime_ns))
    written.rename(tmp_path / "f")

    assert again(files).data == b"b"


@pytest.mark.parametrize("forgotten", [Files.forget, Files.begin])
def test_a_copy_is_read_again_after_a_while_unseen(tmp_path: Path, forgotten: Callable[[Files], None]) -> None:
    """What was read before the file system was lost, or two looks ago, is trusted no more."""
    (tmp_path / "f").write_text("a")
    files = Files(tmp_path, settled=0)
    settled = [again(files) for _ in range(2)][-1]
    forgotten(files)

    assert again(files) == settled
    assert again(files) is not settled


def test_a_file_that_is_gone_or_denied_is_not_remembered(tmp_path: Path) -> None:
    """A settled file that is removed is gone at the next look; one in whose place a directory comes cannot be read."""
    (tmp_path / "f").write_text("a")
    files = Files(tmp_path, settled=0)
    assert [again(files).data for _ in range(3)] == [b"a"] * 3
    (tmp_path / "f").unlink()
    assert again(files).digest is None
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectoryError):
        again(files)


def test_a_dot_file_is_parsed_when_it_changed(tmp_path: Path) -> None:
    """The same bytes give the very object that they gave before; others are parsed; what is torn each time says so."""
    parsed: list[bytes] = []

    def parse(data: bytes) -> VersionFile:
        parsed.append(data)
        return version_file.parse(data)

    files = Files(tmp_path)
    dot = tmp_path / ".version"
    dot.write_bytes(first := b'{"starttime": 1, "clinfo": 1}')
    assert files.parsed(".version", parse) is files.parsed(".version", parse)
    assert parsed == [first]
    dot.write_bytes(b'{"starttime": 1, "clinfo": 2}')
    assert files.parsed(".version", parse).counters == {"clinfo": 2}
    dot.write_bytes(b'{"starttime": 1, "cli')
    with pytest.raises(OSError, match="torn") as torn:
        files.parsed(".version", parse)
    assert torn.value.errno == errno.EAGAIN
    dot.write_bytes(first)
    assert files.parsed(".version", parse).counters == {"clinfo": 1}
