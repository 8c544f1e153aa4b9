"""Real agents, real controller, real journals: killed again and again, they deliver every event once and in order.

What must arrive is known: the classifier over the whole journal. So nothing is taken on trust, neither sequences nor cursors.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import Thread

import pytest
import zmq
import zmq.auth

from events.base import Source
from events.envelope import Envelope, UnknownEvent
from events.wire import MAX_FRAME, Heartbeat, Hello, Refused, pack, unpack
from tests.processes import Fact, Site, fact

LONG = bool(os.environ.get("FAULTLINE_LONG"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Return a site with two agents, of which nothing runs yet."""
    site = Site(tmp_path, ("pve1", "pve2"))
    yield site
    site.end()
    for node in site.nodes:
        shutil.rmtree(tmp_path / f"{node}.journals", ignore_errors=True)


def assert_once_each(site: Site, wanted: dict[str, list[Fact]]) -> None:
    """Everything that the journals stand for arrived once, in order, and each stream has no hole."""
    stored = site.stored()
    for node in site.nodes:
        of_node = [one for one in stored if one.node == node]
        facts = [fact(one.observed_at, one.monotonic, one.boot_id, one) for one in of_node if seen_by(one) is Source.JOURNALD]
        assert facts == wanted[node]
        assert len({one.stream for one in of_node}) == 1
        assert [one.seq for one in of_node] == list(range(1, len(of_node) + 1))
    assert site.other_rows() == Counter()


def seen_by(envelope: Envelope) -> Source:
    """Return which source saw an event."""
    assert not isinstance(envelope.event, UnknownEvent)
    return envelope.event.seen.source


@pytest.mark.parametrize(
    ("rounds", "repetitions"),
    [pytest.param(4, 2, id="short"), pytest.param(20, 20, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3000)])],
)
def test_kill_9_loses_nothing_and_doubles_nothing(site: Site, rounds: int, repetitions: int) -> None:
    """Agents and controller are killed at any moment while events stream; in the end every event is there, once, in order.

    Short: 2000 events, each killed four times. Long (FAULTLINE_LONG=1): 100,000 events, twenty times.
    """
    if repetitions == 20 and not LONG:
        pytest.skip("a campaign: FAULTLINE_LONG=1")
    dice = Random(20)
    names = ("controller", *site.nodes)
    site.feed(1)
    for name in names:
        site.start(name)
    for _ in range(rounds):
        before = site.count()
        feeding = Thread(target=site.feed, args=(repetitions,))
        feeding.start()
        site.until(lambda before=before: site.count() > before, "anything new arrives")  # type: ignore[misc]
        for name in dice.sample(names, len(names)):
            time.sleep(dice.uniform(0, 0.2))
            site.kill(name)
            site.start(name)
        feeding.join()
    wanted = {node: site.expected(node) for node in site.nodes}
    site.until(lambda: site.count() >= sum(map(len, wanted.values())), "all events", 120)
    site.until(lambda: all(site.connected(node) for node in site.nodes), "connected agents")
    assert [site.stop(node) for node in site.nodes] == [0, 0]
    assert site.stop("controller") == 0

    assert_once_each(site, wanted)
    starts = Counter(one.node for one in site.stored() if one.event.kind == "agent.started")
    assert all(1 <= starts[node] <= rounds + 1 for node in site.nodes)
    stops = Counter(one.node for one in site.stored() if one.event.kind == "agent.stopped")
    assert stops == dict.fromkeys(site.nodes, 1)


def test_sigterm_ends_both_soon(site: Site) -> None:
    """Asked to end, agent and controller do so within five seconds with 0, and the agent's last word arrives; also without a controller."""
    site.start("controller")
    for node in site.nodes:
        site.start(node)
    site.until(lambda: all(site.connected(node) for node in site.nodes), "connected agents")
    began = time.monotonic()
    assert site.stop("pve1") == 0
    assert site.stop("controller") == 0
    assert site.stop("pve2") == 0
    assert time.monotonic() - began < 5
    kinds = [one.event.kind for one in site.stored() if one.node == "pve1" and seen_by(one) is Source.AGENT]
    assert (kinds[0], kinds[-1]) == ("agent.started", "agent.stopped")


