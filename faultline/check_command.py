"""``faultline check``: the validation checklist and the design lint of this cluster, for people and for CI.

Exit codes: 0 nothing at or above ``--fail-on``; 1 findings; 2 wrong usage or input; 3 wrong configuration; 4 nothing there.
"""

from __future__ import annotations

import json
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

import typer

from controller.check.finding import Report, Severity, States
from controller.check.run import check as run_checks
from controller.check.suppress import Sorted, SuppressError, Suppression, apply, parse
from controller.core.evidence import Answer
from controller.core.state import CoreState
from faultline import check as output_of
from faultline import render
from faultline.check import CheckFormat
from faultline.cluster import ConfigOption, NodeOption, PveOption, cluster
from faultline.errors import InputError

FOUND: Final = 1
"""Exit code when something at or above ``--fail-on`` was found."""
_LARGEST: Final = 1 << 20
_WORST: Final = {Answer.BAD: 0, Answer.UNKNOWN: 1, Answer.OK: 2}


def check(
    pve: PveOption = None,
    node: NodeOption = None,
    suppress: Annotated[Path | None, typer.Option(help="TOML file of accepted findings: [[suppress]] id, object, reason, until.")] = None,
    fail_on: Annotated[Severity, typer.Option("--fail-on", help="Exit with 1 when something this bad or worse is found.")] = Severity.ERROR,
    day: Annotated[str, typer.Option("--date", help="Today for suppressions, YYYY-MM-DD; default: the system's.")] = "",
    list_checks: Annotated[bool, typer.Option("--list-checks", help="Show all checks instead of running them.")] = False,
    output: Annotated[CheckFormat, typer.Option("--format")] = CheckFormat.TEXT,
    config: ConfigOption = None,
) -> None:
    """Check this cluster: what is wrong now, what will hurt in a fault, and what could not be looked at."""
    if list_checks:
        print(output_of.catalog_json()) if output is not CheckFormat.TEXT else output_of.catalog(render.console())
        return
    entries = suppressions(suppress) if suppress else ()
    today = _day(day)
    state = cluster(pve, node or [], config)
    report = run_checks(state.facts, state.topology, None if pve else states_of(state))
    found = apply(report.findings, entries, today)
    _print(state, report, found, output)
    if any(one.severity.rank <= fail_on.rank for one in found.standing):
        raise typer.Exit(FOUND)


def _print(state: CoreState, report: Report, found: Sorted, output: CheckFormat) -> None:
    match output:
        case CheckFormat.JSON:
            print(json.dumps(output_of.as_json(state.cluster, report, found), indent=2))
        case CheckFormat.SARIF:
            print(json.dumps(output_of.as_sarif(report, found, _version()), indent=2))
        case CheckFormat.TEXT:
            output_of.text(render.console(), report, found)


def suppressions(path: Path) -> tuple[Suppression, ...]:
    """Read a file of suppressions.

    :raises InputError: when it cannot be read or is wrong; names file and entry.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise InputError(f"--suppress {path}: is larger than 1 MiB")
        return parse(data.decode("utf-8"), str(path))
    except OSError as error:
        raise InputError(f"--suppress {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"--suppress {path}: is no UTF-8 text (byte {error.start})") from error
    except SuppressError as error:
        raise InputError(f"--suppress {error}") from error


def states_of(state: CoreState) -> States:
    """Return what the controller's evidence says, as the checks want it: of several ways to one thing the worst."""
    found: dict[tuple[str, str, str], Answer] = {}
    for cell in state.cells.values():
        key = (cell.node, cell.entity, cell.aspect)
        found[key] = min(_known(found.get(key)), cell.answer, key=_WORST.__getitem__)
    return found


def _known(answer: Answer | None) -> Answer:
    return Answer.OK if answer is None else answer


def _day(text: str) -> date:
    if not text:
        return date.today()  # noqa: DTZ011 - the administrator's day, where the command runs
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--date {text!r}: expected a date such as 2027-01-31") from None


def _version() -> str:
    try:
        return version("faultline")
    except PackageNotFoundError:
        return "0"
