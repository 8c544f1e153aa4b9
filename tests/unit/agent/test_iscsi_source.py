"""Looks at iSCSI: recorded kernels, real sockets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.classify.iscsi_probe import IscsiClassifier
from agent.sources.configured import Configured
from agent.sources.iscsi import Initiator, iscsi_looks, name_of, split_portal
from agent.sources.looking import LookingSource
from agent.sources.tcp import ACCEPTED, BLIND, NO_ROUTE, REFUSED, SILENT, connect_all
from events.base import Source
from tests.vanishing import vanishing

HOSTS = Path(__file__).parents[2] / "samples" / "hosts"
TARGET = "iqn.2005-10.org.freenas.ctl:pve-cluster"
STORAGE = "iscsi: san\n\tportal {portal}\n\ttarget {target}\n\tcontent none\n"


class Listener:
    """A place that accepts connections while it is open."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family)
        self.place = address, int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Callable[..., Listener]]:
    """Return a maker of places that accept connections."""
    held: list[Listener] = []

    def make(address: str = "127.0.0.1", port: int = 0) -> Listener:
        held.append(Listener(address, port))
        return held[-1]

    yield make
    for one in held:
        one.close()


def closed_port() -> int:
    """Return a port of loopback at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def initiator(
    tmp_path: Path, portal: str, *, root: Path | None = None, used: float = 10.0, deadline: float = 0.5, interval: float = 0.0
) -> Initiator:
    """Return an initiator whose storage.cfg names one portal; without a root it has no sessions and no records."""
    pve = tmp_path / "pve"
    pve.mkdir(exist_ok=True)
    (pve / "storage.cfg").write_text(STORAGE.format(portal=portal, target=TARGET))
    empty = tmp_path / "empty"
    empty.mkdir(exist_ok=True)
    return Initiator(Configured(pve, "pve1", every=0.01), root or empty, deadline, interval, used)


def portals(one: Initiator) -> Any:
    """Return the picture of the portals after the sessions were looked at."""
    one.sessions()
    return one.portals().picture


def test_connections_end_as_the_far_end_wants(listener: Callable[..., Listener]) -> None:
    """Open, closed and unreachable ports are told apart, IPv4 and IPv6, all at once."""
    found = connect_all(
        {
            "open": listener().place,
            "open6": listener("::1").place,
            "closed": ("127.0.0.1", closed_port()),
            "nowhere": ("255.255.255.255", 3260),
        },
        5.0,
    )

    assert {name: one.outcome for name, one in found.items() if name != "nowhere"} == {
        "open": ACCEPTED,
        "open6": ACCEPTED,
        "closed": REFUSED,
    }
    assert found["nowhere"].outcome != ACCEPTED
    assert found["open"].rtt is not None


SILENT_PLACE = """
import sys, time
sys.path[:0] = sys.argv[1].split(":")
from agent.sources.tcp import connect_all
began = time.monotonic()
found = connect_all({"silent": ("10.9.9.2", 3260), "none": ("10.8.8.8", 3260)}, 1.0)
print(found["silent"].outcome, found["none"].outcome, time.monotonic() - began < 30)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own takes root")
def test_silence_ends_with_the_deadline(tmp_path: Path) -> None:
    """A place that drops packets is given up after the deadline, and one without a route is told at once."""
    script = (
        "set -e\nip link set lo up\nip link add one type veth peer name far\nip addr add 10.9.9.1/24 dev one\n"
        "ip link set far up\nip link set one up\nip neigh add 10.9.9.2 lladdr 02:00:00:00:00:01 dev one\n"
        f"exec {sys.executable} -c '{SILENT_PLACE}' {':'.join(path for path in sys.path if path) + ':' + str(Path.cwd())}"
    )
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.split() == [SILENT, NO_ROUTE, "True"], done.stderr


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.1", ("10.0.0.1", 3260)),
        ("10.0.0.1:860", ("10.0.0.1", 860)),
        ("[fd00::1]:3261", ("fd00::1", 3261)),
        ("[fd00::1]", ("fd00::1", 3260)),
        ("fd00::1", ("fd00::1", 3260)),
        ("san.example:99999999999", ("san.example", 3260)),
    ],
)
def test_portals_are_read_as_proxmox_writes_them(text: str, place: tuple[str, int]) -> None:
    """Host, host with port, and IPv6 in brackets; without a port it is iSCSI's own."""
    assert split_portal(text) == place


def test_recorded_sessions_are_seen(tmp_path: Path) -> None:
    """A real kernel's two sessions are read with state and portal, and their portals are among those that are asked."""
    one = initiator(tmp_path, "127.0.0.9", root=HOSTS / "good", deadline=0.1)
    picture = one.sessions().picture

    assert sorted((row["address"], row["state"]) for row in picture["sessions"]) == [("10.1.1.1", "LOGGED_IN"), ("10.1.2.1", "LOGGED_IN")]
    assert picture["wanted"] == [TARGET]
    assert set(portals(one)) == {"10.1.1.1:3260", "10.1.2.1:3260", "127.0.0.9:3260"}


