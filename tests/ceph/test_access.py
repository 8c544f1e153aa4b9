"""Keys and configurations that are wrong or not enough: what an agent says of them, and that it works again once they are mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from agent.sources.ceph import Cluster
from agent.sources.librados import CephRefusedError, Connection, Key, Place
from events.agent import AgentSourceFailed
from events.ceph import CephUnwatched
from tests.ceph.agents import Watched
from tests.ceph.cluster import CephCluster, new_key
from tests.ceph.layout import CLIENT, CLIENT_CAPS, NODES, keyring
from tests.stored import Arrived

pytestmark = [pytest.mark.ceph, pytest.mark.timeout(300)]

_NODE = "pve2"
_OTHER = "00000000-1111-4222-8333-444444444444"


class Case(NamedTuple):
    """What is spoilt for one node while its agent is down, and the words that must be in what it says when it is up again."""

    spoil: Callable[[Watched], object]
    words: tuple[str, ...]


def _conf(watched: Watched, old: str, new: str) -> None:
    path = watched.place / f"{_NODE}.conf"
    path.write_text(path.read_text().replace(old, new))


CASES = {
    "a wrong key": Case(
        lambda watched: (watched.place / f"{_NODE}.keyring").write_text(keyring(CLIENT, new_key(), CLIENT_CAPS)),
        ("the monitors refuse client.faultline", "pve2.keyring", "docs/ceph.md"),
    ),
    "a key that is not there": Case(
        lambda watched: (watched.place / f"{_NODE}.keyring").unlink(), ("no key of client.faultline", "pve2.keyring", "docs/ceph.md")
    ),
    "a keyring that is none": Case(lambda watched: (watched.place / f"{_NODE}.keyring").write_text("key?\n"), ("client.faultline",)),
    "a wrong fsid": Case(lambda watched: _conf(watched, watched.cluster.layout.fsid, _OTHER), (_OTHER, "pve2.conf")),
    "no monitors": Case(lambda watched: _conf(watched, "mon_host", "mon_hosts"), ("connecting as client.faultline",)),
}


def _words(one: Arrived) -> str:
    event = one.event
    if one.node == _NODE and isinstance(event, CephUnwatched | AgentSourceFailed):
        return f"{event.reason} {event.seen.excerpt}"
    return ""


@pytest.mark.parametrize("name", CASES)
def test_who_cannot_ask_says_why_and_works_once_that_is_mended(watched: Watched, name: str) -> None:
    """Trouble with a key or ceph.conf is told with its place, harms neither the agent nor others, is no fault of Ceph, and ends."""
    case, site = CASES[name], watched.site
    cursor = watched.stored.cursor()
    site.stop(_NODE)
    case.spoil(watched)
    try:
        site.start(_NODE)

        def said() -> bool:
            return any(all(word in _words(one) for word in case.words) for one in watched.stored.since(cursor)[0])

        site.until(said, f"of {name}: {', '.join(case.words)}", 40)
        assert site.connected(_NODE)
    finally:
        watched.restore(_NODE)
    watched.until_watching(_NODE, cursor, 90)
    incidents = {told.report.cause for told in watched.stored.since(cursor)[1]}
    assert not any(cause.startswith("ceph") for cause in incidents)


def test_a_key_that_disappears_while_it_is_used_harms_nothing(watched: Watched) -> None:
    """A connection lives on without its keyring, as during a restart of pmxcfs: what happens is still told."""
    watched.site.check()
    (watched.place / f"{_NODE}.keyring").unlink()
    (watched.place / f"{_NODE}.conf").unlink()
    cursor = watched.stored.cursor()
    try:
        watched.cluster.kill("osd.0")
        watched.until_told("ceph.osd.down", cursor, (_NODE,))
    finally:
        watched.cluster.start("osd.0")
        watched.restore(_NODE)
    watched.until_told("ceph.osd.up", cursor, (_NODE,))
    watched.cluster.wait_calm()
    watched.until_incident("ceph-osd-down", "resolved", cursor)


def test_a_key_that_was_replaced_is_told_and_read_anew(watched: Watched) -> None:
    """Agents whose connections break after the key was replaced say that theirs is refused, and no lost quorum; they read the new one."""
    cluster = watched.cluster
    before = cluster.ask("auth get", entity=CLIENT)[0]["key"]
    cursor = watched.stored.cursor()
    _replace(cluster, new := new_key())
    try:
        for name in [name for name in cluster.daemons if name.startswith("mon.")]:  # each agent is connected to one of them
            cluster.kill(name)
            cluster.start(name)
            cluster.wait_healthy()

        def told() -> bool:
            arrived = watched.stored.since(cursor)[0]
            return {one.node for one in arrived if isinstance(one.event, AgentSourceFailed) and "refuse" in one.event.reason} == set(NODES)

        watched.site.until(told, "the refused key, by all nodes", 90)
        again = watched.stored.cursor()
        for node in NODES:
            (watched.place / f"{node}.keyring").write_text(keyring(CLIENT, new, {}))
        watched.until_told("agent.source.works", again, tuple(NODES), 90)
        assert not [one for one in watched.stored.since(cursor)[0] if one.kind == "ceph.quorum.lost"]
    finally:
        _replace(cluster, before)
        for node in NODES:
            watched.restore(node)
            watched.site.stop(node)
            watched.site.start(node)


def _replace(cluster: CephCluster, key: str) -> None:
    cluster.ask("auth rm", entity=CLIENT)
    cluster.admin.give("auth import", f'[{CLIENT}]\n\tkey = {key}\n\tcaps mgr = "allow r"\n\tcaps mon = "allow r"\n'.encode())


def test_a_command_that_is_refused_takes_no_other_with_it(cluster: CephCluster, tmp_path: Path) -> None:
    """With a key that may not ask everything all else is asked on over the same connection, and the log says once what is refused."""
    name, file = "client.some-commands", tmp_path / "keyring"
    allowed = ", ".join(f'allow command "{one}"' for one in ("health", "quorum_status", "status", "osd tree", "osd dump"))
    (made,) = cluster.ask("auth get-or-create", entity=name, caps=["mon", allowed])
    file.write_text(keyring(name, made["key"], {}))
    watching = Cluster(Place("ceph", cluster.layout.conf, (Key(name, file),)), 3, lambda *_: None)
    try:
        with capture_logs() as logged:
            pictures = [look().picture for _ in range(3) for look in (watching.health, watching.map, watching.load)]
        health, maps, load = pictures[-3:]
        assert health["health"]["status"]
        assert {osd["id"] for osd in maps["tree"] if osd["type"] == "osd"} == set(cluster.layout.osds)
        assert (maps["df"], load.get("perf")) == ({}, None)
        assert not [one for one in pictures if {"trouble", "silent", "keyless"} & one.keys()]
        assert [(one["cluster"], one["reason"].partition(":")[0]) for one in logged] == [("ceph", "df"), ("ceph", "osd perf")]
    finally:
        watching.close()
        cluster.ask("auth rm", entity=name)


def test_a_command_that_a_release_does_not_know_is_told_from_other_trouble(cluster: CephCluster) -> None:
    """What monitors do not know they refuse, at once and by name; the connection goes on."""
    connection = Connection(Place("ceph", cluster.layout.conf, (Key(CLIENT, cluster.layout.client_keyring()),)), 3)
    try:
        with pytest.raises(CephRefusedError, match="no such command"):
            connection.ask("no such command")
        assert connection.ask("health")["status"]
    finally:
        connection.close()
