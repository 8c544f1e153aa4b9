"""Calls to NFS servers: a real one, hostile ones, none at all; and what is said of them."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agent.classify.nfs_servers import NfsServers
from agent.record import RawRecord
from agent.sources.configured import Configured
from agent.sources.nfs_places import NfsMount, Place, nfs_mounts, places, server_of
from agent.sources.nfs_rpc import LONGEST, Conversation, Outcome, judge, null_call, record
from agent.sources.nfs_servers import Servers, server_looks
from events.base import Event, Source
from events.nfs import NfsNameResolved, NfsNameUnresolved, NfsServerReachable, NfsServerUnreachable

MOUNTINFO = (
    "601 28 0:52 / /mnt/pve/nas rw,relatime shared:300 - nfs4 10.0.3.1:/srv/nfs "
    "rw,vers=4.2,hard,proto=tcp,timeo=600,retrans=2,addr=10.0.3.1\n"
    "602 28 0:53 / /mnt/pve/six rw,relatime - nfs [fd00::1]:/six rw,vers=3,hard,proto=tcp6,port=2050,mountaddr=fd00::1,addr=fd00::1\n"
    "603 28 0:54 / /mnt/fast rw - nfs4 10.0.3.9:/fast rw,vers=4.1,proto=rdma,port=20049,addr=10.0.3.9\n"
    "604 28 0:55 / /proc rw - proc proc rw\n"
    "605 28 0:56 / /mnt/with\\040blank rw - nfs4 nas.lan:/b rw,vers=4.2,port=0,proto=tcp,addr=10.0.3.2\n"
)


def answer_to(call: bytes, status: int = 0, *tail: int) -> bytes:
    """Return an accepted reply to a call (RFC 5531 §9)."""
    body = call[4:8] + struct.pack(f"!5I{len(tail)}I", 1, 0, 0, 0, status, *tail)
    return struct.pack("!I", 0x80000000 | len(body)) + body


Behaviour = Callable[[socket.socket], None]


def reads(one: socket.socket) -> bytes:
    """Return the next call."""
    return one.recv(4096)


class Server:
    """A server on loopback that treats each connection as ``behaviour`` says."""

    def __init__(self, behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.behaviour = behaviour
        self._socket = socket.create_server((address, port), family=family)
        self.port = int(self._socket.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._socket.accept()
                self._open.append(one)
                threading.Thread(target=self._treat, args=(one,), daemon=True).start()

    def _treat(self, one: socket.socket) -> None:
        with suppress(OSError):
            self.behaviour(one)

    def close(self) -> None:
        """Listen no more and hang up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def answers(one: socket.socket) -> None:
    """Answer every call."""
    while call := reads(one):
        one.sendall(answer_to(call))


def never(one: socket.socket) -> None:
    """Read and say nothing."""
    while reads(one):
        pass


def hangs_up(one: socket.socket) -> None:
    """Take the call and close."""
    reads(one)
    one.close()


def resets(one: socket.socket) -> None:
    """Take the call and reset the connection."""
    reads(one)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    one.close()


def speaks_http(one: socket.socket) -> None:
    """Answer as something else altogether."""
    reads(one)
    one.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")


def sends_half(one: socket.socket) -> None:
    """Send half an answer and wait."""
    one.sendall(answer_to(reads(one))[:9])
    reads(one)


def floods(one: socket.socket) -> None:
    """Announce a record of two gigabytes and send without end."""
    reads(one)
    while True:
        one.sendall(b"\xff" * 65536)


def answers_another(one: socket.socket) -> None:
    """Answer a call that nobody made."""
    while call := reads(one):
        one.sendall(answer_to(b"\0\0\0\0\0\0\0\x07" + call[8:]))


def answers_nothing(one: socket.socket) -> None:
    """Answer with a whole record of no bytes."""
    while reads(one):
        one.sendall(struct.pack("!I", 0x80000000))


def answers_in_no_pieces(one: socket.socket) -> None:
    """Send pieces of no bytes, and never the last one."""
    reads(one)
    while True:
        one.sendall(bytes(4096))


