"""The agent's composition root: what exists, who knows whom, when it ends. The only reader of clocks here."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

import structlog
from systemd.daemon import notify

from agent import VERSION
from agent.classify.host import HostClassifier
from agent.classify.journald import JournalClassifier
from agent.classify.pmxcfs import PmxcfsClassifier
from agent.config import Config, load_config
from agent.errors import AgentError
from agent.keys import own_keys, public_key
from agent.logs import configure
from agent.pipeline import Line, Pipeline
from agent.probes import probes
from agent.pulse import Pulse
from agent.record import Batch, RawRecord
from agent.sources.background import Background
from agent.sources.deadline import OneAtATime
from agent.sources.handover import batches
from agent.sources.host import HostSource
from agent.sources.journal_reader import Place
from agent.sources.journald import JournalSource
from agent.sources.moment import UNKNOWN, boot_id
from agent.sources.pmxcfs import PmxcfsSource
from agent.sources.sysfs import inventory
from agent.spool import Limits, Observed, Spool, SpoolDamagedError
from agent.uplink import Identity, Peer, Uplink
from events.agent import AgentConfigReloaded, AgentStarted, AgentStopped
from events.base import Event, Seen, Source
from events.cluster import NodeBooted
from events.entity import Entity, EntityKind

log = structlog.get_logger()

_GARBAGE: Final = 50_000
"""Objects between two searches for garbage in cycles. Events are in none, and Python's default of 700 would search them all day:
it costs a fifth of the throughput in a storm."""
_COLLECT: Final = 60.0
"""Seconds between two searches for garbage whatever there is: what fails for hours leaves an exception and its frames in a cycle each time,
a few thousand objects a minute, and 50,000 of them are some megabytes."""
_DRAIN: Final = 2.0
"""Seconds given to the controllers for the last events on SIGTERM; what is left stays in the spool."""
_SIDES: Final = 3
"""Times a watchdog interval is divided by."""
_COROSYNC: Final = Path("/etc/corosync/corosync.conf")


def run(config: Config, path: Path) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit code. ``path`` is read again on SIGHUP."""
    configure()
    gc.set_threshold(_GARBAGE, 20, 50)
    os.umask(0o077)  # keys, spool and logs are nobody else's, also without systemd's UMask=
    code = 0
    try:
        asyncio.run(Agent(config, path).run())
    except* AgentError as group:
        for error in _leaves(group):
            log.error("cannot go on", error=str(error))
        code = 1
    return code


