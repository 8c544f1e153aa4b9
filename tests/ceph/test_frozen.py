"""Monitors that are frozen: they hold every connection and answer nothing, which is what blocks a client that has no deadline."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.ceph.agents import Watched

pytestmark = [pytest.mark.ceph, pytest.mark.timeout(300)]

_FIRST, _SECOND = "pve1", "pve2"
_WATCHDOG = 6.0
"""Seconds without a sign of life after which systemd would end the agent: its unit allows more."""
_STOPS_WITHIN = 5.0
"""Seconds from SIGTERM to the agent's end that are promised."""


@pytest.fixture
def watchdog() -> Iterator[socket.socket]:
    """Yield what systemd listens on for a service's signs of life."""
    with TemporaryDirectory(prefix="fln") as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(Path(place) / "notify"))
        listening.settimeout(_WATCHDOG)
        yield listening


def _beat(watchdog: socket.socket) -> None:
    """Wait for the next sign of life, as long as systemd would."""
    while b"WATCHDOG=1" not in watchdog.recv(4096):
        pass


def test_frozen_monitors_block_no_agent(watched: Watched, watchdog: socket.socket) -> None:
    """While all monitors are frozen, agents live, tell it, end when asked and start; when they thaw, all is told to be well."""
    site, cluster = watched.site, watched.cluster
    frozen = [name for name in cluster.daemons if name.startswith("mon.")]
    cursor = watched.stored.cursor()
    site.stop(_FIRST)
    site.start(_FIRST, NOTIFY_SOCKET=watchdog.getsockname(), WATCHDOG_USEC=str(int(_WATCHDOG * 1_000_000)))
    watched.until_watching(_FIRST, cursor)
    _beat(watchdog)

    cursor = watched.stored.cursor()
    cluster.freeze(*frozen)
    try:
        watched.until_told("ceph.quorum.lost", cursor, (_FIRST, _SECOND))
        watched.until_incident("ceph-mon-quorum", "opened", cursor)
        for _ in range(10):
            _beat(watchdog)
        assert site.connected(_FIRST)
        stopping = site.running.pop(_SECOND)
        stopping.terminate()
        try:
            assert stopping.wait(_STOPS_WITHIN) == 0, site.log(_SECOND)
        except subprocess.TimeoutExpired:
            stopping.kill()
            pytest.fail(f"SIGTERM did not end the agent within {_STOPS_WITHIN} s:\n{site.log(_SECOND)[-3000:]}")
        again = watched.stored.cursor()
        site.start(_SECOND)
        site.until(lambda: site.connected(_SECOND), "a session of an agent that starts while monitors are frozen")
        watched.until_told("ceph.mon.unreachable", again, (_SECOND,))
    finally:
        cluster.thaw(*frozen)
    cursor = watched.stored.cursor()
    cluster.wait_calm()
    watched.until_told("ceph.quorum.formed", cursor, (_SECOND,))
    watched.until_incident("ceph-mon-quorum", "resolved", cursor)
