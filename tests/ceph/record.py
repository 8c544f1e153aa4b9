"""Record what the agent's key sees of each scenario: `python -m tests.ceph.record --into tests/samples/ceph [SCENARIO …]`.

Per scenario: `before.json`, `during.json`, `after.json` (each command's answer and how long it took), `timeline.jsonl` (steps, lines of
the cluster's log, changed answers; seconds since the fault began). What is larger than :data:`LARGE` is packed with xz.
"""

from __future__ import annotations

import argparse
import json
import lzma
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.ceph.cluster import CephCluster, missing
from tests.ceph.layout import CLIENT, CUT_NODE
from tests.ceph.librados import CephError, Connection
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
_DEADLINE: Final = 3


class Recorder:
    """Watches one cluster as the agent would, on one connection, from a thread."""

    def __init__(self, cluster: CephCluster, conf: Path) -> None:
        self.connection = Connection(conf, CLIENT, _DEADLINE, connect=10)
        self.entries: list[dict[str, Any]] = []
        self._begun = time.monotonic()
        self._stop = threading.Event()
        self._watch = self.connection.rados.MonitorLog2(self.connection.cluster, "debug", self._line, None)
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self.cluster = cluster

    def begin(self) -> None:
        """Begin a timeline: now is its zero."""
        self.entries.clear()
        self._begun = time.monotonic()
        self._thread.start()

    def end(self) -> None:
        """End it; the connection as well."""
        self._stop.set()
        self._thread.join(2 * _DEADLINE + 2)
        self.connection.close()

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

    def _poll(self) -> None:
        last: dict[str, object] = {}
        while not self._stop.is_set():
            for prefix, arguments in _WATCHED:
                said = self.ask(prefix, arguments)
                if said.get("answer", said.get("error")) != last.get(prefix):
                    last[prefix] = said.get("answer", said.get("error"))
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
        """Return the answers of all these commands; of none after the first that nobody answers, since each costs a deadline."""
        answers: dict[str, Any] = {}
        for prefix, arguments in commands:
            answers[prefix] = self.ask(prefix, arguments)
            if answers[prefix]["milliseconds"] >= 900 * _DEADLINE:
                break
        return answers

    def play(self, steps: Iterable[Step]) -> None:
        """Do steps, noting each when it begins."""
        for step in steps:
            self.note(kind="step", step=str(step))
            step.run(self.cluster)


def record(cluster: CephCluster, case: Scenario, into: Path) -> dict[str, Any]:
    """Play a scenario on a healthy cluster, write its files; return a line for the README."""
    for step in case.before:
        step.run(cluster)
    cluster.wait_healthy()
    recorder = Recorder(cluster, cluster.node_conf(CUT_NODE) if case.nodes else cluster.layout.conf)
    commands = (*COMMANDS, *(RARE if case.name == "healthy" else ()))
    _write(into / "before.json", recorder.picture(commands))
    recorder.begin()
    try:
        recorder.play(case.fault)
        time.sleep(case.lasts)
        _write(into / "during.json", recorder.picture(COMMANDS))
        recorder.play(case.repair)
        recorder.note(kind="step", step="wait_healthy()")
        cluster.wait_healthy(120)
        time.sleep(3)
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
    return {
        "scenario": case.name,
        "seconds": recorder.entries[-1]["at"],
        "lines": sum(entry["kind"] == "log" for entry in recorder.entries),
    }


def _write(path: Path, content: object) -> None:
    """Write JSON, or a list as lines of JSON; packed when large. The other form of an earlier recording is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.suffix == ".jsonl" and isinstance(content, list)
    text = "".join(json.dumps(each) + "\n" for each in content) if lines else json.dumps(content, indent=1) + "\n"  # type: ignore[attr-defined]
    packed = path.with_name(f"{path.name}.xz")
    if len(text) > LARGE:
        path.unlink(missing_ok=True)
        packed.write_bytes(lzma.compress(text.encode()))
    else:
        packed.unlink(missing_ok=True)
        path.write_text(text)


def main(arguments: list[str] | None = None) -> int:
    """Record scenarios, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.record", description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("scenario", nargs="*", default=[case.name for case in SCENARIOS])
    options = parser.parse_args(arguments)
    if reason := missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="flc") as directory, CephCluster(Path(directory)) as cluster:
        versions = cluster.ask("versions")["overall"]
        release = next(iter(versions)).split()[2].rpartition(".")[0]
        for name in options.scenario:
            try:
                told = record(cluster, scenario(name), options.into / release / name)
            except CephError as error:
                told = {"scenario": name, "failed": str(error)}
                cluster.recover()
            sys.stdout.write(f"{json.dumps(told)}\n")
            sys.stdout.flush()
        about = {"versions": versions, "python": platform.python_version(), "system": platform.freedesktop_os_release()["PRETTY_NAME"]}
        about["date"] = time.strftime("%Y-%m-%d", time.gmtime())
        _write(options.into / release / "provenance.json", about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
