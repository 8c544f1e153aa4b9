"""The Ceph source between its files, its connection and the monitors' ports: what hangs, what is refused, what goes deaf.

Files that hang are pipes without a writer, monitors are sockets that greet; in librados' place stands what plays its part.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.sources import ceph_access, librados
from agent.sources.background import Background
from agent.sources.ceph import OWN, CephSource, Cluster, external, own_place
from agent.sources.ceph_access import Access
from agent.sources.configured import Configured
from agent.sources.librados import (
    CephClosedError,
    CephError,
    CephKeyMissingError,
    CephSilentError,
    Connection,
    Key,
    Place,
)
from pve import ceph_conf, storage_cfg

FSID = "2a882841-48a3-11f1-838c-d00d99b60350"
REFUSED = "connecting: the monitors refuse client.faultline"
SILENT = "health: no monitor answered within the deadline"


class Link:
    """What stands in the place of a connection: it answers, or raises, and is closed, or hangs in that."""

    def __init__(self, *, trouble: CephError | None = None, closes: bool = True, fsid: str = FSID) -> None:
        self.fsid, self.trouble = fsid, trouble
        self.closed, self._closes = threading.Event(), threading.Event()
        if closes:
            self._closes.set()

    def ask(self, prefix: str, **_: object) -> Any:
        """Answer that all is well."""
        if self.trouble is not None:
            raise self.trouble
        return {"status": "HEALTH_OK", "checks": {}} if prefix == "health" else {}

    def watch(self, pushed: Callable[[Mapping[str, Any]], None]) -> None:
        """Push nothing."""

    def close(self) -> None:
        """End, at last."""
        self.closed.set()
        self._closes.wait(20)

    def let_go(self) -> None:
        """Let what hangs in closing go on."""
        self._closes.set()


class Cephs:
    """Makes connections: each the next of these, or what it raises; the last one again and again."""

    def __init__(self, *made: Link | CephError) -> None:
        self._made = list(made)
        self.times = 0

    def __call__(self, _place: Place, _seconds: int) -> Connection:
        """Connect."""
        self.times += 1
        one = self._made.pop(0) if len(self._made) > 1 else self._made[0]
        if isinstance(one, CephError):
            raise one
        return cast("Connection", one)


@pytest.fixture
def greeting() -> Iterator[str]:
    """Yield a ``mon_host`` of three monitors that greet whoever connects."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    stop = threading.Event()

    def serve(one: socket.socket) -> None:
        one.settimeout(0.05)
        while not stop.is_set():
            try:
                with one.accept()[0] as taken:
                    taken.sendall(b"ceph v2\n")
            except TimeoutError:
                continue

    threads = [threading.Thread(target=serve, args=(one,)) for one in listening]
    for thread in threads:
        thread.start()
    yield " ".join(f"[v2:127.0.0.1:{one.getsockname()[1]}/0]" for one in listening)
    stop.set()
    for thread, one in zip(threads, listening, strict=True):
        thread.join()
        one.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have deafness noticed at once, and tried out again as soon."""
    monkeypatch.setattr(ceph_access, "_DEAF", 0.0)
    monkeypatch.setattr(ceph_access, "_ANEW", 0.0)


def write_conf(place: Path, mon_host: str = "127.0.0.1", fsid: str = FSID) -> Path:
    """Write a ceph.conf."""
    conf = place / "ceph.conf"
    conf.write_text(f"[global]\n\tfsid = {fsid}\n\tmon_host = {mon_host}\n")
    return conf


def watching(conf: Path, connect: Callable[[Place, int], Connection] = Connection, keyring: Path | None = None) -> Cluster:
    """Return the cluster of a ceph.conf, with a deadline of a second."""
    return Cluster(Place(OWN, conf, (Key("client.faultline", keyring or conf.with_name("keyring")),)), 1, lambda *_: None, connect)


def health(cluster: Cluster) -> dict[str, Any]:
    """Return what the look ``health`` finds."""
    return dict(cluster.health().picture)


def until(found: Callable[[], bool], seconds: float = 10) -> bool:
    """Wait, bounded, until something is so."""
    end = time.monotonic() + seconds
    while not (done := found()) and time.monotonic() < end:
        time.sleep(0.01)
    return done


def close_threads() -> int:
    """Return how many threads are closing a connection."""
    return sum(one.name == "ceph-close" for one in threading.enumerate())


# Files that hang


def test_a_configuration_that_hangs_is_trouble_and_no_silence(tmp_path: Path) -> None:
    """While ceph.conf gives no answer the look comes back in time and says so, never that monitors are silent; then it works."""
    conf = tmp_path / "ceph.conf"
    os.mkfifo(conf)
    cluster = watching(conf, Cephs(Link()))
    began = time.monotonic()
    found = [health(cluster) for _ in range(2)]

    assert time.monotonic() - began < 5
    assert all(str(conf) in one["trouble"] and "silent" not in one for one in found)
    assert sum(one.name == f"ceph-conf-{OWN}" for one in threading.enumerate()) == 1
    conf.rename(tmp_path / "hung")
    write_conf(tmp_path)
    with (tmp_path / "hung").open("w") as pipe:
        pipe.write(f"[global]\nfsid = {FSID}\n")
    assert until(lambda: "health" in health(cluster))
    cluster.close()


def test_a_configuration_that_hangs_delays_nobody_who_is_connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that works goes on being asked, without a wait, while /etc/pve hangs."""
    monkeypatch.setattr(ceph_access, "_CONF", 0.0)
    conf = write_conf(tmp_path)
    cluster = watching(conf, Cephs(Link()))
    assert "health" in health(cluster)
    conf.unlink()
    os.mkfifo(conf)
    began = time.monotonic()

    assert all("health" in health(cluster) for _ in range(3))
    assert time.monotonic() - began < 0.9
    with conf.open("w"):
        cluster.close()


