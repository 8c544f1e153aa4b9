"""The import contracts of .importlinter: kept by the tree, and each broken by an import against the flow."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("events", "pve", "agent", "controller", "faultline")

VIOLATIONS = {
    "agent/classify/nfs.py": "import controller.core.report\nimport agent.sources\n",
    "agent/record.py": "import agent.classify.nfs\n",
    "controller/core/report.py": "import controller.store\nimport agent.record\n",
    "controller/notify/__init__.py": "import controller.stream\n",
    "events/topics.py": "import agent.record\nimport time\n",
}
"""File to the imports that are added to it, each against one or more contracts."""


def lint(folder: Path) -> tuple[int, str]:
    """Run the contracts on a copy of the tree; return exit code and output without colours (older versions always print them)."""
    command = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run([command, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the packages and their contracts."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def test_contracts_are_kept(copy: Path) -> None:
    """The tree as it stands breaks no contract."""
    code, output = lint(copy)

    assert code == 0, output
    assert "0 broken" in output


def test_every_contract_can_break(copy: Path) -> None:
    """Imports against the flow break every single contract: none is written so that it always passes."""
    for name, lines in VIOLATIONS.items():
        path = copy / name
        path.write_text(path.read_text(encoding="utf-8") + lines, encoding="utf-8")
    code, output = lint(copy)
    contracts = re.findall(r"^name = (.+)$", (ROOT / ".importlinter").read_text(encoding="utf-8"), re.MULTILINE)

    assert code != 0
    assert [name for name in contracts if f"{name} BROKEN" not in output] == []