def answers_megabytes(one: socket.socket) -> None:
    """Answer in proper form, with eight megabytes behind it."""
    while call := reads(one):
        body = answer_to(call)[4:] + bytes(8 << 20)
        one.sendall(struct.pack("!I", 0x80000000 | len(body)) + body)


def neither_accepts_nor_denies(one: socket.socket) -> None:
    """Answer the call with a status that RPC does not know."""
    while call := reads(one):
        one.sendall(struct.pack("!I4s2I", 0x8000000C, call[4:8], 1, 7))


def denies(one: socket.socket) -> None:
    """Answer that the caller is not who it should be (RFC 5531 §9, MSG_DENIED)."""
    while call := reads(one):
        one.sendall(struct.pack("!I4s4I", 0x80000014, call[4:8], 1, 1, 1, 5))


def serves_three(one: socket.socket) -> None:
    """Serve version 3 only."""
    while call := reads(one):
        version = struct.unpack("!I", call[20:24])[0]
        one.sendall(answer_to(call) if version == 3 else answer_to(call, 2, 3, 3))


def serves_none(one: socket.socket) -> None:
    """Be an RPC server without the NFS program."""
    while call := reads(one):
        one.sendall(answer_to(call, 1))


@pytest.fixture
def server() -> Iterator[Callable[..., Server]]:
    """Return a maker of servers."""
    held: list[Server] = []

    def make(behaviour: Behaviour, address: str = "127.0.0.1", port: int = 0) -> Server:
        held.append(Server(behaviour, address, port))
        return held[-1]

    yield make
    for one in held:
        one.close()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Servers]]:
    """Return a maker of looks, as :func:`servers` makes them."""
    held: list[Servers] = []

    def make(*ways: tuple[str, int, str], deadline: float = 0.4) -> Servers:
        held.append(servers(tmp_path, *ways, deadline=deadline))
        return held[-1]

    yield make
    for one in held:
        one.close()


def servers(tmp_path: Path, *ways: tuple[str, int, str], deadline: float = 0.4) -> Servers:
    """Return a look at the servers of a storage.cfg: host, port, further options."""
    pve = tmp_path / "pve"
    pve.mkdir(exist_ok=True)
    storages = (
        f"nfs: s{number}\n\tserver {host}\n\texport /e\n\tpath /mnt/pve/s{number}\n\toptions port={port}{more}\n\tcontent images\n\n"
        for number, (host, port, more) in enumerate(ways)
    )
    (pve / "storage.cfg").write_text("".join(storages))
    (tmp_path / "proc" / "self").mkdir(parents=True, exist_ok=True)
    return Servers(Configured(pve, "pve1", every=0.01), tmp_path, deadline)


def outcome(one: Servers) -> str:
    """Return how the only server's call ended."""
    (row,) = one.look().picture
    return str(row["outcome"])


def seen(at: float) -> RawRecord:
    """Return a record of a picture at so many seconds."""
    return RawRecord(Source.NFS, int(at * 1e6), 0, "b", {"look": "servers"})


def said(classifier: NfsServers, rows: list[dict[str, Any]], at: float) -> list[Event]:
    """Return what a picture says."""
    return classifier.classify([*rows], seen(at))


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (answers, Outcome.ANSWERED),
        (never, Outcome.NO_REPLY),
        (hangs_up, Outcome.CLOSED),
        (resets, Outcome.CLOSED),
        (speaks_http, Outcome.GARBLED),
        (sends_half, Outcome.NO_REPLY),
        (floods, Outcome.GARBLED),
        (answers_another, Outcome.GARBLED),
        (answers_nothing, Outcome.GARBLED),
        (answers_in_no_pieces, Outcome.GARBLED),
        (answers_megabytes, Outcome.GARBLED),
        (neither_accepts_nor_denies, Outcome.GARBLED),
        (denies, Outcome.ANSWERED),
        (serves_three, Outcome.ANSWERED),
        (serves_none, Outcome.NOT_SERVED),
    ],
)
def test_what_a_server_does_is_told(
    server: Callable[..., Server], behaviour: Behaviour, expected: Outcome, watch: Callable[..., Servers]
) -> None:
    """Each way to answer or not has its name, also at the second call over whatever is left of the first."""
    # Only who waits in vain waits for the whole deadline: all others get the time that a busy machine takes.
    deadline = 0.4 if expected is Outcome.NO_REPLY else 2.0 if behaviour is answers_another else 20.0
    one = watch(("127.0.0.1", server(behaviour).port, ""), deadline=deadline)

    assert [outcome(one), outcome(one)] == [expected, expected]


