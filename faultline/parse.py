"""``faultline parse``: read a file as Proxmox VE itself reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from faultline import render
from faultline.errors import InputError
from faultline.formats import ListFormat
from pve.release import Release
from pve.storage_cfg import StorageConfig, parse

app = typer.Typer(name="parse", help="Read a file as Proxmox VE itself reads it.", no_args_is_help=True, pretty_exceptions_enable=False)
_STANDARD_INPUT = Path("-")


@app.callback()
def group() -> None:
    """Read a file as Proxmox VE itself reads it."""


@app.command()
def storage(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A storage.cfg; - reads standard input.")],
    release: Annotated[Release, typer.Option("--pve", help="Whose parser: of Proxmox VE 8 or 9.")] = Release.PVE9,
    output: Annotated[ListFormat, typer.Option("--format")] = ListFormat.TEXT,
) -> None:
    """Show what Proxmox VE makes of a storage.cfg: ids, order, digest, and every warning with its line.

    JSON is the raw form of its parser and holds what the file holds, passwords included; text masks them.
    """
    config = parse(_bytes(file), release)
    if output is ListFormat.JSON:
        print(json.dumps(config.vector(), indent=1))
    else:
        _print(render.console(), config)


def _bytes(file: Path) -> bytes:
    if file == _STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error


def _print(console: Console, config: StorageConfig) -> None:
    table = Table("storage", "type", "shared", "nodes", "content", "properties", box=None, pad_edge=False)
    for name, one in config.storages.items():
        shown = {key: value for key, value in one.public.items() if key not in ("content", "nodes", "shared", "disable")}
        cells = (
            f"{name} (disabled)" if one.disabled else name,
            one.type,
            "yes" if one.shared else "no",
            "all" if one.nodes is None else ", ".join(sorted(one.nodes)),
            ", ".join(sorted(one.content)),
            "  ".join(f"{key}={value}" for key, value in shown.items()),
        )
        table.add_row(*cells)
    console.print(table)
    console.print(f"digest {config.digest}", style="dim")
    for warning in config.public_warnings:
        console.print(f"warning: {warning}", style="yellow")
    for broken in config.broken:
        console.print(
            f"broken: section '{broken.id}' (line {broken.line} to {broken.end}): {broken.reason}."
            " Proxmox VE gives up on all storages of every node until it is repaired.",
            style="bold red",
        )
