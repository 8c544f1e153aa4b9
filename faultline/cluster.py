"""Where a command gets the cluster from: a copy of /etc/pve and of nodes' files, this node's own, or the controller's database.

Files go through the agent's own sources and classifiers and the real codec into the controller's own core, so that a copy of a
cluster on a laptop and the cluster itself give the same answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, cast

import msgpack
import typer

from agent.classify.host import HostClassifier
from agent.classify.host_networks import HostFileError
from agent.classify.pmxcfs import PmxcfsClassifier
from agent.errors import AgentError
from agent.record import RawRecord
from agent.sources.host import look
from agent.sources.moment import Moment
from agent.sources.pmxcfs import PmxcfsSource
from agent.sources.pmxcfs_look import ALL
from controller.config import load_config
from controller.core.facts import KINDS as FACTS
from controller.core.state import CoreState
from controller.errors import ControllerError
from controller.store import reading
from controller.store.database import open_readonly
from events.base import Event, Source
from events.cluster import MemberJoined, MemberLeft
from events.codec import decode, encode
from events.definitions import GuestStatus, HaManagerState, HaServiceState
from events.envelope import Envelope
from faultline.errors import CommandError, ConfigurationError, InputError, NothingThereError
from pve import corosync_conf

_READER: Final = "command-line"
"""Observer's name of what is read from files."""
_STREAM: Final = "files"
_DEADLINE: Final = 60.0
"""Seconds for reading /etc/pve: here somebody waits, and may press Ctrl-C."""
_MOMENTARY: Final = frozenset({MemberJoined, MemberLeft, GuestStatus, HaServiceState, HaManagerState})
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


def read_cluster(pve: Path, nodes: Mapping[str, Path]) -> CoreState:
    """Return what copies of files say: /etc/pve, and of some nodes their own.

    :raises InputError: when ``pve`` is no directory with such files; names it.
    """
    state = CoreState(cluster_name(pve))
    for envelope in facts(pve, nodes):
        state.learn(cast("Event", envelope.event), envelope.observed_at)
    return state


def facts(pve: Path, nodes: Mapping[str, Path] = MappingProxyType({})) -> list[Envelope]:
    """Return what the files define, without what they say of a moment: who is online, what is active.

    :raises InputError: as :func:`read_cluster`.
    """
    return [envelope for envelope in read_events(pve, nodes) if type(envelope.event) in FACTS and type(envelope.event) not in _MOMENTARY]


def cluster_name(pve: Path) -> str:
    """Return the cluster's name from a copy of /etc/pve; ``standalone`` when it names none.

    :raises InputError: when it is no directory.
    """
    if not pve.is_dir():
        raise InputError(f"--pve {pve}: is no directory")
    file = pve / "corosync.conf"
    return corosync_conf.parse(file.read_bytes()).cluster or "standalone" if file.is_file() else "standalone"


def read_events(pve: Path, nodes: Mapping[str, Path], at: int = 0) -> Iterator[Envelope]:
    """Yield the events that agents would have sent of these files, through the codec, all observed at ``at`` (UTC µs).

    :raises InputError: when there is nothing to read.
    """
    cluster = cluster_name(pve)
    for count, (node, event) in enumerate(_events(pve, nodes, at), 1):
        yield decode(encode(Envelope(cluster, node, _STREAM, _STREAM, count, at, 0, event)))


def _events(pve: Path, nodes: Mapping[str, Path], at: int) -> Iterator[tuple[str, Event]]:
    batch = _look(pve, at)
    if not any(record.fields.get("what") == "file" and record.fields.get("text") for record in batch):
        raise InputError(f"--pve {pve}: holds no storage.cfg, corosync.conf or other file of /etc/pve")
    classifier = PmxcfsClassifier(_READER)
    for record in batch:
        yield from ((_READER, event) for event in classifier.classify(record))
    for node, root in nodes.items():
        yield from ((node, event) for event in _host(node, root, at))


def _host(node: str, root: Path, at: int) -> Iterator[Event]:
    """Yield what a copy of a node's own files says."""
    classifier = HostClassifier(node)
    for fields in look(root):
        try:
            yield from classifier.classify(RawRecord(Source.HOST, at, 0, _STREAM, fields))
        except HostFileError as error:
            raise InputError(f"--node {node}={root}: {error}") from error


def _look(pve: Path, at: int) -> tuple[RawRecord, ...]:
    """Look at the directory once, as an agent would that has all guests for its own."""
    source = PmxcfsSource(pve, plain=None, interval=0, deadline=_DEADLINE, moment=lambda: Moment(at, 0, _STREAM), node=ALL)
    try:
        batch = source.read_batch(timeout=0)
    except AgentError as error:
        raise InputError(str(error)) from error
    finally:
        source.close()
    return batch.records if batch is not None else ()


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