def test_version_that_is_configured_must_be_served(server: Callable[..., Server], watch: Callable[..., Servers]) -> None:
    """A server of version 3 only does not serve a storage with vers=4.2."""
    one = watch(("127.0.0.1", server(serves_three).port, ",vers=4.2"))

    (row,) = one.look().picture
    assert row["outcome"] == Outcome.NOT_SERVED
    assert row["detail"] == "it serves NFS versions 3 to 3"


@pytest.mark.parametrize(("options", "version"), [(",vers=3", 3), (",nfsvers=4.1", 4), (",v3", 3), ("", 4)])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_configured_version_is_asked_for(
    server: Callable[..., Server], watch: Callable[..., Servers], address: str, options: str, version: int
) -> None:
    """A storage of NFS 3 is asked by a call of version 3, of NFS 4 by one of version 4, at its own port, over IPv4 and IPv6."""
    asked: list[int] = []

    def listens(one: socket.socket) -> None:
        while call := reads(one):
            asked.append(struct.unpack("!I", call[20:24])[0])
            one.sendall(answer_to(call))

    assert outcome(watch((address, server(listens, address).port, options), deadline=20)) == Outcome.ANSWERED
    assert asked == [version]


def test_a_server_that_takes_nobody_in_is_silent(watch: Callable[..., Servers]) -> None:
    """A process that is stopped still has a kernel that accepts: a connection alone is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        look = watch(("127.0.0.1", one.getsockname()[1], ""))

        assert [outcome(look), outcome(look)] == [Outcome.NO_REPLY, Outcome.NO_REPLY]


def test_what_is_no_address_is_not_asked() -> None:
    """An address that libc cannot even write down says nothing of a server, and ends no look."""
    for address in ("addr", "fe80::1%" + "a" * 100, "\u00e9" * 80):
        answer = Conversation(address, 2049, 4, patience=1, first_patience=1).call(0.0)
        assert answer is not None
        assert answer.outcome == Outcome.BLIND


def test_ipv6_and_refusal(server: Callable[..., Server], watch: Callable[..., Servers]) -> None:
    """IPv6 servers are asked; a closed port refuses at once, and the server's return is seen at the next look."""
    place = server(answers, "::1")
    one = watch(("::1", place.port, ""))
    before = outcome(one)
    place.close()
    during = outcome(one)
    server(answers, "::1", place.port)

    assert [before, during, outcome(one)] == [Outcome.ANSWERED, Outcome.REFUSED, Outcome.ANSWERED]


def test_a_silent_server_delays_no_other(server: Callable[..., Server], watch: Callable[..., Servers]) -> None:
    """Forty servers, half of them silent, take one deadline together."""
    ways = [("127.0.0.1", server(never if number % 2 else answers).port, "") for number in range(40)]
    one = watch(*ways, deadline=1.0)
    one.look()
    began = time.monotonic()
    rows = one.look().picture

    assert time.monotonic() - began < 10  # one after the other they take 20
    assert sorted({(row["port"] in {way[1] for way in ways[1::2]}, str(row["outcome"])) for row in rows}) == [
        (False, "answered"),
        (True, "no-reply"),
    ]


def test_places_come_from_mounts_and_storages(tmp_path: Path) -> None:
    """Mounts say address, port and version; RDMA is left alone; a mounted server is not asked a second time for its storage."""
    (tmp_path / "storage.cfg").write_text(
        "nfs: nas\n\tserver 10.0.3.1\n\texport /srv/nfs\n\tpath /mnt/pve/nas\n\nnfs: other\n\tserver nas2.lan\n\texport /x\n\tpath /m\n"
        "\toptions vers=3,soft\n\nnfs: off\n\tserver 10.0.3.77\n\texport /x\n\tpath /o\n\tdisable\n"
    )
    configured = Configured(tmp_path, "pve1")
    configured.wait(5)

    assert places(configured.storages("nfs"), nfs_mounts(MOUNTINFO)) == (
        Place("10.0.3.1", "10.0.3.1", 2049, 4),
        Place("fd00::1", "fd00::1", 2050, 3),
        Place("nas.lan", "10.0.3.2", 2049, 4),
        Place("nas2.lan", "", 2049, 3),
    )
    assert [mount.target for mount in nfs_mounts(MOUNTINFO)][-1] == "/mnt/with blank"
    assert server_of("no export") == ""
    assert NfsMount("h:/e", "/t", "0:1", {}).server == "h"


