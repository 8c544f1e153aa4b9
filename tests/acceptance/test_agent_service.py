"""The agent as systemd runs it: readiness, watchdog, reload, end."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq.auth

from agent.app import utc
from agent.sources.moment import boot_id
from agent.spool import Limits, Spool
from events.agent import AgentConfigReloaded
from events.base import Source
from events.codec import decode
from tests.processes import Site


class Systemd:
    """The other end of sd_notify(3): a datagram socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def heard(self, text: str) -> int:
        """Return how many messages so far hold a text."""
        while True:
            try:
                self.said.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return sum(text in one for one in self.said)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a site with one agent and its journal; nothing runs yet."""
    site = Site(tmp_path, ("pve1",))
    site.feed(1)
    yield site
    site.end()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    """Return what hears the service's notifications."""
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


def reloads(site: Site) -> list[AgentConfigReloaded]:
    """Return the events of reloads that the controller has."""
    return [one.event for one in site.stored() if isinstance(one.event, AgentConfigReloaded)]


def test_readiness_watchdog_and_end_are_notified(site: Site, systemd: Systemd) -> None:
    """The agent says when it is ready, pets the watchdog in time and often enough, shows its state, and says that it stops."""
    site.start("pve1", NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="600000")
    site.until(lambda: systemd.heard("READY=1"), "readiness")
    site.until(lambda: systemd.heard("WATCHDOG=1") >= 4, "signs of life", 3)
    assert systemd.heard("STATUS=0 of 1 controllers, sequence ")
    assert not systemd.heard("STOPPING=1")
    assert site.stop("pve1") == 0
    assert systemd.heard("STOPPING=1") == 1


def test_a_stopped_loop_does_not_pet_the_watchdog(site: Site, systemd: Systemd) -> None:
    """No other thread keeps telling systemd that all is well: an agent that stands still is silent."""
    site.start("pve1", NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC="300000")
    site.until(lambda: systemd.heard("WATCHDOG=1") >= 2, "signs of life")
    site.running["pve1"].send_signal(signal.SIGSTOP)
    site.until(lambda: "\nState:\tT" in Path(f"/proc/{site.running['pve1'].pid}/status").read_text(), "stopped process")
    before = systemd.heard("WATCHDOG=1")
    with pytest.raises(pytest.fail.Exception):
        site.until(lambda: systemd.heard("WATCHDOG=1") > before, "signs of life", 1)
    site.running["pve1"].send_signal(signal.SIGCONT)
    site.until(lambda: systemd.heard("WATCHDOG=1") > before, "signs of life")


async def begin(path: Path, memory: dict[str, str]) -> list[tuple[str, str]]:
    """Put a memory of the agent's own into its spool; return kind and boot of what it holds."""
    spool = await Spool.open(path, ("lab", "pve1"), Limits(1 << 24, 1 << 60), utc, [])
    try:
        await spool.append(Source.AGENT.value, [], None, memory)
        rows = [decode(data) for _, data in await spool.read_after(0, 100, 1 << 20)]
    finally:
        await spool.close()
    return [(one.event.kind, one.boot_id) for one in rows]


def test_another_boot_is_told_once_and_first(site: Site) -> None:
    """Started in another boot than the agent before, it says so before anything else; started again in the same boot, it does not."""
    config = site.place / "pve1.toml"
    config.write_text(config.read_text().replace(f'directory = "{site.place}/pve1.journals"', "enabled = false"))
    (site.place / "pve1").mkdir()
    spool, own = site.place / "pve1/spool.db", {"boot_id": boot_id()}
    said: list[list[tuple[str, str]]] = []
    for memory in ({"boot_id": "0" * 32}, own):
        before = asyncio.run(begin(spool, memory))
        site.start("pve1")
        site.until(lambda: "agent runs" in site.log("pve1")[site.began["pve1"] :], "a running agent")
        site.stop("pve1")
        said.append(asyncio.run(begin(spool, own))[len(before) :])

    assert [[kind for kind, _ in some] for some in said] == [
        ["node.booted", "agent.started", "agent.stopped"],
        ["agent.started", "agent.stopped"],
    ]
    assert {boot for some in said for _, boot in some} == {boot_id()}


def test_a_refused_configuration_keeps_the_old(site: Site) -> None:
    """Reloaded with a file that cannot be used, the agent goes on with the old one, and an event says why."""
    site.start("controller")
    site.start("pve1")
    site.until(lambda: site.connected("pve1"), "a session")
    good = (site.place / "pve1.toml").read_text()
    (site.place / "pve1.toml").write_text(good + "hartbeat = 1\n")
    site.running["pve1"].send_signal(signal.SIGHUP)
    site.until(lambda: len(reloads(site)) == 1, "word of the reload")
    assert reloads(site)[0].result == "refused"
    assert "uplink.hartbeat: no such field" in reloads(site)[0].reason

    (site.place / "pve1.toml").write_text(good.replace('cluster = "lab"', 'cluster = "other"'))
    site.running["pve1"].send_signal(signal.SIGHUP)
    site.until(lambda: len(reloads(site)) == 2, "word of the reload")
    assert (reloads(site)[1].result, reloads(site)[1].reason) == ("applied", "controllers applied; the other changes need a restart")


def test_a_corrected_controller_key_is_taken_up_by_reload(site: Site) -> None:
    """An agent that was given a wrong key of its controller has a session after the key file was corrected and a reload."""
    key = site.place / "controller-key"
    (site.place / "other").mkdir()
    key.write_text(Path(zmq.auth.create_certificates(site.place / "other", "controller")[0]).read_text())
    text = (site.place / "pve1.toml").read_text().replace(f"{site.place}/keys/controller.key", str(key))
    (site.place / "pve1.toml").write_text(text)
    site.start("controller")
    site.until((site.place / "ingest").exists, "a listening controller")
    site.start("pve1")
    site.until(lambda: "public_key_file" in site.log("pve1"), "the complaint")
    key.write_text((site.place / "keys" / "controller.key").read_text())
    site.running["pve1"].send_signal(signal.SIGHUP)
    site.until(lambda: site.connected("pve1"), "a session")
    site.until(lambda: [one.result for one in reloads(site)] == ["applied"], "word of the reload")
