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


def test_text_steers_no_terminal() -> None:
    """Escape sequences and markup in the file are shown as they stand there."""
    text = "\x1b[31mred\nrbd: r1\n\tpool \x1b]0;title\x07[bold]x\n\ndir: d1\n\tpath /\x1b[2J\n"
    result = CliRunner().invoke(app, ["parse", "storage", "-"], input=text)

    assert "\x1b" not in result.stdout
    assert "ignore config line: \\x1b[31mred" in result.stdout
    assert "[bold]x" in result.stdout.replace("\n", "")


def test_release_is_heeded() -> None:
    """What only one release knows is a storage there and a warning here."""
    text = "glusterfs: g1\n\tvolume v\n\tserver h\n"
    new, old = (CliRunner().invoke(app, ["parse", "storage", "-", "--pve", pve, "--format", "json"], input=text) for pve in "98")

    assert "g1" in json.loads(old.stdout)["ids"]
    assert json.loads(new.stdout)["warnings"] == ["file storage.cfg line 1 (skip section 'g1'): unsupported type 'glusterfs'\n"]


def test_missing_file_is_an_input_error() -> None:
    """A file that is not there is named."""
    result = CliRunner().invoke(app, ["parse", "storage", "/nonexistent/storage.cfg"])

    assert isinstance(result.exception, InputError)
    assert "/nonexistent/storage.cfg" in str(result.exception)