def test_silence_after_an_answer_is_believed_at_once() -> None:
    """Silence counts at once after an answer; refusal at its second sight; one answer is enough to be well again."""
    row = {"server": "10.0.3.1", "port": 2049, "version": 4, "trouble": "", "asked": True, "addresses": ["10.0.3.1"]}
    row |= {"address": "10.0.3.1", "detail": "", "rtt": 0.001}
    classifier = NfsServers()

    def step(outcome: str, number: int, at: float) -> list[type[Event]]:
        return [type(event) for event in said(classifier, [row | {"outcome": outcome, "number": number}], at)]

    assert step("answered", 1, 0) == [NfsServerReachable]
    assert step("answered", 2, 2) == []
    assert step("no-reply", 3, 4) == [NfsServerUnreachable]
    assert step("no-reply", 4, 6) == []
    assert step("answered", 5, 8) == [NfsServerReachable]
    assert step("refused", 6, 10) == []
    assert step("refused", 6, 10.2) == []  # the same call, seen again
    assert step("refused", 7, 10.5) == [NfsServerUnreachable]
    assert step("answered", 8, 12) == [NfsServerReachable]
    assert step("blind", 9, 14) == []


def test_one_bad_way_makes_a_server_bad() -> None:
    """A server whose version 3 is gone is not well because version 4 answers, and says which way is broken."""
    row = {"server": "nas", "port": 2049, "trouble": "", "asked": True, "addresses": ["10.0.3.1"], "address": "10.0.3.1", "rtt": None}
    good, bad = row | {"version": 4, "outcome": "answered", "detail": ""}, row | {"version": 3, "outcome": "not-served", "detail": "no 3"}
    classifier = NfsServers()
    found = [
        event
        for number in (1, 2, 3)
        for event in said(classifier, [good | {"number": number}, bad | {"number": number}], number)
        if isinstance(event, NfsServerReachable | NfsServerUnreachable)
    ]

    (event,) = found
    assert isinstance(event, NfsServerUnreachable)
    assert event.seen.excerpt == "NFS at 10.0.3.1 port 2049: no 3"


def test_names_are_told_apart_from_servers(server: Callable[..., Server], watch: Callable[..., Servers]) -> None:
    """A name that resolves is said with its addresses, one that does not with the reason; the server's word is another one."""
    one = watch(("localhost", server(answers).port, ""), ("no-such-host.invalid", 2049, ""))
    classifier, end = NfsServers(), time.monotonic() + 60
    found: list[Event] = []
    while len({type(event) for event in found}) < 3 and time.monotonic() < end:
        found += said(classifier, one.look().picture, time.monotonic())
        time.sleep(0.02)
    by_kind = {type(event): event for event in found}

    resolved, unresolved = by_kind[NfsNameResolved], by_kind[NfsNameUnresolved]
    assert isinstance(resolved, NfsNameResolved)
    assert isinstance(unresolved, NfsNameUnresolved)
    assert "127.0.0.1" in resolved.addresses or "::1" in resolved.addresses
    assert (unresolved.subject.key, bool(unresolved.reason)) == ("no-such-host.invalid", True)


@pytest.mark.parametrize("size", [0, 3, 8, 20, 24, 500])
def test_no_bytes_break_the_reader(size: int) -> None:
    """Any bytes are an answer, no answer, or too many; never an exception of another kind."""
    for seed in range(64):
        data = bytes((seed * 7 + index * 31) % 256 for index in range(size))
        judge(data, 0)
        with suppress(ValueError):
            record(data)
    with pytest.raises(ValueError, match="a record of"):
        record(struct.pack("!I", 0x80000000 | (LONGEST + 1)))


