"""How long it takes from a journal line to the webhook that names the fault, with the real programs and default settings.

The lines are the recorded ones of an NFS server that stops answering and answers again; systemd-journal-remote writes them into
the followed file with the present time. Several pairs of controller and agent do the same side by side, each a cluster of its own.

Most of the time is meant: the core waits ``incidents.settle`` after the last new sign, in case another node's report changes the
verdict. What is left is ours. The time to the commit is taken where the event becomes visible to another reader of the database.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

from bench.figures import Figure, middle, percentile
from bench.running import BenchError, Running, wait
from controller.config import Incidents
from tests.journals import join, recorded, value

GROUP: Final = "latency"
HEADING: Final = "From a journal line to the webhook (one node; systemd-journal-remote writes, real agent and controller)"
_WRITER: Final = "/lib/systemd/systemd-journal-remote"
_NODE: Final = "pve1"
_BAD: Final = "nfs: server 10.1.3.1 not responding, still trying"
_OK: Final = "nfs: server 10.1.3.1 OK"
_LOOK: Final = 0.001
"""Seconds between two looks at the database: what the time to the commit is known to."""
_LONGEST: Final = 30.0
_TIMES: Final = re.compile(rb"^__(?:REALTIME|MONOTONIC)_TIMESTAMP=.*\n|^__(?:CURSOR|SEQNUM|SEQNUM_ID)=.*\n", re.MULTILINE)


class _Webhook:
    """Notes when each change arrives."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                at = time.monotonic()
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                calls.append((at, json.loads(body)["change"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


@dataclass(slots=True)
class _Times:
    """Seconds of each repetition."""

    webhook: list[float] = field(default_factory=list)
    commit: list[float] = field(default_factory=list)


def measure(place: Path, lanes: int, repetitions: int) -> list[Figure]:
    """Return percentiles over ``lanes`` × ``repetitions``."""
    place.mkdir()
    times, failures = _Times(), list[BaseException]()

    def run(number: int) -> None:
        try:
            _lane(place / str(number), repetitions, times)
        except (BenchError, OSError, sqlite3.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(lanes)]
    for thread in threads:
        thread.start()
        time.sleep(1.3)  # so that not all lanes do the same at the same moment
    for thread in threads:
        thread.join()
    if failures:
        raise BenchError(str(failures[0])) from failures[0]
    return _figures(times)


def _figures(times: _Times) -> list[Figure]:
    settle = Incidents().settle
    own = [one - settle for one in times.webhook]
    count = f"{len(own)} repetitions"
    figures = [
        Figure(
            GROUP, "of that meant: incidents.settle", settle, "s", note="default; more where the core must wait for other nodes' reports"
        )
    ]
    for name, values, unit, scale, note in (
        ("line to webhook", times.webhook, "s", 1.0, f"{count}; incidents.settle included"),
        ("line to webhook without settle", own, "ms", 1000.0, "the pipeline's own share, writer and receiver included"),
        ("line to event committed", times.commit, "ms", 1000.0, f"in the controller's log, to {_LOOK * 1000:.0f} ms; writer included"),
    ):
        figures += [
            Figure(GROUP, f"{name}, p50", middle(values) * scale, unit, note=note),
            Figure(GROUP, f"{name}, p99", percentile(values, 0.99) * scale, unit, note=f"largest {max(values) * scale:.3g} {unit}"),
        ]
    return [*figures[1:3], figures[0], *figures[3:]]


def _lane(place: Path, repetitions: int, times: _Times) -> None:
    """One cluster: break, wait for the webhook, mend, wait for the webhook, again and again."""
    with ExitStack() as stack:
        running = stack.enter_context(Running(place))
        webhook = _Webhook()
        stack.callback(webhook.close)
        journal = place / "node.journal"
        writer = stack.enter_context(_Writer(journal))
        writer.write(_OK)
        wait(journal.exists, "journal file")
        running.controller(f'[[webhook]]\nname = "bench"\nurl = "http://127.0.0.1:{webhook.port}/"\n')
        running.agent(_NODE, f'[journal]\nfiles = ["{journal}"]\n[pmxcfs]\nenabled = false\n')
        log = stack.enter_context(closing(sqlite3.connect(f"{running.database.as_uri()}?mode=ro", uri=True, isolation_level=None)))
        time.sleep(1)
        for _ in range(repetitions):
            seen = len(webhook.calls)
            before = _newest(log)
            began = writer.write(_BAD)
            wait(lambda before=before: _newest(log) > before, "event in the log", _LONGEST, _LOOK)  # type: ignore[misc]
            times.commit.append(time.monotonic() - began)
            wait(lambda seen=seen: len(webhook.calls) > seen, "webhook", _LONGEST)  # type: ignore[misc]
            at, change = webhook.calls[seen]
            if change not in {"opened", "reopened"}:
                raise BenchError(f"a webhook says {change} when something broke")
            times.webhook.append(at - began)
            writer.write(_OK)
            wait(lambda seen=seen: len(webhook.calls) > seen + 1, "webhook of the recovery", _LONGEST)  # type: ignore[misc]


def _newest(log: sqlite3.Connection) -> int:
    """Return the newest event in the log that is the fault's."""
    row = log.execute("SELECT max(cursor) FROM log WHERE kind = 'nfs.server.unreachable'").fetchone()
    return int(row[0] or 0)


class _Writer:
    """Appends recorded lines to a journal file, as of now."""

    def __init__(self, journal: Path) -> None:
        self._entries = {
            text: _TIMES.sub(b"", join([entry])) for entry in recorded(_NODE) if (text := value(entry, "MESSAGE")) in {_BAD, _OK}
        }
        command = [_WRITER, "-o", str(journal), "-"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> Self:
        """Do nothing more."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the writer."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def write(self, text: str) -> float:
        """Write a line; return the monotonic time right before."""
        assert self._process.stdin is not None
        times = (b"__REALTIME_TIMESTAMP=%d\n" % (time.time_ns() // 1000), b"__MONOTONIC_TIMESTAMP=%d\n" % (time.monotonic_ns() // 1000))
        began = time.monotonic()
        self._process.stdin.write(b"".join(times) + self._entries[text])
        self._process.stdin.flush()
        return began
