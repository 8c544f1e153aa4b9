import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.core.report import IncidentReport
from controller.errors import TemporaryError
from controller.store.reading import LogRow
from controller.stream.jsonl import FileError, JsonlSink
from events.codec import decode
from tests.reports import events, one_incident

ROOT = Path(__file__).resolve().parents[3]


def sink(path: Path, max_bytes: int = 10**9, keep: int = 3) -> JsonlSink:
    """Return a sink for the cluster ``pve``."""
    return JsonlSink(path, max_bytes, keep, "pve")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[JsonlSink]:
    """Return a sink that writes to ``log/events.jsonl`` and never rotates."""
    one = sink(tmp_path / "log" / "events.jsonl")
    yield one
    one.close()


def rows(first: int, last: int) -> list[LogRow]:
    """Return rows of the log with real events."""
    return [LogRow(n, *one[:4], one[-1]) for n, one in zip(range(first, last + 1), events() * 100, strict=False)]


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file, each line of which must be whole."""
    content = path.read_bytes()
    assert content.endswith(b"\n") or not content
    return [json.loads(line) for line in content.splitlines()]


def cursors(*paths: Path) -> list[int]:
    """Return the cursors in files, in the order given."""
    return [line["cursor"] for path in paths for line in lines(path)]


def test_each_line_is_one_record(made: JsonlSink, tmp_path: Path) -> None:
    """A line tells who saw what of which thing when, where it stands in its stream and in our log, and the event itself."""
    row = rows(17, 17)[0]
    made.write_now([row])
    (line,) = lines(tmp_path / "log" / "events.jsonl")
    envelope = decode(row.data)

    assert list(line) == ["type", "cursor", "cluster", "node", "kind", "state", "subject", "observed_at", "stream", "seq", "event"]
    assert (line["type"], line["cursor"], line["node"], line["kind"]) == ("event", 17, row.node, row.kind)
    assert (line["stream"], line["seq"], line["cluster"]) == (envelope.stream, envelope.seq, envelope.cluster)
    assert line["observed_at"].endswith("Z")
    assert line["subject"] == line["event"]["subject"]
    assert line["event"]["seen"]["excerpt"]


def test_all_sorts_of_rows_are_told(made: JsonlSink, tmp_path: Path) -> None:
    """Incidents, gaps and rejected bytes are lines, too; an event that cannot be read is told as it is and stops nothing."""
    report = one_incident()[0]
    made.write_now(
        [
            LogRow(1, "incident", "", "opened", 5, report.model_dump_json().encode()),
            LogRow(2, "gap", "pve1", "gap", 5, b'{"stream":"s","first":4,"last":6,"reason":"the spool was full"}'),
            LogRow(3, "reject", "pve2", "not msgpack", 5, b"\xff\x00"),
            LogRow(4, "event", "pve2", "k", 5, b"\xff\x00"),
        ]
    )
    incident, gap, reject, unreadable = lines(tmp_path / "log" / "events.jsonl")

    assert incident.pop("cursor") == 1
    assert IncidentReport.model_validate(incident) == report
    assert gap == {
        "type": "gap",
        "cursor": 2,
        "cluster": "pve",
        "node": "pve1",
        "at": "1970-01-01T00:00:00.000005Z",
        "stream": "s",
        "first": 4,
        "last": 6,
        "reason": "the spool was full",
    }
    assert (reject["type"], reject["data"], reject["reason"]) == ("reject", "ff00", "not msgpack")
    assert (unreadable["type"], unreadable["data"], unreadable["cluster"]) == ("reject", "ff00", "pve")


def test_rotates_by_size(tmp_path: Path) -> None:
    """No file grows beyond its bound; so many old ones are kept, the newest as .1, and none has half a line."""
    path = tmp_path / "events.jsonl"
    one = sink(path, max_bytes=20_000, keep=2)
    for first in range(1, 200, 7):
        one.write_now(rows(first, first + 6))
    one.close()
    older, newer = path.with_name("events.jsonl.2"), path.with_name("events.jsonl.1")

    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(4_000 < file.stat().st_size <= 20_000 for file in (older, newer))
    kept = cursors(older, newer, path)
    assert kept == list(range(kept[0], 204))


def test_line_longer_than_a_file_is_written_all_the_same(tmp_path: Path) -> None:
    """A record that is longer than a file may be has a file to itself: it is not lost and stops nothing."""
    path = tmp_path / "events.jsonl"
    one = sink(path, max_bytes=4096)
    long = LogRow(2, "reject", "pve1", "long", 1, bytes(5000))
    one.write_now([*rows(1, 1), long, *rows(3, 3)])
    one.close()

    assert cursors(path.with_name("events.jsonl.2"), path.with_name("events.jsonl.1"), path) == [1, 2, 3]


def test_without_old_files_the_file_begins_anew(tmp_path: Path) -> None:
    """With keep = 0 a full file is dropped."""
    path = tmp_path / "events.jsonl"
    one = sink(path, max_bytes=4096, keep=0)
    for number in range(1, 50):
        one.write_now(rows(number, number))
    one.close()

    assert [file.name for file in tmp_path.iterdir()] == ["events.jsonl"]
    assert path.stat().st_size <= 4096
    assert cursors(path)[-1] == 49


def test_moved_file_is_begun_anew(made: JsonlSink, tmp_path: Path) -> None:
    """After logrotate moved the file away, or somebody deleted it or its directory, the next line is in a new file."""
    path = tmp_path / "log" / "events.jsonl"
    made.write_now(rows(1, 2))
    path.rename(path.with_name("moved"))
    made.write_now(rows(3, 3))
    path.unlink()
    path.with_name("moved").rename(tmp_path / "moved")
    path.parent.rmdir()
    made.write_now(rows(4, 4))

    assert cursors(tmp_path / "moved") == [1, 2]
    assert cursors(path) == [4]


def test_file_is_for_the_group_of_log_readers(made: JsonlSink, tmp_path: Path) -> None:
    """A new file is readable by its group and by nobody else, whatever the service's umask."""
    before = os.umask(0o077)
    try:
        made.write_now(rows(1, 1))
    finally:
        os.umask(before)

    assert (tmp_path / "log" / "events.jsonl").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("torn", [b"", b'{"type":"event","curs', b"x" * 200_000])
