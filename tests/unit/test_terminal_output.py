"""What the command line writes to a terminal: foreign names and lines as text, and expected errors in one line."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.text import Text

from agent.errors import TemporaryError as AgentError
from controller.store.errors import StoreUnusableError
from faultline import render, view
from faultline.__main__ import main
from faultline.errors import CommandError
from tests.reports import one_incident

STEERING = "failed - \x1b]0;owned\x07\x1b[2J\x9b31m and \u202eturned"


def shown(what: object) -> str:
    """Return what the console writes."""
    console = render.console()
    console.file = io.StringIO()
    console.print(what)
    return str(console.file.getvalue())


@pytest.mark.parametrize("what", [STEERING, Text(STEERING, style="bold")])
def test_nothing_that_others_named_steers_the_terminal(what: object) -> None:
    """Escape sequences, in seven or eight bits, and signs that turn the writing around are written out."""
    text = shown(what)

    assert all(char.isprintable() or char == "\n" for char in text)
    assert "\\x1b]0;owned" in text
    assert "\\x9b31m and \\x202eturned" in text


def test_an_excerpt_of_an_incident_steers_nothing() -> None:
    """The proof of an incident, a line that a daemon wrote, shows as text wherever the incident is shown."""
    report = one_incident()[0]
    evidence = tuple(one.model_copy(update={"excerpt": STEERING}) for one in report.evidence)
    told = shown(render.incident(report.model_copy(update={"evidence": evidence, "title": STEERING})))

    assert evidence
    assert "\x1b" not in told
    assert told.count("\\x1b]0;owned") == len(evidence) + 1


@pytest.mark.parametrize(
    "name", ["iscsi-portal/[fd00::1]:3260", "nfs-export/10.1.3.1:/srv/[old]", "/srv/[/old]", "iqn.2003-01.org:100:x", "a\\[b]"]
)
def test_brackets_and_colons_are_text(name: str) -> None:
    """An address, an export and a target show as they are called: nothing in them is taken for markup or for a picture's name."""
    assert shown(name) == f"{name}\n"


def test_other_scripts_and_blanks_show_as_they_are() -> None:
    """Text of any script, its blanks included, is left alone."""
    assert shown("Nürnberg\u00a0字\u3000x") == "Nürnberg\u00a0字\u3000x\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(13, "Permission denied", "/var/lib/faultline"), "faultline: /var/lib/faultline: Permission denied\n"),
        (StoreUnusableError("faultline.db: malformed"), "faultline: faultline.db: malformed\n"),
        (AgentError("the journal is gone"), "faultline: the journal is gone\n"),
    ],
)
def test_expected_errors_are_one_line(
    error: Exception, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whatever is denied or damaged while a command reads is one line on stderr and exit code 1, never a traceback."""

    def failing(path: Path) -> object:
        raise error

    monkeypatch.setattr(view, "_open", failing)
    monkeypatch.setattr(sys, "argv", ["faultline", "status", "--config", str(tmp_path / "none.toml")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == CommandError.exit_code
    assert capsys.readouterr().err == expected
