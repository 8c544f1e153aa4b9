"""A recording of a real cluster through the agents' classifier, the codec and the core: what would have been told.

What is recorded between two pictures are the health checks and the log; the maps are known in the pictures only (before, during, after).
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from agent.classify.ceph import CephClassifier
from agent.record import RawRecord
from agent.sources.ceph import map_of
from controller.core.correlate import Heard
from controller.core.report import IncidentReport
from controller.core.state import CoreState
from events.base import Event, Source
from events.codec import decode, encode
from events.envelope import Envelope
from tests.sim.channel import Arrival
from tests.sim.plan import CLUSTER
from tests.sim.trial import Engine

NODES: Final = ("pve1", "pve2", "pve3")
SECOND: Final = 1_000_000
START: Final = 1_795_000_000 * SECOND
"""UTC µs of a timeline's zero."""
_LEAD: Final = 60 * SECOND
"""Microseconds by which the first picture is older than the fault."""
_COMMANDS: Final = ("quorum_status", "status", "osd tree", "osd dump", "df")


def read(path: Path) -> str:
    """Return a file of a recording, unpacked where it is packed."""
    return path.read_text() if path.exists() else lzma.decompress(path.with_name(f"{path.name}.xz").read_bytes()).decode()


def timeline(recording: Path) -> list[dict[str, Any]]:
    """Return the entries of a timeline."""
    return [json.loads(line) for line in read(recording / "timeline.jsonl").splitlines()]


def truth(recording: Path) -> dict[str, Any]:
    """Return what the scenario says of a recording; entities with the cluster's fsid."""
    told = json.loads(read(recording / "truth.json"))
    told["truth"] = {(cause, entity.format(fsid=told["fsid"])) for cause, entity in told["truth"]}
    return dict(told)


def records(recording: Path) -> list[RawRecord]:
    """Return what the agent's looks would have yielded, in order of time."""
    entries, told = timeline(recording), truth(recording)
    repair = next(
        (entry["at"] for entry in entries if entry["kind"] == "step" and entry["step"] in {*told["repair"], "wait_healthy()"}), None
    )
    last = entries[-1]["at"]
    found = [record for entry in entries for record in _entry(entry, told["fsid"])]
    times = {"before": -_LEAD / SECOND, "during": last if repair is None else repair - 0.001, "after": last + 0.5}
    for name, at in times.items():
        found += _picture(json.loads(read(recording / f"{name}.json")), at, told["fsid"])
        # What is seen once is believed at its second sight.
        found += _picture(json.loads(read(recording / f"{name}.json")), at + 0.0005, told["fsid"])
    return sorted(found, key=lambda record: record.at)


def _entry(entry: dict[str, Any], fsid: str) -> Iterator[RawRecord]:
    if entry["kind"] == "log" and entry["channel"] == "cluster" and entry["level"] != "[DBG]":
        yield _record("log", entry["at"], {"fsid": fsid, "lines": [{"text": entry["text"]}]})
    elif entry["kind"] == "answer" and entry["command"] == "health":
        yield _record("health", entry["at"], {"fsid": fsid, **_said(entry)})


def _said(answer: dict[str, Any]) -> dict[str, Any]:
    return {"health": answer["answer"]} if "answer" in answer else {"silent": answer["error"]}


def _picture(picture: dict[str, Any], at: float, fsid: str) -> Iterator[RawRecord]:
    yield _record("health", at, {"fsid": fsid, **_said(picture["health"])})
    answers = [picture.get(command, {}).get("answer") for command in _COMMANDS]
    if None not in answers:
        yield _record("map", at + 0.0001, {"fsid": fsid, **map_of(*answers)})
    if "answer" in picture.get("osd perf", {}):
        yield _record("load", at + 0.0002, {"fsid": fsid, "perf": picture["osd perf"]["answer"]})


def _record(look: str, at: float, found: dict[str, Any]) -> RawRecord:
    when = START + round(at * SECOND)
    return RawRecord(Source.CEPH, when, when, "boot", {"look": f"{look}@ceph", "found": json.dumps({"cluster": "ceph", **found})})


def events(recording: Path) -> list[tuple[int, Event]]:
    """Return what one node's agent would have told, with the times (UTC µs)."""
    classifier = CephClassifier(NODES[0])
    return [(record.at, event) for record in records(recording) for event in classifier.classify(record)]


def incidents(recording: Path, quiet: float = 300.0) -> list[IncidentReport]:
    """Return all reports on a recording that several nodes' agents saw, until ``quiet`` seconds after its end."""
    engine, told = Engine(CoreState(CLUSTER)), events(recording)
    sequences = dict.fromkeys(NODES, 0)
    end = told[-1][0] + int(quiet * SECOND)
    beats = [(at, None) for at in range(told[0][0] - SECOND, end, 2 * SECOND)]
    for at, group in groupby(sorted([*told, *beats], key=lambda one: (one[0], one[1] is not None)), key=lambda one: one[0]):
        happened = [event for _, event in group if event is not None]
        for number, node in enumerate(NODES):
            engine.take(Arrival(at + 1000 * number, Heard(node)))
            for event in happened:
                sequences[node] += 1
                sent = Envelope(CLUSTER, node, f"boot-{node}", "recorded", sequences[node], at, at, event)
                engine.take(Arrival(at + 1000 * number + 1, decode(encode(sent))))
    engine.until(end)
    return engine.history