def test_torn_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """What a crash left of a last line is gone after the next start, whole lines stay, and the torn record comes again."""
    path = tmp_path / "events.jsonl"
    one = sink(path)
    one.write_now(rows(1, 3))
    one.close()
    with path.open("ab") as file:
        file.write(torn)
    again = sink(path)
    again.write_now(rows(4, 5))
    again.close()

    assert cursors(path) == [1, 2, 3, 4, 5]


def test_file_of_one_torn_line_is_emptied(tmp_path: Path) -> None:
    """A file that holds nothing but a torn line becomes empty."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * 100_000)
    one = sink(path)
    one.write_now(rows(1, 1))
    one.close()

    assert cursors(path) == [1]


FULL = """
import json, resource, signal, sys
from pathlib import Path
from controller.store.reading import LogRow
from controller.stream.jsonl import FileError, JsonlSink

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = JsonlSink(Path(sys.argv[1]), 10**9, 3, "pve")
rows = [LogRow(number, "reject", "pve1", "r", 0, bytes(2000)) for number in range(1, 41)]
sink.write_now(rows[:3])
for limit in (40_000, 40_001, 70_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        sink.write_now(rows[3:])
    except FileError as error:
        print("refused", error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(Path(sys.argv[1]).read_bytes().count(b"\\n"), Path(sys.argv[1]).read_bytes()[-1:] == b"\\n")
sink.write_now(rows[3:])
sink.close()
"""


def test_full_disk_tears_and_repeats_nothing(tmp_path: Path) -> None:
    """A write that the kernel cuts short is a temporary error and is taken back; with room again the lines follow once, in order."""
    path = tmp_path / "events.jsonl"
    done = subprocess.run([sys.executable, "-c", FULL, path], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert done.stdout.splitlines() == [f"refused {path}: File too large", "3 True"] * 3, done.stderr
    assert cursors(path) == list(range(1, 41))
    assert issubclass(FileError, TemporaryError)


WRITES = """
import sys
from pathlib import Path
from controller.store.reading import LogRow
from controller.stream.jsonl import JsonlSink

sink, number = JsonlSink(Path(sys.argv[1]), 300_000, 3, "pve"), int(sys.argv[2])
while True:
    sink.write_now([LogRow(n, "reject", "pve1", "r", 0, bytes(700)) for n in range(number + 1, number + 101)])
    number += 100
    print(number, flush=True)
"""


def test_kill_tears_and_loses_nothing(tmp_path: Path) -> None:
    """Killed at any moment, also while rotating, the files hold every confirmed line and no half one after the next start."""
    path, chance, confirmed = tmp_path / "events.jsonl", random.Random(11), 0
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", WRITES, path, str(confirmed)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            first = child.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.05))  # the moment of the kill is the test's dice, nothing is waited for
            child.send_signal(signal.SIGKILL)
            confirmed = int((first + child.stdout.read()).split()[-1])
        again = sink(path)
        again._open()
        again.close()
        files = sorted(tmp_path.iterdir(), key=lambda file: file.name, reverse=True)
        ordered = [*[file for file in files if file != path], *([path] if path.exists() else [])]
        kept = cursors(*ordered)
        assert confirmed in kept[-300:]
        assert set(range(min(kept), max(kept) + 1)) == set(kept), "no line is missing; those of the last write may be there twice"


def test_file_that_logrotate_made_keeps_its_mode(tmp_path: Path) -> None:
    """A file that is already there is written as it is: its owner and mode are logrotate's to choose, and we may not be its owner."""
    path = tmp_path / "events.jsonl"
    path.touch(0o600)
    one = sink(path)
    one.write_now(rows(1, 1))
    one.close()

    assert path.stat().st_mode & 0o777 == 0o600