def test_the_call_is_that_of_the_rfc() -> None:
    """A NULL call is forty bytes: xid, call, RPC 2, NFS, version, procedure 0, no credentials, no verifier."""
    assert null_call(7, 4).hex() == (
        "80000028" "00000007" "00000000" "00000002" "000186a3" "00000004" "00000000" "0000000000000000" "0000000000000000"
    )  # fmt: skip


GANESHA = (
    "NFS_Core_Param {{ Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false;"
    " Enable_UDP = false; }}\nNFSv4 {{ Graceless = true; RecoveryBackend = fs; RecoveryRoot = {root}; }}\n"
)


@pytest.mark.skipif(shutil.which("ganesha.nfsd") is None, reason="nfs-ganesha is not installed; the lab asks the kernel's server")
def test_a_real_server_answers(tmp_path: Path, watch: Callable[..., Servers]) -> None:
    """NFS-Ganesha answers version 4, and says that it does not serve version 3."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    (tmp_path / "rec").mkdir()
    (tmp_path / "g.conf").write_text(GANESHA.format(port=port, root=tmp_path / "rec"))
    command: list[str | Path] = ["ganesha.nfsd", "-F", "-f", tmp_path / "g.conf", "-L", tmp_path / "g.log", "-p", tmp_path / "g.pid"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            four = watch(("127.0.0.1", port, ",vers=4.2"), ("127.0.0.1", port, ",vers=3"), deadline=5.0)
            end = time.monotonic() + 60
            while (rows := four.look().picture)[0]["outcome"] != Outcome.ANSWERED and time.monotonic() < end:
                time.sleep(0.2)
        finally:
            process.kill()

    assert [str(row["outcome"]) for row in rows] == ["answered", "not-served"]


DROPPED = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from tests.unit.agent.test_nfs_servers import servers
one = servers(Path(sys.argv[2]), ("10.9.9.2", 2049, ""), ("10.8.8.8", 2049, ""), deadline=0.5)
print(*sorted(str(row["outcome"]) for row in one.look().picture))
"""


def test_what_has_been_well_for_some_looks_is_not_told_in_each(server: Callable[..., Server], watch: Callable[..., Servers]) -> None:
    """While every server answers as before a look says that nothing changed, and asks all the same; each failed call is a picture."""
    calls, broken = list[bytes](), threading.Event()

    def counts(one: socket.socket) -> None:
        while (call := reads(one)) and not broken.is_set():
            calls.append(call)
            one.sendall(answer_to(call))

    at = server(counts)
    one = watch(("127.0.0.1", at.port, ""))
    looks = [one.look() for _ in range(12)]
    broken.set()
    failed = [one.look() for _ in range(3)]

    assert len(calls) == 12
    assert all(look is looks[6] for look in looks[6:])
    assert looks[6].picture[0]["outcome"] == "answered"
    assert all(look.bad for look in failed)
    assert len({id(look) for look in failed}) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own takes root")
def test_dropped_packets_are_silence(tmp_path: Path) -> None:
    """A server whose packets are dropped is silent, one without a route is told as such."""
    script = (
        "set -e\nip link set lo up\nip link add one type veth peer name far\nip addr add 10.9.9.1/24 dev one\n"
        "ip link set far up\nip link set one up\nip neigh add 10.9.9.2 lladdr 02:00:00:00:00:01 dev one\n"
        f"exec {sys.executable} -c '{DROPPED}' {':'.join(path for path in sys.path if path) + ':' + str(Path.cwd())} {tmp_path}"
    )
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.split() == ["no-reply", "no-route"], done.stderr


def test_the_look_asks_at_its_own_pace(tmp_path: Path) -> None:
    """A look each two seconds, more while something is bad; it may take both deadlines before it counts as hung."""
    (look,) = server_looks(Configured(tmp_path, "pve1"), root=tmp_path, interval=2.0, deadline=1.5)

    assert (look.name, look.interval, look.fast, look.again) == ("servers", 2.0, 0.5, 60.0)
    assert look.deadline > 1.5 * 1.5