def _leaves(group: BaseExceptionGroup[AgentError]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def utc() -> int:
    """Return UTC µs."""
    return time.time_ns() // 1000


def _moment() -> tuple[int, int]:
    return utc(), time.monotonic_ns() // 1000


class Agent:
    """One running agent."""

    def __init__(self, config: Config, path: Path) -> None:
        self._config = config
        self._path = path
        self._boot_id = boot_id()
        journal = config.journal
        self._sees_boots = self._boot_id != UNKNOWN and not (journal.enabled and (journal.directory or journal.files))
        """Whether it is we who tell of a boot. Journal files that we are given tell of their own: they may be another machine's."""
        self._node = config.node.name
        self._stop = asyncio.Event()
        self._pulse = Pulse()
        self._pipelines: list[Pipeline] = []
        self._uplinks: dict[str, Uplink] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._spool: Spool
        self._looking: OneAtATime[Any]
        """Looks at this host: kept when its source is started again, for what hangs in it hangs on."""
        self._rounds: Background
        """Looks at /etc/pve, likewise."""

    async def run(self) -> None:
        """Run until told to stop, or until any part ends by itself: systemd then starts everything anew."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        identity = self._identity()
        self._spool = await self._open_spool()
        try:
            await self._begin()
            await self._work(identity)
        finally:
            await self._spool.close()
        log.info("agent stopped")

    async def _work(self, identity: Identity) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one.run(), name=one.line.source.value) for one in self._make_pipelines()]
            self._connect(tasks, identity)
            loop.add_signal_handler(signal.SIGHUP, lambda: tasks.create_task(self._reload(tasks, identity), name="reload"))
            running.append(tasks.create_task(self._watchdog(), name="watchdog"))
            running.append(tasks.create_task(self._pulse.run(), name="pulse"))
            running.append(tasks.create_task(_collect_garbage(), name="garbage"))
            notify("READY=1")
            log.info("agent runs", node=self._node, stream=self._spool.stream, version=VERSION)
            await self._stop.wait()
            notify("STOPPING=1")
            loop.remove_signal_handler(signal.SIGHUP)
            await self._finish()
            for task in [*running, *self._sending.values()]:
                task.cancel()

    async def _begin(self) -> None:
        """Say that the agent started and, before anything else is said of this boot, that it is another one than an agent saw last."""
        at, monotonic = _moment()
        said = [Observed(AgentStarted(subject=self._subject(), seen=_OWN, version=VERSION), at, monotonic, self._boot_id)]
        try:
            before = (await self._spool.memory(Source.AGENT.value) or {}).get("boot_id", self._boot_id)
            if self._sees_boots and before != self._boot_id:
                booted = NodeBooted(subject=self._subject(), seen=_OWN, boot_id=self._boot_id)
                said.insert(0, Observed(booted, max(0, at - monotonic), 0, self._boot_id))
            await self._spool.append(Source.AGENT.value, said, None, {"boot_id": self._boot_id})
        except AgentError as error:
            log.warning("cannot spool", event_kind=said[-1].event.kind, error=str(error))

    def _identity(self) -> Identity:
        public, secret = own_keys(self._config.uplink.key_dir, self._node)
        return Identity(self._node, self._boot_id, VERSION, public, secret)

    def _cluster(self) -> str:
        """Return the configured cluster name, or the one in corosync.conf."""
        if self._config.node.cluster:
            return self._config.node.cluster
        # Corosync's own copy, not the one in /etc/pve: a hanging pmxcfs must not keep a node's monitor from starting.
        with suppress(OSError):
            for line in _COROSYNC.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.strip().startswith("cluster_name:"):
                    return line.split(":", 1)[1].strip() or "standalone"
        return "standalone"

    async def _open_spool(self) -> Spool:
        group = self._config.spool
        name, limits = (self._cluster(), self._node), Limits(group.max_bytes, int(group.max_age * 1_000_000))
        peers = [one.name or one.endpoint for one in self._config.uplink.controllers]
        try:
            return await Spool.open(group.path, name, limits, utc, peers)
        except SpoolDamagedError as error:
            aside = _move_aside(group.path)
            log.error("spool was damaged and is begun anew as another stream", error=str(error), moved_to=str(aside))
            spool = await Spool.open(group.path, name, limits, utc, peers)
            await spool.tell(f"the spool was damaged; what it held and no controller had is in {aside}")
            return spool

    def _make_pipelines(self) -> list[Pipeline]:
        lines = []
        if self._config.journal.enabled:
            own = self._boot_id if self._sees_boots else ""
            lines.append(Line(Source.JOURNALD, self._journal, lambda memory: JournalClassifier(self._node, memory, own)))
        root = self._config.pmxcfs.root
        # Looked up in its parent: the mount itself may hang.
        if self._config.pmxcfs.enabled and not _is_listed(root):
            log.info("no Proxmox VE here, pmxcfs is not watched", root=str(root))
        elif self._config.pmxcfs.enabled:
            self._rounds = Background("pmxcfs")
            lines.append(Line(Source.PMXCFS, self._pmxcfs, self._classifier(PmxcfsClassifier)))
        if self._config.host.enabled:
            self._looking = OneAtATime("host-look")
            lines.append(Line(Source.HOST, self._host, self._classifier(HostClassifier)))
        lines += probes(self._config)
        self._pipelines = [Pipeline(line, self._spool, self._node, self._boot_id, _moment) for line in lines]
        return self._pipelines

    def _classifier(self, kind: Callable[[str, dict[str, Any] | None], Any]) -> Callable[[dict[str, Any] | None], Any]:
        return lambda memory: kind(self._node, memory)

    async def _journal(self, cursor: str | None) -> AsyncIterator[Batch]:
        """Follow the journal; on this host's own, first take in what sysfs knows of sessions whose login is long past."""
        group = self._config.journal
        if not (group.directory or group.files):
            at, monotonic = _moment()
            found = await asyncio.to_thread(inventory)
            records = (RawRecord(Source.ISCSI, at, monotonic, self._boot_id, fields) for fields in found)
            yield Batch(Source.ISCSI, tuple(records))
        source = JournalSource(Place(group.directory, group.files), cursor=cursor, start=group.start)
        async with aclosing(batches(source, "journald")) as following:
            async for batch in following:
                yield batch

    def _pmxcfs(self, cursor: str | None) -> AsyncIterator[Batch]:
        del cursor  # /etc/pve has a state, not a history
        group = self._config.pmxcfs
        looks = PmxcfsSource(group.root, interval=group.interval, deadline=group.deadline, node=self._node, background=self._rounds)
        return batches(looks, "pmxcfs")

    def _host(self, cursor: str | None) -> AsyncIterator[Batch]:
        del cursor  # a node has a state, not a history
        group = self._config.host
        looks = HostSource(mounts_interval=group.mounts_interval, interval=group.interval, deadline=group.deadline, worker=self._looking)
        return batches(looks, "host")

    def _connect(self, tasks: asyncio.TaskGroup, identity: Identity) -> None:
        """Start an uplink for each configured controller that has none, or one to another place or with another key."""
        for one in self._config.uplink.controllers:
            peer = Peer(one.name or one.endpoint, one.endpoint, public_key(one.public_key_file))
            current = self._uplinks.get(peer.name)
            if current is None or current.peer != peer:
                if current is not None:
                    self._sending.pop(peer.name).cancel()
                uplink = Uplink(self._spool, peer, identity, self._config.uplink.heartbeat, utc, self._troubles, self._repeat)
                self._uplinks[peer.name] = uplink
                self._sending[peer.name] = tasks.create_task(uplink.run(), name=f"uplink {peer.name}")

    def _repeat(self) -> None:
        """Say again what sources with a state have said: a controller lacks it."""
        for one in self._pipelines:
            if one.line.source is not Source.JOURNALD:
                one.repeat()

    def _troubles(self) -> dict[str, str]:
        return {one.line.source.value: one.trouble for one in self._pipelines}

    async def _watchdog(self) -> None:
        """Tell systemd that we live, and how: only while the loop turns and the spool's thread lives."""
        limit = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
        while True:
            if not self._spool.alive:
                raise AgentError("the spool's thread has ended")
            up = sum(one.connected for one in self._uplinks.values())
            troubles = [f"{name}: {text}" for name, text in self._troubles().items() if text]
            late = f"loop at most {self._pulse.p99 * 1000:.0f} ms late"
            status = f"{up} of {len(self._uplinks)} controllers, sequence {self._spool.last}, {late}"
            notify(f"WATCHDOG=1\nSTATUS={'; '.join([status, *troubles])}")
            await asyncio.sleep(min(limit / _SIDES, 10.0) if limit else 10.0)

    async def _reload(self, tasks: asyncio.TaskGroup, identity: Identity) -> None:
        """Apply a changed file: the controllers at once; what the rest needs a restart for is said."""
        notify("RELOADING=1\nMONOTONIC_USEC=" + str(time.monotonic_ns() // 1000))
        try:
            fresh = load_config(self._path)
            for one in fresh.uplink.controllers:
                public_key(one.public_key_file)
        except AgentError as error:
            log.error("configuration refused, the old one goes on", error=str(error))
            await self._say(AgentConfigReloaded(subject=self._subject(), seen=_OWN, result="refused", reason=str(error)[:256]))
        else:
            await self._apply(fresh, tasks, identity)
        notify("READY=1")

    async def _apply(self, fresh: Config, tasks: asyncio.TaskGroup, identity: Identity) -> None:
        same = fresh.model_copy(update={"uplink": self._config.uplink}) == self._config
        self._config = self._config.model_copy(update={"uplink": fresh.uplink})
        names = [one.name or one.endpoint for one in fresh.uplink.controllers]
        for name in set(self._uplinks) - set(names):
            self._sending.pop(name).cancel()
            del self._uplinks[name]
        await self._spool.configure(names)
        self._connect(tasks, identity)
        reason = "" if same else "controllers applied; the other changes need a restart"
        log.info("configuration read anew", note=reason or "applied")
        await self._say(AgentConfigReloaded(subject=self._subject(), seen=_OWN, result="applied", reason=reason))

    async def _finish(self) -> None:
        """Say goodbye, and give the controllers a moment to take it."""
        with suppress(AgentError):
            await self._say(AgentStopped(subject=self._subject(), seen=_OWN))
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN):
                while any(one.connected and one.acked < self._spool.last for one in self._uplinks.values()):  # noqa: ASYNC110 - two seconds at most
                    await asyncio.sleep(0.02)

    def _subject(self) -> Entity:
        return Entity(EntityKind.NODE, self._node)

    async def _say(self, event: Event) -> None:
        at, monotonic = _moment()
        try:
            await self._spool.append(Source.AGENT.value, [Observed(event, at, monotonic, self._boot_id)], None, None)
        except AgentError as error:
            log.warning("cannot spool", event_kind=event.kind, error=str(error))


_OWN: Final = Seen(source=Source.AGENT)


async def _collect_garbage() -> None:
    """Search for garbage until cancelled. What stands after the first search is the agent itself, and is not searched again."""
    while True:
        await asyncio.sleep(_COLLECT)
        gc.collect()
        if not gc.get_freeze_count():
            gc.freeze()


def _is_listed(path: Path) -> bool:
    try:
        return path.name in {one.name for one in path.parent.iterdir()}
    except OSError:
        return False


def _move_aside(path: Path) -> Path:
    """Rename a spool, with what belongs to it: what can still be read there was perhaps never sent."""
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    try:
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return path.rename(aside)
    except OSError as error:
        raise AgentError(f"{path}: is damaged and cannot be moved aside: {error.strerror or error}") from error
