"""Record what the agent's key sees of each scenario: `python -m tests.ceph.record --into tests/samples/ceph [SCENARIO …]`.

Per scenario: `before.json`, `during.json`, `after.json` (each command's answer and how long it took), `timeline.jsonl` (steps, lines of
the cluster's log, changed answers; seconds since the fault began). What is larger than :data:`LARGE` is packed with xz.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import lzma
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from agent.sources.librados import CephError
from tests.ceph.cluster import CephCluster, missing
from tests.ceph.cut import on_node
from tests.ceph.layout import CLIENT, CUT_NODE
from tests.ceph.librados import Connection
from tests.ceph.scenarios import SCENARIOS, Scenario, Step, scenario

LARGE: Final = 16 << 10
"""Bytes from which a file is packed."""
COMMANDS: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    ("health", {"detail": "detail"}),
    ("status", {}),
    ("osd tree", {}),
    ("osd dump", {}),
    ("osd df", {"output_method": "tree"}),
    ("df", {"detail": "detail"}),
    ("quorum_status", {}),
    ("pg stat", {}),
    ("pg dump_stuck", {}),
    ("osd perf", {}),
    ("osd pool ls", {"detail": "detail"}),
    ("osd pool stats", {}),
    ("osd blocked-by", {}),
    ("mgr stat", {}),
    ("versions", {}),
)
RARE: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (
    ("mgr dump", {}),
    ("mon dump", {}),
    ("osd metadata", {}),
    ("osd crush dump", {}),
    ("time-sync-status", {}),
    ("crash ls-new", {}),
    ("log last", {"num": 50, "level": "info", "channel": "cluster"}),
)
"""Asked once, in `healthy`."""
_WATCHED: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (("health", {"detail": "detail"}), ("pg stat", {}))
_WATCHED_BLIND: Final[tuple[tuple[str, Mapping[str, object]], ...]] = (("status", {}), ("quorum_status", {}))
_DEADLINE: Final = 3


class Recorder:
    """Watches one cluster as the agent would, on one connection, from a thread for each thing that is asked.

    :param blind: monitors may not answer; which commands they still answer is then part of what is watched.
    """

    def __init__(self, cluster: CephCluster, *, blind: bool = False) -> None:
        self.connection = Connection(cluster.layout.conf, CLIENT, _DEADLINE, connect=10)
        self.entries: list[dict[str, Any]] = []
        self._blind = blind
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self.connection.cluster.monitor_log2("debug", self._line, None)
        watched = (*_WATCHED, *_WATCHED_BLIND) if blind else _WATCHED
        self._threads = [threading.Thread(target=self._poll, args=command, daemon=True) for command in watched]
        self.cluster = cluster

    def begin(self) -> None:
        """Begin a timeline: now is its zero."""
        self.entries.clear()
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End it; the connection as well."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_DEADLINE + 2)
        self.connection.close()
        self.entries.sort(key=lambda entry: float(entry["at"]))

    def note(self, **entry: object) -> None:
        """Add an entry with its time."""
        self.entries.append({"at": round(time.monotonic() - self._begun, 3), **entry})

    def _line(self, _: object, line: bytes, channel: bytes, name: bytes, *rest: Any) -> None:
        """Take a line of the cluster's log, called by librados: who, seconds, nanoseconds, sequence, level, text follow."""
        who, seconds, nanoseconds, number, level, text = rest
        words = [
            part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in (line, channel, name, who, level, text)
        ]
        entry = dict(zip(("line", "channel", "name", "who", "level", "text"), words, strict=True))
        self.note(kind="log", **entry, stamp=int(seconds) * 10**9 + int(nanoseconds), seq=int(number))

    def _poll(self, prefix: str, arguments: Mapping[str, object]) -> None:
        """Ask one thing again and again, note each answer that differs from the one before."""
        last: object = None
        while not self._stop.is_set():
            said = self.ask(prefix, arguments)
            if (now := said.get("answer", said.get("error"))) != last:
                last = now
                self.note(kind="answer", command=prefix, **said)
            self._stop.wait(0.3)

    def ask(self, prefix: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        """Return a command's answer or error, and how many milliseconds it took."""
        begun = time.monotonic()
        try:
            said: dict[str, Any] = {"answer": self.connection.ask(prefix, **arguments)}
        except CephError as error:
            said = {"error": str(error)}
        return {"arguments": dict(arguments), "milliseconds": round((time.monotonic() - begun) * 1000, 2), **said}

    def picture(self, commands: Iterable[tuple[str, Mapping[str, object]]]) -> dict[str, Any]:
        """Return the answers of all these commands; all are asked at once where each may cost a deadline."""
        asked = [*commands]
        with ThreadPoolExecutor(len(asked) if self._blind else 1) as pool:
            said = pool.map(lambda command: self.ask(*command), asked)
            return {prefix: answer for (prefix, _), answer in zip(asked, said, strict=True)}

    def play(self, steps: Iterable[Step]) -> None:
        """Do steps, noting each when it begins."""
        for step in steps:
            self.note(kind="step", step=str(step))
            step.run(self.cluster)


def record(cluster: CephCluster, case: Scenario, into: Path) -> dict[str, Any]:
    """Play a scenario on a healthy cluster, write its files; return what it took, and how many lines it gave.

    :raises CephError: it did not happen as the scenario says.
    """
    for step in case.before:
        step.run(cluster)
    cluster.wait_healthy()
    with on_node(CUT_NODE):
        recorder = Recorder(cluster, blind=case.blind or bool(case.nodes))
    commands = (*COMMANDS, *(RARE if case.name == "healthy" else ()))
    _write(into / "before.json", recorder.picture(commands))
    recorder.begin()
    try:
        recorder.play(case.fault)
        time.sleep(case.lasts)
        _write(into / "during.json", recorder.picture(COMMANDS))
        recorder.play(case.repair)
        recorder.note(kind="step", step="wait_healthy()")
        cluster.wait_calm()
        _write(into / "after.json", recorder.picture(COMMANDS))
    finally:
        recorder.end()
    _write(into / "timeline.jsonl", recorder.entries)
    truth = {"about": case.about, "truth": [list(each) for each in case.truth], "codes": sorted(case.codes), "quiet": case.quiet}
    nodes = {node: list(each) for node, each in case.nodes.items()}
    _write(
        into / "truth.json",
        {**truth, "nodes": nodes, "fsid": cluster.layout.fsid, "fault": [*map(str, case.fault)], "repair": [*map(str, case.repair)]},
    )
    cluster.purge()
    return {
        "scenario": case.name,
        "seconds": recorder.entries[-1]["at"],
        "lines": sum(entry["kind"] == "log" for entry in recorder.entries),
    }


def _write(path: Path, content: object) -> None:
    """Write JSON, or a list as lines of JSON; packed when large."""
    lines = path.suffix == ".jsonl" and isinstance(content, list)
    text = "".join(json.dumps(each) + "\n" for each in content) if lines else json.dumps(content, indent=1) + "\n"  # type: ignore[attr-defined]
    if len(text) > LARGE:
        path.with_name(f"{path.name}.xz").write_bytes(lzma.compress(text.encode()))
    else:
        path.write_text(text)


def record_all(names: Iterable[str], into: Path, place: Path) -> Iterator[dict[str, Any]]:
    """Record scenarios below ``into``, yield a line about each. One that fails costs its cluster; it is tried once more, on a new one.

    :param place: where clusters live; they are not removed.
    """
    left = [*names]
    failed: list[str] = []
    for number in itertools.count(1):
        with CephCluster(place / str(number)) as cluster:
            versions = cluster.ask("versions")["overall"]
            release = into / next(iter(versions)).split()[2].rpartition(".")[0]
            release.mkdir(parents=True, exist_ok=True)
            _write(release / "provenance.json", _provenance(versions))
            while left:
                name = left.pop(0)
                made = place / str(number) / "made" / name
                made.mkdir(parents=True)
                try:
                    told = record(cluster, scenario(name), made)
                except CephError as error:
                    yield {"scenario": name, "failed": str(error), "logs": str(place / str(number) / "log")}
                    left = left if name in failed else [name, *left]
                    failed.append(name)
                    break
                shutil.rmtree(release / name, ignore_errors=True)  # only what is whole replaces an earlier recording
                shutil.copytree(made, release / name)
                yield told
        if not left:
            return


def _provenance(versions: Mapping[str, int]) -> dict[str, Any]:
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {"versions": versions, "python": platform.python_version(), "system": system, "date": time.strftime("%Y-%m-%d", time.gmtime())}


def note_sums(samples: Path, folder: str) -> None:
    """Note the checksums of all recordings below ``folder`` in the samples' list of them, in place of those that stood there."""
    noted = samples / "SHA256SUMS"
    kept = [line for line in noted.read_text().splitlines() if not line.split("  ", 1)[1].startswith(f"{folder}/")]
    files = (path for path in (samples / folder).glob("*/**/*") if path.is_file())
    now = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(samples)}" for path in files]
    noted.write_text("".join(f"{line}\n" for line in sorted((*kept, *now), key=lambda line: line.split("  ", 1)[1])))


def main(arguments: list[str] | None = None) -> int:
    """Record scenarios, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.record", description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--dir", type=Path, help="keep the clusters' own files and logs there; a short path")
    parser.add_argument("scenario", nargs="*", default=[case.name for case in SCENARIOS])
    options = parser.parse_args(arguments)
    if reason := missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    status = 0
    with tempfile.TemporaryDirectory(prefix="flc") as directory:
        for told in record_all(options.scenario, options.into, options.dir.absolute() if options.dir else Path(directory)):
            sys.stdout.write(f"{json.dumps(told)}\n")
            sys.stdout.flush()
            status |= "failed" in told
    if (options.into.parent / "SHA256SUMS").exists():
        note_sums(options.into.parent, options.into.name)
    return status


if __name__ == "__main__":
    sys.exit(main())