def test_events_wait_for_a_controller_that_is_away(site: Site) -> None:
    """What happens while no controller runs, through restarts of the agent, arrives when there is one."""
    site.feed(2)
    for node in site.nodes:
        site.start(node)
    spool = site.place / "pve1" / "spool.db-wal"
    site.until(lambda: spool.exists() and spool.stat().st_size > 50_000, "spooled events")
    for node in site.nodes:
        site.kill(node)
        site.start(node)
    site.start("controller")
    wanted = {node: site.expected(node) for node in site.nodes}
    site.until(lambda: site.count() >= sum(map(len, wanted.values())), "all events")
    assert_once_each(site, wanted)


def test_a_damaged_spool_does_not_stop_the_agent(site: Site) -> None:
    """A spool that cannot be read is moved aside whole, another stream begins, and an event says so."""
    site.feed(1)
    site.start("controller")
    site.start("pve1")
    site.until(lambda: site.count() >= len(site.expected("pve1")), "events")
    assert site.stop("pve1") == 0  # so the WAL is empty
    spool = site.place / "pve1" / "spool.db"
    spool.write_bytes(b"\0" * 5000)
    site.start("pve1")
    site.until(lambda: [one for one in site.stored() if one.event.kind == "agent.journal.lost"], "word of the damage")
    assert (site.place / "pve1" / "spool.db.corrupt-1").read_bytes() == b"\0" * 5000
    assert len({one.stream for one in site.stored() if one.node == "pve1"}) == 2
    site.until(lambda: site.connected("pve1"), "a session")


def test_a_wrong_controller_key_is_one_clear_line(site: Site, tmp_path: Path) -> None:
    """An agent that was given another controller's key says so once, with the file to check, and goes on trying."""
    (tmp_path / "other").mkdir()
    zmq.auth.create_certificates(tmp_path / "other", "controller")
    text = (site.place / "pve1.toml").read_text()
    (site.place / "pve1.toml").write_text(text.replace("keys/controller.key", "other/controller.key"))
    site.start("controller")
    site.until((site.place / "ingest").exists, "a listening controller")
    site.start("pve1")
    site.until(lambda: "public_key_file" in site.log("pve1"), "the line")
    time.sleep(2)  # several more attempts
    assert site.log("pve1").count("no session with controller") == 1
    assert "check public_key_file" in site.log("pve1")
    assert not site.connected("pve1")


def test_an_unknown_agent_is_one_clear_line_on_both_sides(site: Site) -> None:
    """A key that is not listed: the agent says where to look, the controller which key and which directory; once listed it is let in."""
    key = site.place / "agents" / "pve1.key"
    key.rename(site.place / "set-aside")
    site.start("controller")
    site.until((site.place / "ingest").exists, "a listening controller")
    site.start("pve1")
    site.until(lambda: "unknown key denied" in site.log("controller") and "allow-list" in site.log("pve1"), "both lines")
    (site.place / "set-aside").rename(key)
    site.until(lambda: site.connected("pve1"), "a session")
    assert site.log("controller").count("unknown key denied") == 1
    assert site.log("pve1").count("no session with controller") == 1


def test_a_hostile_agent_harms_only_itself(site: Site) -> None:
    """Garbage, another node's name, an oversized frame and a flood from one allowed key: the others' events all arrive."""
    site.nodes = ("pve1",)
    site.feed(2)
    site.start("controller")
    site.until((site.place / "ingest").exists, "a listening controller")
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    socket.linger, socket.rcvtimeo = 0, 5000
    socket.curve_serverkey = zmq.auth.load_certificate(site.place / "keys/controller.key")[0]
    socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(site.place / "keys/pve2.key_secret")
    socket.connect(f"ipc://{site.place}/ingest")
    dice = Random(2)
    for frame in (b"", b"\xc1", dice.randbytes(1000), pack(Heartbeat("pve1", "s", 1, 1, {})), pack(Hello("pve1", "s", "b", "v", 1, 0))):
        socket.send(frame)
        assert isinstance(unpack(socket.recv()), Refused)
    site.start("pve1")
    for _ in range(500):
        socket.send(dice.randbytes(dice.randint(0, 5000)))
    socket.send(b"x" * (MAX_FRAME + 1))
    wanted = {"pve1": site.expected("pve1")}
    site.until(lambda: site.count() >= len(wanted["pve1"]), "all events")
    socket.close()
    assert_once_each(site, wanted)
    assert not [one for one in site.stored() if one.node == "pve2"]
    assert site.log("controller").count("message refused") == 1