def test_a_keyring_that_hangs_is_trouble_and_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the keyring gives no answer connecting is given up in time and said to be stuck, with the file's name."""
    monkeypatch.setattr(ceph_access, "_SLACK", 0.1)
    keyring = tmp_path / "keyring"
    os.mkfifo(keyring)
    cluster = watching(write_conf(tmp_path), keyring=keyring)
    found = health(cluster)

    assert str(keyring) in found["trouble"]
    assert "silent" not in found
    cluster.close()
    with keyring.open("w"):
        pass


def test_a_connection_that_comes_late_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What connecting came to after nobody waited for it any more is not lost: it is taken at the next look, and no second one is made."""
    monkeypatch.setattr(ceph_access, "_SLACK", -0.9)
    gate, link = threading.Event(), Link()
    times = []

    def connect(_: Place, __: int) -> Connection:
        times.append(1)
        gate.wait(10)
        return cast("Connection", link)

    cluster = watching(write_conf(tmp_path), connect)
    assert "trouble" in health(cluster)
    gate.set()

    assert until(lambda: "health" in health(cluster))
    assert len(times) == 1
    cluster.close()
    assert link.closed.wait(10)


def test_a_connection_that_is_made_after_all_ended_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is connected when nobody wants it any more is let go again."""
    monkeypatch.setattr(ceph_access, "_SLACK", -0.9)
    gate, link = threading.Event(), Link()

    def connect(_: Place, __: int) -> Connection:
        gate.wait(10)
        return cast("Connection", link)

    cluster = watching(write_conf(tmp_path), connect)
    assert "trouble" in health(cluster)
    cluster.close()
    gate.set()

    assert link.closed.wait(10)


# Connections that went deaf


@pytest.mark.usefixtures("quick")
def test_a_refused_key_is_told_where_the_monitors_are_heard(tmp_path: Path, greeting: str) -> None:
    """A connection that nobody answers is tried out by another one: that is refused, which is told, and the deaf one is closed."""
    deaf, mended = Link(), Link()
    connect = Cephs(deaf, CephError(REFUSED), mended)
    cluster = watching(write_conf(tmp_path, greeting), connect)
    assert "health" in health(cluster)
    deaf.trouble = CephSilentError(SILENT)
    assert "silent" in health(cluster)
    assert connect.times == 1
    assert [row["outcome"] for row in cluster.monitors().picture["monitors"]] == ["accepted"] * 3

    assert until(lambda: health(cluster).get("trouble") == REFUSED)
    assert deaf.closed.wait(10)
    assert until(lambda: "health" in health(cluster))
    assert connect.times == 3
    cluster.close()


