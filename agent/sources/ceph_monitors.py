"""Whether a node hears each monitor of a Ceph cluster, without librados: what tells a lost quorum from a cut cable.

Whoever is connected to speaks first: ``ceph v2`` or ``ceph v027`` (docs.ceph.com, "msgr2 protocol" and "msgr1 protocol", banner phase). A
frozen monitor does not, though its machine takes the connection. One that speaks on either of its ports is heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from agent.sources.names import Names
from agent.sources.tcp import ACCEPTED, BLIND, MUTE, Reached, connect_all
from pve import ceph_conf
from pve.ceph_conf import CephConf, MonHost

_GREETINGS: Final = {"v2": b"ceph v2\n", "v1": b"ceph v027"}
_PORTS: Final = {"v2": 3300, "v1": 6789}
_PATIENCE: Final = 1.5
"""Seconds that a monitor has to speak."""


class _Way(NamedTuple):
    """One port of one monitor."""

    monitor: int
    protocol: str
    host: str
    port: int

    @property
    def key(self) -> str:
        return f"{self.monitor} {self.protocol} {self.host} {self.port}"


class Monitors:
    """The monitors of a cluster. For one thread at a time, but for :meth:`learn`."""

    def __init__(self) -> None:
        self._listed: tuple[tuple[str, MonHost], ...] = ()
        self._names = Names()

    def learn(self, quorum: object) -> None:
        """Take note of the monitors that the cluster itself lists, from the answer to ``quorum_status``."""
        monmap = quorum.get("monmap") if isinstance(quorum, dict) else None
        rows = monmap.get("mons") if isinstance(monmap, dict) else None
        found = tuple(one for row in (rows if isinstance(rows, list) else ()) if isinstance(row, dict) for one in _listed(row))
        self._listed = found or self._listed

    def listen(self, conf: CephConf, monitors: str, seconds: float) -> list[dict[str, Any]]:
        """Return for each monitor its name where that is known, its address, and how a connection to it ended, within ``seconds``."""
        known = self._listed or _configured(conf, monitors)
        ways = list(_ways(known))
        resolved = {way.host: self._names.ask(way.host).addresses for way in ways}
        self._names.keep(set(resolved))
        asked = {way.key: (resolved[way.host][0], way.port) for way in ways if resolved[way.host]}
        answers = connect_all(asked, min(_PATIENCE, seconds), {way.key: _GREETINGS[way.protocol] for way in ways})
        ended = {number: [answers[way.key] for way in ways if way.monitor == number and way.key in answers] for number in range(len(known))}
        return [_row(name, host, ended[number]) for number, (name, host) in enumerate(known)]


def _listed(row: Mapping[str, Any]) -> Iterator[tuple[str, MonHost]]:
    public = row.get("public_addrs")
    vector = public.get("addrvec") if isinstance(public, dict) else None
    words = ",".join(f"{one.get('type')}:{one.get('addr')}" for one in vector if isinstance(one, dict)) if isinstance(vector, list) else ""
    # Clusters older than Nautilus have one address, followed by a nonce.
    hosts = ceph_conf.mon_hosts(f"[{words}]" if words else str(row.get("addr", "")).partition("/")[0])
    if hosts:
        yield str(row.get("name", "")), hosts[0]


def _configured(conf: CephConf, monitors: str) -> tuple[tuple[str, MonHost], ...]:
    """Return the monitors that the configuration names, with their names where it has them."""
    names = {address: name for name, address in conf.monitors.items() if address}
    return tuple((names.get(one[0].host, ""), one) for one in ceph_conf.mon_hosts(monitors) or conf.mon_host)


def _ways(known: tuple[tuple[str, MonHost], ...]) -> Iterator[_Way]:
    for number, (_, addresses) in enumerate(known):
        for one in addresses:
            if one.port is None:
                yield from (_Way(number, protocol, one.host, port) for protocol, port in _PORTS.items())
            else:
                protocol = one.protocol if one.protocol in _GREETINGS else "v2" if one.port == _PORTS["v2"] else "v1"
                yield _Way(number, protocol, one.host, one.port)


def _row(name: str, host: MonHost, ended: list[Reached]) -> dict[str, Any]:
    """Return what came of a monitor: the best of its ways, for either will do."""
    order = {ACCEPTED: 0, MUTE: 1}
    best = min(ended, key=lambda one: order.get(one.outcome, 2), default=Reached(BLIND, "its name does not resolve"))
    return {"name": name, "address": host[0].host, "outcome": best.outcome, "detail": best.detail}
