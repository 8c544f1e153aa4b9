"""Look at a controller's database: incidents, events, status; check configuration files.

Reads over a connection of its own, beside the running controller; it never writes.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from agent.config import load_config as load_agent_config
from agent.errors import AgentError
from controller.config import Config, load_config
from controller.core.report import IncidentReport
from controller.errors import ControllerError
from controller.store import reading
from controller.store.database import open_readonly, translated
from controller.store.reading import LogRow
from controller.stream.record import record
from faultline import render
from faultline.errors import CommandError, ConfigurationError, NothingThereError
from faultline.explain import explained
from faultline.formats import ListFormat, StreamFormat

DEFAULT = Path("/etc/faultline/controller.toml")
ConfigOption = Annotated[Path, typer.Option("--config", help="The controller's configuration: says where its database is.")]
_LOOK = 0.5
"""Seconds between looks with --follow."""
_TAKE = 500


def _open(path: Path) -> tuple[Config, sqlite3.Connection]:
    try:
        config = load_config(path)
    except ControllerError as error:
        raise ConfigurationError(str(error)) from error
    if not config.store.path.exists():
        raise NothingThereError(f"{config.store.path}: no database yet; does the controller run?")
    try:
        return config, open_readonly(config.store.path)
    except ControllerError as error:
        raise CommandError(str(error)) from error


def incidents(
    identity: Annotated[str, typer.Argument(metavar="[ID]", help="Show one incident whole; a unique beginning of its id will do.")] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Print changes as they happen until Ctrl-C.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    why: Annotated[bool, typer.Option("--why", help="With an ID: what speaks for and against, and for every other explanation.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Newest N.")] = 50,
    output: Annotated[ListFormat, typer.Option("--format")] = ListFormat.TEXT,
    config: ConfigOption = DEFAULT,
) -> None:
    """Show unresolved incidents, one incident, or changes as they happen."""
    settings, connection = _open(config)
    console = render.console()
    with closing(connection), translated(settings.store.path):
        if identity:
            _one(connection, identity, output, console, explained if why else render.incident)
        elif follow:
            for row in _follow(connection, reading.last_cursor(connection), types={"incident"}):
                _change(IncidentReport.model_validate_json(row.data), output, console)
        else:
            found = reading.incidents(connection, unresolved_only=not everything, limit=limit)
            _list(found, output, console, "" if everything else "unresolved ")


def _list(found: list[IncidentReport], output: ListFormat, console: Console, which: str) -> None:
    if output is ListFormat.JSON:
        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
    elif found:
        console.print(render.incidents(found))
    else:
        console.print(f"no {which}incidents")


def _one(
    connection: sqlite3.Connection, identity: str, output: ListFormat, console: Console, draw: Callable[[IncidentReport], RenderableType]
) -> None:
    found = reading.incident(connection, identity)
    if found is None:
        raise NothingThereError(f"{identity}: no incident with this id, or several; see faultline incidents --all")
    told = [
        {"notifier": performer, "change": number, "state": state, "at": _moment(at), "answer": answer}
        for performer, number, state, at, answer in reading.told(connection, found.id)
    ]
    if output is ListFormat.JSON:
        print(json.dumps({**found.model_dump(mode="json"), "told": told}, indent=2))
        return
    console.print(draw(found))
    if told:
        console.print("\nTold", style="bold")
        for one in told:
            console.print(f"  change {one['change']}  {one['notifier']}  {one['state']}  {one['at'] or ''}  {one['answer'] or ''}")


def _moment(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _change(report: IncidentReport, output: ListFormat, console: Console) -> None:
    if output is ListFormat.JSON:
        print(report.model_dump_json(), flush=True)
    else:
        console.print(render.change(report))


def events(
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens until Ctrl-C.")] = False,
    since: Annotated[int | None, typer.Option(min=0, help="Begin behind this cursor. Default: the last 50.")] = None,
    output: Annotated[StreamFormat, typer.Option("--format")] = StreamFormat.TEXT,
    config: ConfigOption = DEFAULT,
) -> None:
    """Print events, incidents' changes and gaps in the order in which they were stored."""
    settings, connection = _open(config)
    console = render.console()
    with closing(connection), translated(settings.store.path):
        begin = max(0, reading.last_cursor(connection) - 50) if since is None else since
        first = reading.first_cursor(connection)
        if since is not None and first > since + 1:
            render.console(stderr=True).print(f"records {since + 1} to {first - 1} are no longer kept", style="yellow")
        for row in _follow(connection, begin, endless=follow):
            if output is StreamFormat.JSONL:
                print(json.dumps(record(row, settings.cluster), ensure_ascii=False), flush=follow)
            else:
                console.print(render.record(record(row, settings.cluster)))


def _follow(connection: sqlite3.Connection, cursor: int, *, endless: bool = True, types: set[str] | None = None) -> Iterator[LogRow]:
    """Yield rows of the log behind a cursor; at the end wait for more, or stop."""
    try:
        while True:
            rows = reading.log_after(connection, cursor, _TAKE)
            for row in rows:
                cursor = row.cursor
                if types is None or row.type in types:
                    yield row
            if not rows:
                if not endless:
                    return
                time.sleep(_LOOK)
    except KeyboardInterrupt:
        return


def status(output: Annotated[ListFormat, typer.Option("--format")] = ListFormat.TEXT, config: ConfigOption = DEFAULT) -> None:
    """Say how the cluster stands: unresolved incidents, agents, notifiers, gaps."""
    settings, connection = _open(config)
    with closing(connection), translated(settings.store.path):
        facts = _status(settings, connection)
    if output is ListFormat.JSON:
        print(json.dumps(facts, indent=2))
    else:
        render.console().print(render.status(facts))


def _status(settings: Config, connection: sqlite3.Connection) -> dict[str, Any]:
    agents: dict[str, dict[str, Any]] = {}
    for one in reading.streams(connection):
        agents.setdefault(one.node, {"node": one.node, "stream": one.stream, "events": one.acked, "last_event_at": _moment(one.last_at)})
    for name, silent, heard in reading.liveness(connection):
        agents.setdefault(name, {"node": name, "stream": None, "events": 0, "last_event_at": None}).update(
            silent=silent, heard_at=_moment(heard)
        )
    return {
        "cluster": settings.cluster,
        "unresolved": [one.model_dump(mode="json") for one in reading.incidents(connection, unresolved_only=True, limit=1000)],
        "agents": [agents[name] for name in sorted(agents)],
        "notifiers": [
            {"name": one.performer, "pending": one.pending, "sent": one.sent, "dead": one.dead, "last_error": one.last_error}
            for one in reading.outbox(connection)
        ],
        "gaps": [
            {"node": node, "stream": stream, "first": first, "last": last, "reason": reason}
            for node, stream, first, last, reason in reading.gaps(connection)
        ],
        "cursor": reading.last_cursor(connection),
    }


def check_config(
    controller: Annotated[Path | None, typer.Option(help="A controller's configuration.")] = None,
    agent: Annotated[Path | None, typer.Option(help="An agent's configuration.")] = None,
) -> None:
    """Check configuration files and say everything that is wrong with them."""
    if controller is None and agent is None:
        raise typer.BadParameter("name a file with --controller or --agent")
    problems = []
    try:
        if controller is not None:
            load_config(controller)
            print(f"{controller}: ok")
    except ControllerError as error:
        problems.append(str(error))
    try:
        if agent is not None:
            load_agent_config(agent)
            print(f"{agent}: ok")
    except AgentError as error:
        problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(problems))
