"""``faultline replay`` on real recordings: every fault that left lines is one incident, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from controller.core.report import Change
from faultline.errors import InputError
from faultline.replay import Replay
from faultline.scoring import read_truth, score
from tests.journals import NODES, RECORDED, recorded, recording, write

TRUTH = RECORDED / "truth.jsonl"


def replay(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    return subprocess.run([sys.executable, "-m", "faultline", "replay", *arguments], capture_output=True, text=True, check=False)


def journals(form: str = "") -> list[str]:
    """Return --journal arguments for the three nodes' recordings."""
    return [text for node in NODES for text in ("--journal", f"{node}={recording(node) if not form else form.format(node=node)}")]


def test_every_fault_that_left_lines_is_one_incident() -> None:
    """Precision and recall against the truth are 1: right cause, entity, opened after the start, resolved after the end."""
    run = Replay({node: recording(node) for node in NODES})
    told = list(run.incidents())
    result = score(read_truth(TRUTH), told)

    assert (result.precision, result.recall, result.spurious) == (1.0, 1.0, ())
    assert len({report.id for report in told}) == 5
    assert not run.losses


def test_silent_faults_are_not_invented() -> None:
    """Faults of which no node logged a line stay unnamed, and the score says so without counting them as missed."""
    result = score(read_truth(TRUTH), Replay({node: recording(node) for node in NODES}).incidents())

    silent = [match for match in result.matches if not match.fault.leaves_lines]
    assert len(silent) == 2
    assert all(match.incident is None and not match.problem for match in silent)


def test_native_journals_give_the_same(tmp_path: Path) -> None:
    """Native journal files and their export give the same incidents, to the letter but for their ids' seeds."""
    for node in NODES:
        write(tmp_path / f"{node}.journal", recorded(node))
    native = Replay({node: tmp_path / f"{node}.journal" for node in NODES})
    export = Replay({node: recording(node) for node in NODES})

    def facts(run: Replay) -> list[tuple[object, ...]]:
        return [(one.at, one.change, one.id, one.cause, one.entity, one.nodes, one.why) for one in run.incidents()]

    assert facts(native) == facts(export)


def test_one_node_alone_names_what_it_can() -> None:
    """A single node's journal still gives one incident for each fault that hit it, without other nodes' evidence."""
    told = list(Replay({"pve2": recording("pve2")}).incidents())

    final = {report.id: report for report in told}
    assert len(final) == 5
    assert all(report.change is Change.RESOLVED for report in final.values())


def test_command_prints_json_lines_for_machines() -> None:
    """Every line of the jsonl form is one JSON object; the last is the score."""
    done = replay(*journals(), "--truth", str(TRUTH), "--format", "jsonl")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert {line["type"] for line in lines[:-1]} == {"incident"}
    assert (lines[-1]["type"], lines[-1]["precision"], lines[-1]["recall"]) == ("score", 1.0, 1.0)
    wanted = {
        "type",
        "change",
        "id",
        "state",
        "cause",
        "entity",
        "confidence",
        "nodes",
        "storages",
        "guests",
        "ha_can_help",
        "why",
        "at",
        "opened_at",
    }
    assert wanted <= set(lines[0])


def test_explained_verdicts_name_signs_and_rivals() -> None:
    """``--explain`` shows in words each node's signs, and for every other explanation its score and why it was set aside."""
    text = " ".join(replay(*journals(), "--explain").stdout.split())

    for sentence in (
        "What speaks for it, node by node pve1 02:54:49 does not reach NFS server 10.1.3.1 nfs: server 10.1.3.1 not responding",
        "What speaks against it pve1",
        "still keeps its session over iSCSI portal 10.1.2.1:3260",
        "What follows from it",
        "iSCSI target iqn.2005-10.org.freenas.ctl:pve-cluster is down on all its portals: contradicted by pve1, pve3: still well there",
        "Node pve1 lost its storage network: explains only 1 of 3 signs",
        "One point more is 2.7 times likelier",
    ):
        assert sentence in text
    assert "(reach)" not in text
    assert "nats" not in text


def test_command_differs_from_truth_with_exit_code_five(tmp_path: Path) -> None:
    """A truth that the recording does not show is a difference, said fault by fault."""
    faults = [json.loads(line) for line in TRUTH.read_text().splitlines()]
    faults[0]["entity"] = "nfs-server/10.9.9.9"
    wrong = tmp_path / "truth.jsonl"
    wrong.write_text("\n".join(json.dumps(fault) for fault in faults))

    done = replay(*journals(), "--truth", str(wrong))

    assert done.returncode == 5
    assert "named nfs-server-down nfs-server/10.1.3.1" in done.stdout
    assert "precision 0.80  recall 0.80" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--journal", "pve1"], "expected NODE=FILE"),
        (["--journal", "pve1=/nowhere/pve1.export"], "cannot open /nowhere/pve1.export"),
        (["--journal", "pve1=/etc/passwd"], "/etc/passwd: not in journal export format"),
        (["--journal", f"a={recording('pve1')}", "--journal", f"a={recording('pve2')}"], "node a is given twice"),
        (["--journal", f"a={recording('pve1')}", "--pve", "/nowhere"], "--pve /nowhere: is no directory"),
    ],
)
def test_wrong_input_is_one_clear_line(arguments: list[str], message: str) -> None:
    """Wrong arguments and files end with exit code 2 and a line that names them, never a traceback."""
    done = replay(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_truth_names_file_and_line(tmp_path: Path) -> None:
    """A broken truth file is refused with file and line."""
    file = tmp_path / "truth.jsonl"
    file.write_text('{"start": "2026-11-23T02:51:47Z", "end": "x", "cause": "c", "entity": "e"}\n')

    with pytest.raises(InputError, match=r"truth.jsonl:1: end: "):
        read_truth(file)
