"""What recordings of real clusters, of several releases, become: events by the agents' classifier, incidents by the core."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from agent.classify.ceph import CephClassifier
from agent.record import RawRecord
from controller.core.report import Change
from events.base import Event
from events.ceph import CephCheckRaised, CephFamily
from tests.ceph.replaying import events, incidents, read, records, truth
from tests.ceph.scenarios import scenario
from tests.ceph.test_recordings import RECORDINGS

_SEEN_BY_ASKING: Final = [one for one in RECORDINGS if not scenario(one.name).blind]
"""Recordings in which the monitors answer: where they do not, what an agent's own connections to them say decides, and is not recorded."""


def named(recording: Path) -> str:
    """Return a short name for a test."""
    return f"{recording.parent.name}-{recording.name}"


@pytest.mark.parametrize("recording", _SEEN_BY_ASKING, ids=named)
def test_a_recording_becomes_the_incidents_of_its_truth_and_no_other(recording: Path) -> None:
    """Each fault is one incident with the right cause and entity at its end, then resolved; only what was meant calls nobody."""
    history, told = incidents(recording), truth(recording)
    last = {report.id: report for report in history}

    assert {(one.cause, one.entity) for one in last.values()} == told["truth"]
    assert len(last) == len(told["truth"])
    assert all(one.change is Change.RESOLVED for one in last.values())
    for incident in last:
        planned = {report.planned for report in history if report.id == incident}
        assert planned == {True} if told["quiet"] else False in planned


@pytest.mark.parametrize("recording", RECORDINGS, ids=named)
def test_every_code_of_a_recording_is_typed(recording: Path) -> None:
    """No health check that a real cluster raised is unknown: each has its family, and its severity is Ceph's."""
    raised = [event for _, event in events(recording) if isinstance(event, CephCheckRaised)]

    assert set(json.loads(read(recording / "truth.json"))["codes"]) <= {event.code for event in raised if not event.muted}
    assert all(event.family is not CephFamily.OTHER for event in raised)


@pytest.mark.parametrize("release", sorted({one.parent.name for one in RECORDINGS}))
def test_damaged_answers_are_survived(release: str) -> None:
    """Answers in which fields are missing, unknown, of another type or cut give fewer events and never an error."""
    chance = Random(release)
    whole = [record for one in RECORDINGS if one.parent.name == release for record in records(one) if record.fields["look"] != "log@ceph"]
    for _ in range(400):
        classifier = CephClassifier("pve1")
        for record in chance.sample(whole, 3):
            found = json.loads(record.fields["found"])
            for _ in range(chance.randint(1, 8)):
                _damage(found, chance)
            assert all(isinstance(one, Event) for one in classifier.classify(_with(record, found)))
        CephClassifier("pve1", json.loads(json.dumps(classifier.memory())))


def test_an_answer_of_another_cluster_begins_anew() -> None:
    """When a connection leads to another cluster, nothing that was known of the first one is said of the second."""
    recording = next(one for one in RECORDINGS if one.name == "osd-killed")
    classifier = CephClassifier("pve1")
    for record in records(recording):
        classifier.classify(record)
    other = "00000000-0000-4000-8000-000000000000"
    again = [
        event
        for record in records(recording)[:3]
        for event in classifier.classify(_with(record, {**json.loads(record.fields["found"]), "fsid": other}))
    ]

    assert again
    assert all(other in str(event.subject) for event in again)


def _with(record: RawRecord, found: object) -> RawRecord:
    return RawRecord(record.source, record.at, record.monotonic, record.boot_id, {**record.fields, "found": json.dumps(found)})


_STRANGE: Final[tuple[Any, ...]] = (None, "", "\udcff", -1, 2**70, 1e308, True, [], {}, [None], {"x": {}}, "osd.99999999999 slow ops" * 50)


def _damage(found: Any, chance: Random) -> None:
    """Change one place somewhere in a nested answer."""
    place = found
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chance.choice(keys)
        inside = place[key]
        if isinstance(inside, dict | list) and inside and chance.random() < 0.8:
            place = inside
            continue
        if isinstance(place, dict) and chance.random() < 0.3:
            del place[key]
        elif isinstance(place, dict) and chance.random() < 0.3:
            place[f"{key}_new"] = deepcopy(inside)
        else:
            place[key] = deepcopy(chance.choice(_STRANGE))
        return


def test_copies_that_somebody_moves_are_degraded_only_once_they_stand_still() -> None:
    """Data that lacks copies because an OSD that is well was taken out is told when none has moved for ten minutes, and again."""
    recording = next(one for one in RECORDINGS if (one.parent.name, one.name) == ("18.2", "backfill-saturated"))
    classifier, maps = CephClassifier("pve1"), [record for record in records(recording) if record.fields["look"] == "map@ceph"]
    before, during = maps[0], maps[2]
    moving = json.loads(during.fields["found"])
    moving["status"]["pgmap"].pop("recovering_bytes_per_sec", None)
    moving["status"]["pgmap"].pop("recovering_objects_per_sec", None)
    told = {
        minute: [
            one.kind
            for one in classifier.classify(
                RawRecord(during.source, during.at + minute * 60_000_000, 0, "boot", _with(during, moving).fields)
            )
        ]
        for minute in (0, 5, 9, 11, 12)
        if minute or classifier.classify(before)
    }

    assert [minute for minute, kinds in told.items() if "ceph.pg.degraded" in kinds] == [11, 12]
