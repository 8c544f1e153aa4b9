"""What is promised of the recordings of real Ceph clusters: nobody edited them, they are whole, and they show what their scenarios say."""

import hashlib
import json
import lzma
import re
from pathlib import Path
from typing import Any

import pytest

from tests.ceph.scenarios import SCENARIOS

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
RELEASES = sorted(path for path in (SAMPLES / "ceph").iterdir() if path.is_dir())
RECORDINGS = sorted(path for release in RELEASES for path in release.iterdir() if path.is_dir())
WHOLE = ("16.2", "18.2")
"""Releases of which every scenario is recorded: Debian 12's and Debian 13's."""


def read(path: Path) -> str:
    """Return a file of a recording, unpacked where it is packed."""
    return path.read_text() if path.exists() else lzma.decompress(path.with_name(f"{path.name}.xz").read_bytes()).decode()


def timeline(recording: Path) -> list[dict[str, Any]]:
    """Return the entries of a timeline."""
    return [json.loads(line) for line in read(recording / "timeline.jsonl").splitlines()]


def test_recordings_of_ceph_are_as_they_were_made() -> None:
    """Each file of a recording has the checksum that was noted when it was made, and none is missing."""
    sums = (SAMPLES / "SHA256SUMS").read_text(encoding="utf-8")
    noted = {name: digest for digest, name in re.findall(r"^(\w+)  (ceph/.+)$", sums, re.MULTILINE)}
    files = {path for release in RELEASES for path in release.rglob("*") if path.is_file()}

    assert noted == {str(path.relative_to(SAMPLES)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_a_release_says_which_version_was_recorded(release: Path) -> None:
    """Beside the recordings of a release stands which version ran, where and when."""
    about = json.loads((release / "provenance.json").read_text())

    assert {"versions", "python", "system", "date"} == about.keys()
    assert all(version.startswith(f"ceph version {release.name}.") for version in about["versions"])


@pytest.mark.parametrize("release", WHOLE)
@pytest.mark.parametrize("case", SCENARIOS, ids=lambda case: case.name)
def test_each_scenario_is_recorded(case: Any, release: str) -> None:
    """Each scenario has a recording of each release that Faultline supports, with the truth that the scenario states."""
    recording = SAMPLES / "ceph" / release / case.name
    told = json.loads(read(recording / "truth.json"))

    assert told["truth"] == [list(each) for each in case.truth]
    assert told["quiet"] == case.quiet
    assert told["fault"] == [str(step) for step in case.fault]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_recording_shows_the_codes_that_its_scenario_names(recording: Path) -> None:
    """Each health code that a scenario promises was raised, and not muted, in some answer between fault and repair."""
    raised: set[str] = set()
    for entry in timeline(recording):
        if entry["kind"] == "answer" and entry["command"] == "health" and "answer" in entry:
            raised |= {code for code, check in entry["answer"]["checks"].items() if not check["muted"]}
    picture = json.loads(read(recording / "during.json"))["health"].get("answer", {"checks": {}})
    raised |= {code for code, check in picture["checks"].items() if not check["muted"]}

    assert set(json.loads(read(recording / "truth.json"))["codes"]) <= raised


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_recording_begins_and_ends_well(recording: Path) -> None:
    """Each recording goes from HEALTH_OK to HEALTH_OK, and its timeline is in order."""
    for picture in ("before", "after"):
        answer = json.loads(read(recording / f"{picture}.json"))["health"]["answer"]
        assert (answer["status"], answer["checks"]) == ("HEALTH_OK", {})
    times = [entry["at"] for entry in timeline(recording)]

    assert times == sorted(times)
