from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from faultline.__main__ import app
from faultline.errors import InputError

VECTORS = Path(__file__).resolve().parents[1] / "samples" / "conformance" / "storage_cfg_vectors.json"


def test_json_is_the_vectors_own_form(tmp_path: Path) -> None:
    """What `parse storage --format json` prints for a vector's bytes is that vector."""
    for vector in json.loads(VECTORS.read_text(encoding="utf-8"))["vectors"]:
        file = tmp_path / vector["name"]
        file.write_bytes(vector["raw_latin1"].encode("latin-1"))
        result = CliRunner().invoke(app, ["parse", "storage", str(file), "--pve", "9", "--format", "json"])

        assert result.exit_code == 0
        assert json.loads(result.stdout) == vector["pve9"]


def test_text_names_the_broken_section_and_hides_passwords() -> None:
    """People see which section blinds the cluster, at which line, and no secret."""
    text = "nfs: a1\n\tserver 10.0.0.1\n\ncifs: c1\n\tserver h\n\tshare s\n\tpassword hunter2\n"
    result = CliRunner().invoke(app, ["parse", "storage", "-"], input=text)

    assert "broken: section 'a1' (line 1 to 2): missing value for required option 'export'" in result.stdout.replace("\n", " ")
    assert "hunter2" not in result.stdout


def test_missing_file_is_an_input_error() -> None:
    """A file that is not there is named."""
    result = CliRunner().invoke(app, ["parse", "storage", "/nonexistent/storage.cfg"])

    assert isinstance(result.exception, InputError)
    assert "/nonexistent/storage.cfg" in str(result.exception)