@pytest.mark.usefixtures("quick")
def test_a_new_key_is_read_where_the_old_one_is_refused(tmp_path: Path, greeting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the second connection is answered it takes the place of the deaf one, without a word of trouble; also to a cluster made anew."""
    monkeypatch.setattr(ceph_access, "_CONF", 0.0)
    deaf, fresh = Link(), Link(fsid="00000000-1111-4222-8333-444444444444")
    conf = write_conf(tmp_path, greeting)
    cluster = watching(conf, Cephs(deaf, fresh))
    assert health(cluster)["fsid"] == FSID
    write_conf(tmp_path, greeting, fresh.fsid)
    cluster.monitors()
    deaf.trouble = CephSilentError(SILENT)
    found = []

    def is_well() -> bool:
        found.append(health(cluster))
        return "health" in found[-1]

    assert until(is_well)
    assert not [one for one in found if "trouble" in one or "keyless" in one]
    assert found[-1]["fsid"] == fresh.fsid
    assert deaf.closed.wait(10)
    cluster.close()


@pytest.mark.usefixtures("quick")
def test_monitors_that_answer_neither_cost_nobody_his_connection(tmp_path: Path, greeting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While monitors elect, the first connection is kept and works when they have; it is not tried out more often than each half minute."""
    monkeypatch.setattr(ceph_access, "_ANEW", 30.0)
    link = Link()
    connect = Cephs(link, CephSilentError("connecting: no monitor answered within the deadline"))
    cluster = watching(write_conf(tmp_path, greeting), connect)
    assert "health" in health(cluster)
    cluster.monitors()
    link.trouble = CephSilentError(SILENT)
    assert all("silent" in health(cluster) for _ in range(20))
    assert until(lambda: connect.times == 2)
    link.trouble = None

    assert "health" in health(cluster)
    assert not link.closed.is_set()
    assert connect.times == 2
    cluster.close()


def connections_in_silence(folder: Path, monitors: str) -> int:
    """Return how many connections there were after five looks that no monitor answered."""
    link = Link()
    connect = Cephs(link)
    cluster = watching(write_conf(folder, monitors), connect)
    assert "health" in health(cluster)
    cluster.monitors()
    link.trouble = CephSilentError(SILENT)
    assert all("silent" in health(cluster) for _ in range(5))
    cluster.close()
    return connect.times


@pytest.mark.usefixtures("quick")
def test_a_connection_is_not_tried_out_while_the_monitors_are_not_heard(tmp_path: Path) -> None:
    """Where most monitors are silent to TCP, too, it is not the key."""
    assert connections_in_silence(tmp_path, "[v2:127.0.0.1:9/0]") == 1


def test_a_short_silence_is_no_deafness(tmp_path: Path, greeting: str) -> None:
    """Nobody connects a second time for a few seconds without an answer."""
    assert connections_in_silence(tmp_path, greeting) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("away", [False, True])
def test_a_key_that_is_gone_is_told_unless_all_of_pmxcfs_is(tmp_path: Path, greeting: str, away: bool) -> None:
    """A deaf connection whose keyring is not there has no key; with ceph.conf gone as well pmxcfs is, and the silence is what counts."""
    deaf = Link()
    connect = Cephs(deaf, CephKeyMissingError("no key of client.faultline"))
    conf = write_conf(tmp_path, greeting)
    cluster = watching(conf, connect)
    assert "health" in health(cluster)
    cluster.monitors()
    if away:
        conf.unlink()
    deaf.trouble = CephSilentError(SILENT)
    found = []

    def is_tried_out() -> bool:
        found.append(health(cluster))
        return connect.times >= 3

    assert until(is_tried_out)
    assert any("keyless" in one for one in found) is not away
    assert all("keyless" in one or "silent" in one for one in found)
    assert deaf.closed.wait(0.0 if away else 10.0) is not away
    cluster.close()


def test_connections_that_hang_in_being_closed_are_counted(tmp_path: Path) -> None:
    """Of connections that do not close a handful is left behind, never one for each attempt; when they end it goes on."""
    links = [Link(trouble=CephError("osd tree: ENOENT"), closes=False) for _ in range(20)]
    connect, before = Cephs(*links), close_threads()
    cluster = watching(write_conf(tmp_path), connect)
    found = [health(cluster) for _ in range(15)]

    assert connect.times == close_threads() - before == 4
    assert "does not let go" in found[-1]["trouble"]
    for link in links:
        link.let_go()
    assert until(lambda: close_threads() == before)
    health(cluster)
    assert connect.times == 5
    cluster.close()


def test_another_look_does_not_lose_its_way_over_a_closed_connection(tmp_path: Path) -> None:
    """What is asked over a connection that was closed meanwhile is no trouble to tell."""
    link = Link()
    cluster = watching(write_conf(tmp_path), Cephs(link))
    health(cluster)
    link.trouble = CephClosedError("the connection was closed")

    assert not {"trouble", "silent", "keyless"} & set(cluster.map().picture)
    assert not link.closed.is_set()
    cluster.close()


# librados


class Handle:
    """A handle of librados: a command takes until it is told to end, and the handle must not go before."""

    def __init__(self, **_: object) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()
        self.under_way = self.freed_early = 0
        self.shut = threading.Event()

    def connect(self) -> None:
        """Succeed."""

    def get_fsid(self) -> str:
        """Return the identity."""
        return FSID

    def mon_command(self, _command: str, _given: bytes) -> tuple[int, bytes, str]:
        """Answer when told."""
        self.under_way += 1
        self.asked.set()
        self.answer.wait(10)
        self.under_way -= 1
        return 0, b"{}", ""

    def shutdown(self) -> None:
        """Go."""
        self.freed_early += self.under_way
        self.shut.set()


def test_a_connection_is_not_closed_under_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the commands that are under way and lets no other begin: librados would crash."""
    handle = Handle()
    monkeypatch.setattr(librados, "load", lambda: SimpleNamespace(Rados=lambda **_: handle, Error=OSError))
    (tmp_path / "keyring").write_text("")
    connection = Connection(Place(OWN, None, (Key("client.faultline", tmp_path / "keyring"),), "127.0.0.1"), 1)
    asking = threading.Thread(target=connection.ask, args=("health",))
    asking.start()
    assert handle.asked.wait(10)
    closing = threading.Thread(target=connection.close)
    closing.start()

    assert not handle.shut.wait(0.2)
    with pytest.raises(CephClosedError):
        connection.ask("status")
    handle.answer.set()
    assert handle.shut.wait(10)
    asking.join(10)
    closing.join(10)
    connection.close()
    assert handle.freed_early == 0


# Which clusters there are


def storages(text: str) -> tuple[storage_cfg.Storage, ...]:
    """Return the storages of a storage.cfg."""
    return tuple(storage_cfg.parse(text.encode()).storages.values())


def test_an_external_cluster_never_has_the_name_of_our_own() -> None:
    """A storage may be called as we call our own cluster: it is another one all the same."""
    found = list(external(storages("rbd: ceph\n\tmonhost 10.9.0.1\n\tpool a\n"), Path("/etc/pve"), ceph_conf.CephConf({})))

    assert [str(key.keyring) for key in found[0].keys] == ["/etc/faultline/ceph/ceph.keyring", "/etc/pve/priv/ceph/ceph.keyring"]
    assert found[0].name != own_place(Path("/etc/pve"), None, "client.faultline", None).name == OWN
    assert found[0].monitors == "10.9.0.1"


@pytest.mark.parametrize(
    ("monhost", "is_own"),
    [
        ("10.0.0.1 10.0.0.2 10.0.0.3", True),
        ("10.0.0.2;10.0.0.1", True),
        ("10.0.0.1:6789", True),
        ("10.0.0.4", True),
        ("10.0.0.1:7000", False),
        ("10.0.0.1 10.9.0.1", False),
        ("10.9.0.1", False),
    ],
)
def test_a_storage_that_names_our_own_monitors_is_our_own_cluster(monhost: str, is_own: bool) -> None:
    """Who names some of our own monitors, and no other, means our own cluster; a port that ours do not have is another's."""
    conf = ceph_conf.parse(
        b"[global]\nmon_host = [v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.2 10.0.0.3\n[mon.pve4]\npublic_addr = 10.0.0.4\n"
    )
    found = list(external(storages(f"rbd: vms\n\tmonhost {monhost}\n\tpool a\n"), Path("/etc/pve"), conf))

    assert [place.name for place in found] == ([] if is_own else ["vms"])


def test_the_configuration_is_known_once_it_was_read(tmp_path: Path) -> None:
    """Until ceph.conf was read, or is known not to be there, nobody can tell which monitors are our own."""
    conf = tmp_path / "ceph.conf"
    access = Access(Place(OWN, conf, ()), 1, lambda _: None)
    known = [access.known]
    assert not access.is_there()
    assert [*known, access.known] == [False, True]
    write_conf(tmp_path, "10.0.0.1")

    assert access.is_there()
    assert access.conf.mon_addresses == ("10.0.0.1",)


def test_the_source_watches_each_cluster_once(tmp_path: Path) -> None:
    """Beside our own cluster one that a storage called `ceph` names is watched, and ours not a second time under a storage's name."""
    write_conf(tmp_path, "127.0.0.1")
    (tmp_path / "storage.cfg").write_text("rbd: ceph\n\tmonhost 127.0.0.2:9\n\tpool a\n\nrbd: ours\n\tmonhost 127.0.0.1\n\tpool b\n")
    configured = Configured(tmp_path, "pve1", every=0.01)
    configured.wait(5)
    background = Background("ceph")
    own = own_place(tmp_path, None, "client.faultline", None)
    source = CephSource(own, tmp_path, configured, deadline=1, interval=2, map_interval=30, background=background)
    said: set[str] = set()

    def is_said() -> bool:
        batch = source.read_batch(timeout=0.1)
        found = [json.loads(one.fields["found"]) for one in (batch.records if batch else ())]
        said.update(one["cluster"] for one in found if one and "keyless" in one)
        return len(said) == 2

    assert until(is_said)
    assert said == set(source._clusters) == {OWN, "storage ceph"}
    source.close()
    background.close()
