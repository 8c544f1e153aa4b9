"""The prepared clusters of tests/clusters, through the agent's own sources and classifiers, the codec and all checks."""

from __future__ import annotations

import difflib
import json
from datetime import date
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from controller.check.finding import Finding
from controller.check.run import check
from controller.check.suppress import apply, parse
from faultline.check_command import check as command
from faultline.cluster import read_cluster

HERE = Path(__file__).parent / "clusters"
CLUSTERS = sorted(path.name for path in HERE.iterdir() if path.is_dir())
TODAY = date(2026, 11, 23)
GOOD = ("small-nfs", "iscsi-multipath", "ceph-five")


def directories(name: str) -> dict[str, Path]:
    """Return a cluster's nodes that have files of their own."""
    nodes = HERE / name / "nodes"
    return {path.name: path for path in sorted(nodes.iterdir())} if nodes.is_dir() else {}


def standing(name: str) -> tuple[Finding, ...]:
    """Return what is found in a cluster and not suppressed."""
    state = read_cluster(HERE / name / "pve", directories(name))
    file = HERE / name / "suppress.toml"
    entries = parse(file.read_text(encoding="utf-8"), file.name) if file.exists() else ()
    found = apply(check(state.facts, state.topology).findings, entries, TODAY)
    assert not found.unused
    return found.standing


def test_there_are_ten_clusters() -> None:
    """Ten clusters are prepared, each with its expectation."""
    assert len(CLUSTERS) == 10
    assert all((HERE / name / "check.expect").is_file() for name in CLUSTERS)


@pytest.mark.parametrize("name", CLUSTERS)
def test_exactly_what_is_expected_is_found(name: str) -> None:
    """A prepared cluster gives exactly the findings of its expectation, in their order."""
    found = [f"{one.id} {one.severity} {one.object}" for one in standing(name)]
    expected = (HERE / name / "check.expect").read_text(encoding="utf-8").splitlines()
    assert found == expected, "\n".join(difflib.unified_diff(expected, found, "expected", "found", lineterm=""))


@pytest.mark.parametrize("name", GOOD)
def test_well_made_clusters_have_no_findings(name: str) -> None:
    """A cluster that is made well has none: a lint that always complains is not read."""
    assert standing(name) == ()


def run(name: str, *arguments: str) -> tuple[int, str]:
    """Run the command on a cluster's files; return exit code and output."""
    app = Typer()
    app.command()(command)
    nodes = [text for node, path in directories(name).items() for text in ("--node", f"{node}={path}")]
    result = CliRunner().invoke(app, ["--pve", str(HERE / name / "pve"), *nodes, "--date", TODAY.isoformat(), *arguments])
    return result.exit_code, result.stdout


def test_the_exit_code_tells_ci_whether_something_is_wrong() -> None:
    """0 without errors, 1 with one; --fail-on moves the line."""
    assert run("small-nfs")[0] == 0
    assert run("zoo")[0] == 1
    assert run("iscsi-multipath", "--fail-on", "warning")[0] == 0
    assert run("iscsi-multipath", "--fail-on", "note")[0] == 1
    suppressed = run("iscsi-multipath", "--fail-on", "note", "--suppress", str(HERE / "iscsi-multipath" / "suppress.toml"))
    assert suppressed[0] == 0


def test_json_and_sarif_say_what_the_text_says() -> None:
    """All three forms tell the same findings; no secret of storage.cfg is in any of them."""
    texts = {form: run("zoo", "--format", form)[1] for form in ("text", "json", "sarif")}
    ids = [(one["id"], one["object"]) for one in json.loads(texts["json"])["findings"]]
    results = json.loads(texts["sarif"])["runs"][0]["results"]
    assert ids == [(one["ruleId"], one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]) for one in results]
    assert all(identity in texts["text"] for identity, _ in ids)
    assert not any("hunter2" in text for text in texts.values())
