"""Where a command gets the cluster from: a copy of /etc/pve and of nodes' files, this node's own, or the controller's database.

Files go through the agent's own sources and classifiers and the real codec into the controller's own core, so that a copy of a
cluster on a laptop and the cluster itself give the same answers.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import msgpack
import typer

from controller.config import load_config
from controller.core.state import CoreState
from controller.errors import ControllerError
from controller.store import reading
from controller.store.database import open_readonly
from faultline.errors import CommandError, ConfigurationError, InputError, NothingThereError

CONTROLLER: Final = Path("/etc/faultline/controller.toml")

PveOption = Annotated[
    Path | None, typer.Option("--pve", help="A copy of /etc/pve, or /etc/pve itself, instead of the controller's knowledge.")
]
NodeOption = Annotated[
    list[str] | None,
    typer.Option("--node", help="NODE=DIR: copies of a node's own files (etc/ proc/ sys/ run/), beside --pve; repeatable."),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The controller's configuration: says where its database is.")]


def cluster(pve: Path | None, nodes: list[str], config: Path | None) -> CoreState:
    """Return a core that knows the cluster's facts.

    :raises CommandError: when they cannot be read; says what and why.
    """
    if pve is None:
        if nodes:
            raise InputError("--node goes with --pve")
        return stored_cluster(config or CONTROLLER)
    return read_cluster(pve, node_directories(nodes))


def node_directories(pairs: list[str]) -> dict[str, Path]:
    """Read NODE=DIR pairs."""
    found: dict[str, Path] = {}
    for pair in pairs:
        node, equals, directory = pair.partition("=")
        if not (node and equals and directory):
            raise InputError(f"--node {pair!r}: expected NODE=DIR, such as pve1=./pve1")
        if not Path(directory).is_dir():
            raise InputError(f"--node {pair}: {directory} is no directory")
        found[node] = Path(directory)
    return found


def stored_cluster(config: Path) -> CoreState:
    """Return what the controller knows, from its database.

    :raises CommandError: when there is none or it cannot be read.
    """
    try:
        settings = load_config(config)
    except ControllerError as error:
        raise ConfigurationError(f"{error}\n(or give a copy of /etc/pve with --pve)") from error
    if not settings.store.path.exists():
        raise NothingThereError(f"{settings.store.path}: no database yet; does the controller run? Or give /etc/pve with --pve")
    state = CoreState(settings.cluster)
    try:
        with closing(open_readonly(settings.store.path)) as connection:
            state.load((table, key, msgpack.unpackb(value)) for table, key, value in reading.core_state(connection))
    except ControllerError as error:
        raise CommandError(str(error)) from error
    return state
