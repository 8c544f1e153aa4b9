"""``faultline``: look at incidents and events, replay recordings, check configuration.

Exit codes: 0 done; 1 failed; 2 wrong usage or input; 3 wrong configuration; 4 nothing there; 5 replay differs from ``--truth``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.padding import Padding

from agent.errors import AgentError
from controller.core.report import Change, IncidentReport
from controller.errors import ControllerError
from faultline import check_command, draw, parse, render, view, whatif
from faultline.cluster import cluster_name, facts
from faultline.errors import CommandError, InputError
from faultline.explain import signs_and_rivals
from faultline.formats import StreamFormat
from faultline.replay import Replay
from faultline.scoring import Score, read_truth, score

app = typer.Typer(
    name="faultline",
    help="Names the failure domain of shared storage on Proxmox VE: one incident, not 140 alerts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(name="incidents")(view.incidents)
app.command(name="events")(view.events)
app.command(name="status")(view.status)
app.command(name="check-config")(view.check_config)
app.command(name="check")(check_command.check)
app.command(name="what-if")(whatif.what_if)
app.command(name="domains")(whatif.list_domains)
app.command(name="topology")(draw.topology)
app.add_typer(parse.app)

UNEQUAL = 5
"""Exit code when a replay does not match its truth."""


@app.command()
def replay(
    journal: Annotated[list[str], typer.Option(help="NODE=FILE: journal in export format (also .xz) or native; once per node.")],
    pve: Annotated[Path | None, typer.Option(help="Copy of /etc/pve: reports then name storages, guests and HA.")] = None,
    truth: Annotated[Path | None, typer.Option(help="truth.jsonl: print precision and recall against it.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="What speaks for and against each verdict, and for its rivals.")] = False,
    output: Annotated[StreamFormat, typer.Option("--format")] = StreamFormat.TEXT,
) -> None:
    """Name the incidents in recorded journals: no service, no root."""
    run = Replay(_journals(journal)) if pve is None else Replay(_journals(journal), cluster_name(pve), facts(pve))
    faults = read_truth(truth) if truth else None
    console, told = render.console(), []
    for report in run.incidents():
        told.append(report)
        if output is StreamFormat.JSONL:
            print(report.model_dump_json())
        else:
            console.print(render.change(report))
            if explain and report.change in {Change.OPENED, Change.REVISED, Change.REOPENED}:
                console.print(Padding(signs_and_rivals(report), (0, 0, 1, 4), expand=False))
    result = score(faults, told) if faults is not None else None
    _summary(run, told, result, output)
    if result is not None and (result.precision < 1 or result.recall < 1):
        raise typer.Exit(UNEQUAL)


def _journals(pairs: list[str]) -> dict[str, Path]:
    journals: dict[str, Path] = {}
    for pair in pairs:
        node, equals, file = pair.partition("=")
        if not (node and equals and file):
            raise InputError(f"--journal {pair!r}: expected NODE=FILE, such as pve1=pve1.export.xz")
        if node in journals:
            raise InputError(f"--journal: node {node} is given twice")
        journals[node] = Path(file)
    return journals


def _summary(run: Replay, told: list[IncidentReport], result: Score | None, output: StreamFormat) -> None:
    if output is StreamFormat.JSONL:
        if result is not None:
            print(json.dumps(_as_json(result)))
        return
    console = render.console()
    records, events = (sum(getattr(one, what) for one in run.counts.values()) for what in ("records", "events"))
    count = len({report.id for report in told})
    console.print(f"\n{len(run.counts)} node(s), {records} journal entries, {events} events, {count} incident(s)", style="dim")
    for reason in run.losses:
        console.print(f"incomplete: {reason}", style="yellow")
    if result is not None:
        console.print(render.scores(result))


def _as_json(result: Score) -> dict[str, Any]:
    faults = [
        {
            "start": match.fault.start.isoformat(),
            "cause": match.fault.cause,
            "entity": match.fault.entity,
            "leaves_lines": match.fault.leaves_lines,
            "incident": match.incident,
            "problem": match.problem or None,
        }
        for match in result.matches
    ]
    return {"type": "score", "precision": result.precision, "recall": result.recall, "faults": faults, "spurious": result.spurious}


def main() -> None:
    """Run the command line; every expected error is one line on stderr and an exit code."""
    try:
        app()
    except CommandError as error:
        print(f"faultline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        sys.stderr.close()
        sys.exit(0)
    except (ControllerError, AgentError) as error:
        print(f"faultline: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"faultline: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