def test_a_storage_of_qemus_own_initiator_needs_no_session(tmp_path: Path) -> None:
    """`iscsidirect` has its session within QEMU: no session of the kernel is wanted, nothing is bad, and its portal is asked."""
    one = initiator(tmp_path, "127.0.0.9", deadline=0.1)
    (tmp_path / "pve/storage.cfg").write_text(STORAGE.format(portal="127.0.0.9", target=TARGET).replace("iscsi:", "iscsidirect:"))
    found = one.sessions()

    assert (found.picture, found.bad) == ({"sessions": [], "wanted": []}, False)
    assert set(portals(one)) == {"127.0.0.9:3260"}


def test_a_session_that_takes_the_number_of_another_is_itself(tmp_path: Path) -> None:
    """The kernel gives a session the number of one that ended: the next look tells the new one's target. A change of state is told."""
    shutil.copytree(HOSTS / "good" / "sys", tmp_path / "sys", symlinks=True)
    one = initiator(tmp_path, "127.0.0.9", root=tmp_path)
    before = one.sessions().picture["sessions"][0]
    place = tmp_path / "sys" / "class" / "iscsi_session" / f"session{before['session']}"
    (place / "state").write_text("FAILED\n")
    failed = one.sessions().picture["sessions"][0]
    for name, text in (("targetname", "iqn.2026-11.example:other"), ("state", "LOGGED_IN")):
        (place / "new").write_text(f"{text}\n")
        (place / "new").rename(place / name)
    after = one.sessions().picture["sessions"][0]

    assert failed == {**before, "state": "FAILED"}
    assert after == {**before, "target": "iqn.2026-11.example:other"}


def test_sessions_that_come_and_go_while_they_are_read_are_whole_or_left_out(tmp_path: Path) -> None:
    """The kernel may take a session away between two attributes of it: no error, and no row that lacks target or portal."""
    root = tmp_path / "root"
    shutil.copytree(HOSTS / "good" / "sys", root / "sys", symlinks=True)
    one = initiator(tmp_path, "127.0.0.9", root=root, deadline=0.1)
    places = [*(root / "sys/class/iscsi_session").iterdir(), *(root / "sys/class/iscsi_connection").iterdir()]
    with vanishing(places, tmp_path / "away"):
        seen = [row for _ in range(300) for row in one.sessions().picture["sessions"]]

    assert {(row["target"], row["address"], row["port"]) for row in seen} <= {
        (TARGET, "10.1.1.1", "3260"),
        (TARGET, "10.1.2.1", "3260"),
    }


def test_what_is_no_place_is_not_asked() -> None:
    """A port that TCP does not have and an address that libc cannot write down: nobody is asked, least of all somebody else."""
    assert connect_all({"x": ("fe80::1%" + "a" * 100, 3260)}, 5)["x"].outcome == BLIND
    assert [name_of("10.0.0.1", port) for port in (0, 65535, 65536, "99999")] == ["", "10.0.0.1:65535", "", ""]


def test_a_portal_with_a_living_session_is_left_alone(tmp_path: Path, listener: Callable[..., Listener]) -> None:
    """A portal in use is asked rarely: a connection without a login is an error to its target. One that lost it is asked once, at once."""
    address, port = listener().place
    root = tmp_path / "root"
    shutil.copytree(HOSTS / "good" / "sys", root / "sys", symlinks=True)
    connection = next((root / "sys" / "class" / "iscsi_connection").glob("connection*:0"))
    (connection / "persistent_address").write_text(f"{address}\n")
    (connection / "persistent_port").write_text(f"{port}\n")
    state = root / "sys" / "class" / "iscsi_session" / f"session{connection.name.removeprefix('connection').partition(':')[0]}" / "state"
    one = initiator(tmp_path, f"{address}:{port}", root=root, deadline=0.1, interval=30.0)
    name = f"{address}:{port}"

    assert [portals(one)[name]["number"] for _ in range(3)] == [1, 1, 1]
    state.write_text("FAILED\n")
    assert [portals(one)[name]["number"] for _ in range(3)] == [2, 2, 2]


def test_a_name_that_does_not_resolve_is_told_apart(tmp_path: Path) -> None:
    """A portal whose name does not resolve has a trouble of its own and no outcome."""
    one = initiator(tmp_path, "nowhere.invalid")
    end = time.monotonic() + 60
    while not (picture := portals(one)) and time.monotonic() < end:
        time.sleep(0.05)

    row = picture["nowhere.invalid:3260"]
    assert row["trouble"]
    assert "outcome" not in row


def test_a_refusing_portal_becomes_an_event(tmp_path: Path, listener: Callable[..., Listener]) -> None:
    """From a real port that closes to the event, and back when it listens again."""
    open_ = listener()
    address, port = open_.place
    configured = Configured(tmp_path, "pve1", every=0.01)
    (tmp_path / "storage.cfg").write_text(STORAGE.format(portal=f"{address}:{port}", target=TARGET))
    looks = iscsi_looks(configured, root=tmp_path / "none", interval=0.05, sessions_interval=0.05, deadline=0.5)
    source = LookingSource(Source.ISCSI, looks)
    classifier = IscsiClassifier("pve1")

    def until(kind: str) -> str:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            batch = source.read_batch(timeout=1.0)
            for one in batch.records if batch else ():
                for event in classifier.classify(one):
                    if event.kind == kind:
                        return str(event.subject)
        return "nothing"

    place = f"iscsi-portal/{address}:{port}"
    assert until("iscsi.portal.reachable") == place
    open_.close()
    assert until("iscsi.portal.unreachable") == place
    listener(address, port)
    assert until("iscsi.portal.reachable") == place
    source.close()
