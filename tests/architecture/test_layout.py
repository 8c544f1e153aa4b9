"""The tree, as it is installed and started: names that must not shadow libraries, commands, units, documents, recordings."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config import check_config as check_agent
from controller.config import check_config as check_controller
from docs.generate import documents, stale

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "systemd").glob("*.service"))
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
RECORDINGS = sorted(path.parent for path in (ROOT / "tests/samples/recorded").glob("*/truth.jsonl"))


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["systemd", "packaging"])
def test_our_folders_do_not_shadow_libraries(name: str) -> None:
    """Started from the checkout's root, ``import systemd`` and ``import packaging`` find the libraries, not our folders."""
    result = run(sys.executable, "-c", f"import {name}; print({name}.__file__)")

    assert (ROOT / name).is_dir()
    assert result.returncode == 0, result.stderr
    assert "site-packages" in result.stdout or "dist-packages" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("from_root", [True, False])
def test_installed_commands_start(command: str, from_root: bool, tmp_path: Path) -> None:
    """After ``make setup`` each command answers ``--help``, in the checkout and anywhere else."""
    installed = Path(sys.executable).parent / command
    result = run(installed, "--help", cwd=ROOT if from_root else tmp_path)

    assert result.returncode == 0, result.stderr
    assert command in result.stdout


def test_generated_documents_are_fresh() -> None:
    """The generated documents say what the code says today; else: ``make docs``."""
    assert stale(ROOT / "docs") == []


def test_stale_documents_are_found(tmp_path: Path) -> None:
    """A changed document is found, and so is a missing one."""
    assert stale(tmp_path) == list(documents())

    for name, text in documents().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert stale(tmp_path) == []

    text = (tmp_path / "events.md").read_text(encoding="utf-8")
    (tmp_path / "events.md").write_text(text.replace("An NFS server", "A NFS server"), encoding="utf-8")
    schema = (tmp_path / "events.schema.json").read_text(encoding="utf-8")
    (tmp_path / "events.schema.json").write_text(schema.replace('"maxLength": 512', '"maxLength": 513', 1), encoding="utf-8")

    assert stale(tmp_path) == ["events.md", "events.schema.json"]


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in a document of ours names a file that exists."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests/samples").glob("*.md")]
    links = [(path, link) for path in documents for link in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", path.read_text(encoding="utf-8"))]

    assert links
    assert [f"{path.relative_to(ROOT)}: {link}" for path, link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize(("name", "check"), [("controller.toml", check_controller), ("agent.toml", check_agent)])
def test_configuration_of_the_readme_is_valid(name: str, check: Callable[[dict[str, Any], Path], object]) -> None:
    """What the README tells people to write is accepted as it stands."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"`/etc/faultline/{re.escape(name)}`:\n\n```toml\n(.+?)```", text, re.DOTALL)

    assert block
    assert check(tomllib.loads(block[1]), Path(name))


@pytest.fixture
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of a unit whose commands exist here: only a package installs them to /usr/bin."""
    path: Path = request.param
    copy = tmp_path / path.name
    copy.write_text(re.sub(r"/usr/bin/faultline-\w+", "/bin/true", path.read_text(encoding="utf-8")), encoding="utf-8")
    return copy


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem, indirect=True)
def test_units_are_valid(unit: Path) -> None:
    """Systemd reads the unit without a word of complaint."""
    result = run("systemd-analyze", "verify", unit)

    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem, indirect=True)
def test_units_are_confined(unit: Path) -> None:
    """Systemd's own rating of the unit's confinement stays at most 2.0 of 10 (lower is tighter)."""
    result = run("systemd-analyze", "security", "--offline=true", "--threshold=20", unit)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_never_touch_a_storage(path: Path) -> None:
    """No directive makes systemd walk mount points of storages or /etc/pve: a dead one would keep the service from starting."""
    settings = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    touching = re.compile(
        r"RequiresMountsFor|ReadWritePaths|ReadOnlyPaths|InaccessiblePaths|BindPaths|WorkingDirectory|ProtectSystem=(full|strict)|ProtectHome=(yes|read|tmp)"
    )

    assert [line for line in settings if touching.search(line) or "/etc/pve" in line or "/mnt" in line] == []


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_units_start_commands_that_exist(path: Path) -> None:
    """What a unit starts is a command of this project, with a subcommand that the command knows."""
    for command, verb in re.findall(r"^Exec\w+=/usr/bin/(\S+) (\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        assert command in COMMANDS
        assert run(Path(sys.executable).parent / command, verb, "--help").returncode == 0


@pytest.mark.parametrize("folder", RECORDINGS, ids=lambda path: path.name)
def test_recordings_are_as_they_were_made(folder: Path) -> None:
    """Each file of a recording has the checksum that was noted when it was brought in: nobody edits a recording."""
    sums = (ROOT / "tests/samples/SHA256SUMS").read_text(encoding="utf-8")
    noted = {name: digest for digest, name in re.findall(r"^(\w+)  (.+)$", sums, re.MULTILINE)}
    files = {str(path.relative_to(ROOT / "tests/samples")): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    assert files
    assert files == {name: digest for name, digest in noted.items() if name.startswith(f"recorded/{folder.name}/")}


@pytest.mark.parametrize("folder", RECORDINGS, ids=lambda path: path.name)
def test_recordings_say_where_they_come_from(folder: Path) -> None:
    """Each recording tells how it was made, and its truth names faults in the form that the score reads."""
    faults = [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]

    assert (folder / "README.md").stat().st_size > 100
    assert faults
    assert all({"start", "end", "cause", "entity", "nodes", "leaves_lines"} <= fault.keys() for fault in faults)


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Return an empty samples folder with the import script."""
    folder = tmp_path / "samples"
    folder.mkdir()
    shutil.copy(ROOT / "tests/samples/import.sh", folder)
    return folder


def test_import_brings_a_recording_in_unchanged(samples: Path) -> None:
    """An imported recording has the same files, byte by byte, with their checksums noted; a second import of the name is refused."""
    result = run(samples / "import.sh", "again-1", RECORDINGS[0])

    assert result.returncode == 0, result.stderr
    assert {path.name: path.read_bytes() for path in (samples / "recorded/again-1").iterdir()} == {
        path.name: path.read_bytes() for path in RECORDINGS[0].iterdir()
    }
    assert run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=samples).returncode == 0
    assert "never replaced" in run(samples / "import.sh", "again-1", RECORDINGS[0]).stderr


@pytest.mark.parametrize("spoil", ["README.md", "truth.jsonl", "pve1.export.xz"])
def test_import_refuses_half_a_recording(samples: Path, tmp_path: Path, spoil: str) -> None:
    """A recording without provenance, without truth or with a damaged journal is refused by name, and nothing is left behind."""
    shutil.copytree(RECORDINGS[0], tmp_path / "half")
    (tmp_path / "half" / spoil).write_bytes(b"")
    result = run(samples / "import.sh", "half-1", tmp_path / "half")

    assert result.returncode == 1
    assert spoil in result.stderr
    assert not (samples / "recorded/half-1").exists()
