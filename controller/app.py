"""The controller's composition root: what exists, who knows whom, when it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from random import Random
from typing import Final

import structlog
import zmq.asyncio
from systemd.daemon import notify

from controller import VERSION
from controller.access import Access, AllowList, own_keys
from controller.clock import Clock, Steps, utc
from controller.config import Config, Email, Webhook
from controller.core.report import Change
from controller.engine import Engine
from controller.errors import ControllerError, PermanentError, TemporaryError
from controller.ingest import DOMAIN as INGEST
from controller.ingest import Ingest
from controller.logs import configure
from controller.notify.base import Notifier
from controller.notify.drain import Drain
from controller.notify.email import EmailNotifier, Server
from controller.notify.trust import client_context
from controller.notify.webhook import WebhookNotifier, read_secret
from controller.store.retention import Retention
from controller.store.store import Store
from controller.stream.follow import follow
from controller.stream.jsonl import JsonlSink
from controller.stream.xpub import DOMAIN as STREAM
from controller.stream.xpub import XpubSink

log = structlog.get_logger()

_GARBAGE: Final = 500_000
"""Objects between two searches for garbage in cycles. Events are in none, and Python's default of 700 would search them all day:
it costs a fifth of the throughput in a storm."""
_PRUNE_EVERY: Final = 60.0
"""Seconds between two looks at what is too old."""


def run(config: Config, clock: Clock) -> int:
    """Run the controller until SIGTERM or SIGINT; return the exit code."""
    configure()
    gc.set_threshold(_GARBAGE, 20, 50)
    os.umask(0o077)  # keys and database are nobody else's, also without systemd's UMask=
    code = 0
    try:
        asyncio.run(Controller(config, clock).run())
    except* ControllerError as group:
        for error in _leaves(group):
            log.error("cannot go on", error=str(error))
        code = 1
    return code


def check_files(config: Config) -> None:
    """Open the files with secrets and certificate authorities that a start needs, as the user who asks.

    :raises ControllerError: the first that is missing or holds something else.
    """
    for webhook in config.webhook:
        for file in webhook.secret_files:
            read_secret(file)
        client_context(webhook.ca_file)
    for email in config.email:
        EmailNotifier(_server(email), email.sender, email.to, email.changes)


def _server(one: Email) -> Server:
    return Server(one.host, one.port, one.security, one.username, one.password_file, one.timeout, one.ca_file)


def _leaves(group: BaseExceptionGroup[ControllerError]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _without_clock(heard: Callable[[str, int], None]) -> Callable[[str, int], None]:
    return lambda node, _clock: heard(node, 0)


class Controller:
    """One running controller."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until told to stop, or until any part ends by itself: systemd then starts everything anew."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        config = self._config
        notifiers = dict(self._notifiers())
        keys = own_keys(config.ingest.key_dir, "controller")
        async with AsyncExitStack() as stack:
            store = await Store.open(config.store.path)
            stack.push_async_callback(store.close)
            lists = self._lists()
            access = Access(zmq.asyncio.Context.instance(), lists)
            access.start()
            stack.callback(access.stop)
            steps = Steps() if self._clock is utc else lambda: 0  # a rehearsal's clock goes by the monotonic one
            engine = Engine(store, config.cluster, config.incidents.timings(), self._wishes(), self._clock, steps)
            await engine.load()
            # In a rehearsal agents' clocks say nothing of the recorded nodes': only the world's clock can be compared with theirs.
            heard = engine.heard if self._clock is utc else _without_clock(engine.heard)
            ingest = Ingest(config.ingest.bind, keys, engine.accept, store.acked, heard, lists[INGEST].allows)
            sinks = list(self._sinks(keys))
            await store.keep_sinks({sink.name for sink in sinks})
            await store.keep_performers(set(notifiers))
            for sink in sinks:
                stack.callback(sink.close)
                if isinstance(sink, XpubSink):
                    lists[STREAM].removed = sink.turn_away
            for notifier in notifiers.values():
                if isinstance(notifier, WebhookNotifier):
                    stack.push_async_callback(notifier.close)
            loop.add_signal_handler(signal.SIGHUP, access.reload)
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(engine.run(), name="engine"), tasks.create_task(ingest.run(), name="ingest")]
                running += [tasks.create_task(follow(sink, store, engine.stored), name=sink.name) for sink in sinks]
                running += [
                    tasks.create_task(self._drain(name, notifier, store, engine).run(), name=name) for name, notifier in notifiers.items()
                ]
                running += [
                    tasks.create_task(self._prune(store), name="prune"),
                    tasks.create_task(self._watchdog(engine), name="watchdog"),
                ]
                await ingest.listening.wait()
                notify("READY=1")
                log.info("controller runs", cluster=config.cluster, version=VERSION)
                await self._stop.wait()
                notify("STOPPING=1")
                for task in running:
                    task.cancel()
        log.info("controller stopped")

    def _lists(self) -> dict[str, AllowList]:
        lists = {INGEST: AllowList(self._config.ingest.agents_dir)}
        if self._config.xpub:
            lists[STREAM] = AllowList(self._config.xpub.subscribers_dir)
        return lists

    def _named(self) -> Iterator[tuple[str, Webhook | Email]]:
        yield from ((f"webhook:{one.name}", one) for one in self._config.webhook)
        yield from ((f"email:{one.name}", one) for one in self._config.email)

    def _wishes(self) -> dict[str, tuple[Change, ...]]:
        return {name: one.changes for name, one in self._named()}

    def _notifiers(self) -> Iterator[tuple[str, Notifier]]:
        for name, one in self._named():
            if isinstance(one, Webhook):
                secrets = [read_secret(file) for file in one.secret_files]
                yield name, WebhookNotifier(one.url, secrets, one.timeout, one.ca_file, VERSION)
            else:
                yield name, EmailNotifier(_server(one), one.sender, one.to, one.changes)

    def _drain(self, name: str, notifier: Notifier, store: Store, engine: Engine) -> Drain:
        give_up_after = dict(self._named())[name].give_up_after
        return Drain(name, notifier, store, give_up_after, self._clock, engine.stored, Random())  # noqa: S311 - spreads retries

    def _sinks(self, keys: tuple[bytes, bytes]) -> Iterator[JsonlSink | XpubSink]:
        config = self._config
        if config.jsonl:
            yield JsonlSink(config.jsonl.path, config.jsonl.max_bytes, config.jsonl.keep, config.cluster)
        if config.xpub:
            yield XpubSink(config.xpub.bind, keys, config.cluster)

    async def _prune(self, store: Store) -> None:
        group = self._config.store
        retention = Retention(int(group.keep * 1_000_000), group.max_rows)
        while True:
            try:
                while await store.prune(retention, self._clock()):  # noqa: ASYNC110 - between steps the engine gets its turn
                    await asyncio.sleep(0.1)
            except TemporaryError as error:
                log.warning("cannot prune", error=str(error))
            except PermanentError as error:
                # A damaged page among the oldest rows: what is new needs none of them, and an hour later it is no better.
                log.error("old rows can be pruned no more: the database grows", error=str(error))
                return
            await asyncio.sleep(_PRUNE_EVERY)

    async def _watchdog(self, engine: Engine) -> None:
        """Tell systemd that we live, and how."""
        limit = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
        while True:
            live = engine.state.live_incidents()
            heard = sum(not node.silent for node in engine.state.nodes.values())
            notify(f"WATCHDOG=1\nSTATUS={heard} of {len(engine.state.nodes)} agents heard, {len(live)} unresolved incidents")
            await asyncio.sleep(min(limit / 3, 10.0) if limit else 10.0)
