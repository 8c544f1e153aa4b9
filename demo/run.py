"""Run the whole flow on this machine and show it: three agents, one controller, journals that three kernels really logged.

The recordings' seven faults (23 minutes) happen again on a rehearsal clock. Everything else is real: journal files written by
systemd's own writer, processes, CURVE, SQLite, a webhook over HTTP and mail over SMTP to receivers on loopback.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from hmac import compare_digest
from pathlib import Path
from typing import Any, Final

import zmq.auth
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from controller.core.report import IncidentReport
from controller.notify.webhook import read_secret, signature
from demo.feed import Feed, RehearsalClock
from demo.receivers import Call, MailReceiver, WebhookReceiver
from faultline import render
from faultline.scoring import read_truth, score

ROOT: Final = Path(__file__).resolve().parents[1]
RECORDINGS: Final = ROOT / "tests" / "samples" / "recorded" / "three-nodes-1"
PVE: Final = ROOT / "demo" / "pve"
"""The /etc/pve that the recorded nodes would have had."""
NODES: Final = ("pve1", "pve2", "pve3")
BEGIN: Final = datetime(2026, 11, 23, 2, 54, 40, tzinfo=UTC)
"""Shortly before the first line that any fault left: 173 s after that fault began, since kernels take their time."""
END: Final = datetime(2026, 11, 23, 3, 7, 50, tzinfo=UTC)
SPEED: Final = 16.0
"""Times real time: thirteen minutes take fifty seconds, and reports of three nodes still arrive in their order."""


PANEL: Final = 120
"""Widest panel, columns."""
START_UP: Final = 5.0
"""Seconds for the processes to start and connect before anything happens."""


class Demo:
    """Everything that the demo starts, in a directory of its own."""

    def __init__(self, place: Path, console: Console) -> None:
        self.place = place
        self.console = console
        self.web, self.mail = WebhookReceiver(), MailReceiver()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.feeds: list[Feed] = []

    def prepare(self) -> None:
        """Make keys and configuration."""
        keys, agents = self.place / "keys", self.place / "agents"
        for folder in (keys, agents, self.place / "subscribers"):
            folder.mkdir(parents=True)
        for name in ("controller", *NODES):
            zmq.auth.create_certificates(keys, name)
        for node in NODES:
            shutil.copy(keys / f"{node}.key", agents)
        (self.place / "webhook.secret").write_text(f"whsec_{base64.b64encode(os.urandom(32)).decode()}\n")
        (self.place / "controller.toml").write_text(_CONTROLLER.format(place=self.place, web=self.web.port, mail=self.mail.port))
        shutil.copytree(PVE, self.place / "pve")
        for node in NODES:
            (self.place / f"{node}.toml").write_text(_AGENT.format(place=self.place, node=node))
        self.feeds = [Feed(RECORDINGS / f"{node}.export.xz", self.place / f"{node}.journal") for node in NODES]

    def start(self) -> RehearsalClock:
        """Start the processes; the rehearsal clock runs from here on."""
        for feed in self.feeds:
            feed.history(_micros(BEGIN))
        _wait(lambda: all(feed.journal.exists() and feed.journal.stat().st_size for feed in self.feeds), "journal files")
        clock = RehearsalClock(BEGIN, SPEED, START_UP)
        self._run("faultline-controller", "controller.toml", "--rehearse", f"{BEGIN.isoformat()}@{SPEED}@{clock.begun}")
        for node in NODES:
            self._run("faultline-agent", f"{node}.toml", log=f"{node}.log")
        controller_log = self.place / "controller.log"
        _wait(lambda: controller_log.read_text().count("agent connected") == len(NODES), "connected agents")
        for feed in self.feeds:
            feed.follow(clock, _micros(END))
        return clock

    def _run(self, program: str, config: str, *more: str, log: str = "controller.log") -> None:
        command = [str(Path(sys.executable).with_name(program)), "run", "--config", str(self.place / config), *more]
        with (self.place / log).open("wb") as out:
            self.processes.append(subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT))

    def stop(self) -> None:
        """End everything that was started."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        for feed in self.feeds:
            feed.close()
        self.web.close()
        self.mail.close()

    def check_alive(self) -> None:
        """Fail loudly when a process ended by itself."""
        for process in self.processes:
            if process.poll() is not None:
                logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(self.place.glob("*.log")))
                raise SystemExit(f"demo: {process.args!r} ended with {process.returncode}\n{logs}")

    def watch(self, clock: RehearsalClock) -> list[IncidentReport]:
        """Show each change as the webhook receiver gets it, until the rehearsal is over."""
        shown: list[IncidentReport] = []
        end = _micros(END)
        while clock.now() < end + 30_000_000 * 2:
            self.check_alive()
            for call in self.web.calls[len(shown) :]:
                report = IncidentReport.model_validate_json(call.body)
                shown.append(report)
                self.console.print(render.change(report))
            time.sleep(0.05)
        return shown


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _wait(ready: Any, what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise SystemExit(f"demo: no {what} after {seconds:.0f} s")
        time.sleep(0.05)


_CONTROLLER: Final = """\
cluster = "demo"

[ingest]
bind = "ipc://{place}/ingest.sock"
key_dir = "{place}/keys"
agents_dir = "{place}/agents"

[store]
path = "{place}/faultline.db"

[incidents]
silent_after = 120  # rehearsed seconds: the agents' heartbeats do not run faster

[[webhook]]
name = "chat"
url = "http://127.0.0.1:{web}/hooks/storage"
secret_files = ["{place}/webhook.secret"]

[[email]]
name = "oncall"
host = "127.0.0.1"
port = {mail}
security = "none"
sender = "faultline@pve.example"
to = ["oncall@example.org"]

[jsonl]
path = "{place}/faultline.jsonl"

[xpub]
bind = "ipc://{place}/stream.sock"
subscribers_dir = "{place}/subscribers"
"""

_AGENT: Final = """\
[node]
name = "{node}"
cluster = "demo"

[journal]
files = ["{place}/{node}.journal"]
start = "beginning"

[pmxcfs]
root = "{place}/pve"  # the recorded nodes were plain Debian: demo/pve is what theirs would have been

# This machine's networks, mounts and sessions are not the recorded nodes'.
[host]
enabled = false
[nfs]
enabled = false
[iscsi]
enabled = false
[multipath]
enabled = false
[lvm]
enabled = false

[spool]
path = "{place}/{node}.spool.db"

[uplink]
key_dir = "{place}/keys"
heartbeat = 1.0
controllers = [{{ endpoint = "ipc://{place}/ingest.sock", public_key_file = "{place}/keys/controller.key" }}]
"""


def show_webhook(console: Console, call: Call, secret: Path) -> None:
    """Show one webhook call as it came, and verify its signature as a receiver would."""
    seconds = int(call.headers["webhook-timestamp"])
    expected = signature(read_secret(secret), call.headers["webhook-id"], seconds, call.body)
    good = compare_digest(expected, call.headers["webhook-signature"])
    body = json.loads(call.body)
    shown = ("type", "change", "id", "cause", "entity", "confidence", "nodes", "storages", "guests", "ha_can_help", "why", "opened_at")
    short = {key: body[key] for key in shown}
    lines = [f"{name}: {call.headers[name]}" for name in ("webhook-id", "webhook-timestamp", "webhook-signature")]
    text = "\n".join([*lines, f"(signature {'verified' if good else 'WRONG'})", "", json.dumps(short, indent=2), "…"])
    console.print(Panel(Text(text), title="a webhook, as it arrived", border_style="blue", width=min(console.width, PANEL)))


def show_mail(console: Console, mails: list[Any]) -> None:
    """Show the mails of one incident: the first whole, the later ones as the thread that they make."""
    first = mails[0]
    thread = [one for one in mails if one["X-Faultline-Incident"] == first["X-Faultline-Incident"]]
    headers = [f"{name}: {first[name]}" for name in ("From", "To", "Subject", "Message-ID")]
    body = first.get_body(("plain",)).get_content()
    later = [f"then in the same thread: {one['X-Faultline-Change']}  In-Reply-To: {one['In-Reply-To']}" for one in thread[1:]]
    console.print(
        Panel(
            Text("\n".join([*headers, "", body.strip(), "", *later])),
            title="a mail, as it arrived",
            border_style="blue",
            width=min(console.width, PANEL),
        )
    )


def poke(console: Console, place: Path) -> None:
    """Say what else can be looked at."""
    command = f".venv/bin/faultline {{}} --config {place}/controller.toml"
    console.print("\n[bold]To look further[/] (with [bold]make demo HOLD=1[/] it stays up):", markup=True)
    for text in (
        "status",
        "incidents --all",
        "incidents fl-…",
        "events --follow",
        "domains",
        "what-if --fail nfs-server/10.1.3.1",
        "topology",
    ):
        console.print(f"  {command.format(text)}")
    console.print(f"  tail -f {place}/faultline.jsonl      # what a SIEM's shipper reads")
    console.print("  .venv/bin/faultline replay --help    # the same verdicts from recorded journals, without any service")


def main() -> int:
    """Run the demo; return 0 when every fault that left lines was named right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hold", action="store_true", help="stay up at the end until Ctrl-C")
    hold = parser.parse_args().hold
    console = render.console()
    place = Path(tempfile.mkdtemp(prefix="faultline-demo-"))
    demo = Demo(place, console)
    try:
        console.print("[bold]Three nodes, one NAS, seven faults[/], recorded on 2026-11-23,", end=" ", markup=True)
        console.print(f"happen again {SPEED:.0f} times as fast.")
        console.print(f"One controller and three agents start in {place}; times below are the recording's.\n")
        demo.prepare()
        shown = demo.watch(demo.start())
        _wait(lambda: len(demo.mail.mails) >= 1, "mail")
        console.print()
        show_webhook(console, next(call for call in demo.web.calls), place / "webhook.secret")
        show_mail(console, demo.mail.mails)
        result = score(read_truth(RECORDINGS / "truth.jsonl"), shown)
        console.print("\n[bold]Against what really was broken[/]:", end="", markup=True)
        console.print(render.scores(result))
        poke(console, place)
        if hold:
            console.print("\nHolding. Ctrl-C ends it.")
            with suppress(KeyboardInterrupt):
                while True:
                    demo.check_alive()
                    time.sleep(0.5)
        return 0 if result.recall == 1 and result.precision == 1 else 1
    finally:
        demo.stop()
        if not hold:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
