"""A virtual cluster: nodes, an iSCSI target with portals, an NFS server; faults in, the agents' events out.

It works on events, not on log lines: the delays are those that a real stack showed, spread over nodes by their number so that
nothing is simultaneous by accident. No clock and no randomness: the same script gives the same events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from events.base import Event, Seen, Source
from events.cluster import NodeBooted, QuorumLost, QuorumRegained, StorageInactive
from events.entity import Entity, EntityKind, entity
from events.envelope import Envelope
from events.iscsi import (
    IscsiConnectionFailed,
    IscsiConnectionRecovered,
    IscsiLoginRejected,
    IscsiSessionEstablished,
    IscsiSessionExpired,
    LoginRefusal,
)
from events.multipath import MultipathMapDegraded, MultipathMapLost, MultipathMapRestored, MultipathMapUsable
from events.nfs import NfsServerReachable, NfsServerUnreachable, NfsSilence

SECOND = 1_000_000
NOP_TIMEOUT = 8 * SECOND
"""From losing packets to the first iSCSI line: 8 to 10 s."""
RECOVERY_TIMEOUT = 5 * SECOND
"""multipathd sets the session's recovery timeout to 5 s."""
RELOGIN = 3 * SECOND
PATH_CHECK = 5 * SECOND
NFS_MAJOR_TIMEOUT = 182 * SECOND
START = 1_795_000_000 * SECOND
"""Virtual time begins here, so that no test depends on today."""

Emit = Callable[[Envelope, int], None]


@dataclass(slots=True)
class Topology:
    """What the virtual cluster consists of."""

    nodes: list[str]
    target: str = "iqn.2005-10.org.freenas.ctl:pve-cluster"
    portals: list[str] = field(default_factory=lambda: ["10.1.1.1:3260", "10.1.2.1:3260"])
    servers: list[str] = field(default_factory=lambda: ["10.1.3.1"])
    wwid: str = "36001405e1069b6f08584509b666ec5a5"
    luns: bool = True


class VirtualCluster:
    """Runs on virtual time; call verbs, then :meth:`run` to let time pass and to receive (envelope, at) pairs."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self.now = START
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._out: list[tuple[int, Envelope]] = []
        self._seq: dict[str, int] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._rejecting: set[str] = set()
        self._bad_session: set[tuple[str, str]] = set()
        self._silent_server: set[tuple[str, str]] = set()
        self._active: dict[str, int] = {}
        self._muted: set[str] = set()
        for node in topology.nodes:
            self.login(node)

    # -- time -------------------------------------------------------------------------------------------------------

    def after(self, delay: int, do: Callable[[], None]) -> None:
        """Do something later on virtual time."""
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, do))

    def run(self, until: int) -> Iterator[tuple[int, Envelope]]:
        """Let time pass up to ``until`` and yield what agents publish, in order."""
        yield from self._take()
        while self._due and self._due[0][0] <= until:
            self.now, _, do = heapq.heappop(self._due)
            do()
            yield from self._take()
        self.now = until

    def _take(self) -> list[tuple[int, Envelope]]:
        out, self._out = self._out, []
        return out

    def _emit(self, node: str, event: Event) -> None:
        if node in self._muted:
            return
        self._seq[node] = self._seq.get(node, 0) + 1
        envelope = Envelope("sim", node, f"boot-{node}", "sim", self._seq[node], self.now, self.now - START, event)
        self._out.append((self.now, envelope))

    def _spread(self, node: str, other: str = "") -> int:
        topology = self.topology
        index = topology.nodes.index(node)
        # Pings of all sessions are at some phase of their 5 s interval.
        return (index * 700_000) % 4_900_000 + (topology.portals.index(other) * 300_000 if other in topology.portals else 0)

    # -- verbs ------------------------------------------------------------------------------------------------------

    def login(self, node: str) -> None:
        """Log a node in to all portals, as at boot."""
        topology = self.topology
        for number, portal in enumerate(topology.portals, 1):
            self._emit(node, IscsiSessionEstablished(subject=_portal(portal), seen=_SEEN, target=topology.target, session=number))
        self._active[node] = len(topology.portals)

    def block(self, node: str, endpoint: str) -> None:
        """Drop all packets between a node and a portal or server."""
        if (node, endpoint) in self._blocked:
            return
        self._blocked.add((node, endpoint))
        if endpoint in self.topology.portals:
            self.after(NOP_TIMEOUT + self._spread(node, endpoint), lambda: self._lose_session(node, endpoint, 1022))
        else:
            self.after(NFS_MAJOR_TIMEOUT + self._spread(node), lambda: self._lose_server(node, endpoint))

    def unblock(self, node: str, endpoint: str) -> None:
        """Let packets pass again."""
        self._blocked.discard((node, endpoint))
        self.after(RELOGIN + self._spread(node, endpoint), lambda: self._restore(node, endpoint))

    def reject(self, nodes: list[str]) -> None:
        """Let the target close these nodes' sessions and refuse their logins."""
        for node in nodes:
            self._rejecting.add(node)
            for portal in self.topology.portals:
                self.after(SECOND + self._spread(node, portal), partial(self._lose_session, node, portal, 1020))
                self.after(2 * SECOND + self._spread(node, portal), partial(self._refuse, node, portal))

    def accept(self, nodes: list[str]) -> None:
        """Let the target accept these nodes again."""
        for node in nodes:
            self._rejecting.discard(node)
            for portal in self.topology.portals:
                self.after(RELOGIN + self._spread(node, portal), partial(self._restore, node, portal))

    def mute(self, node: str) -> None:
        """Stop a node's agent: it publishes nothing more."""
        self._muted.add(node)

    def unmute(self, node: str) -> None:
        """Start it again."""
        self._muted.discard(node)

    def boot(self, node: str) -> None:
        """Restart a node: sessions are new, blocked ways stay blocked."""
        self._bad_session = {pair for pair in self._bad_session if pair[0] != node}
        self._emit(node, NodeBooted(subject=Entity(EntityKind.NODE, node), seen=_SEEN, boot_id=f"boot-{self.now}"))
        self.login(node)

    def quorum(self, node: str, held: bool) -> None:
        """Let a node lose or regain quorum."""
        kind = QuorumRegained if held else QuorumLost
        self._emit(node, kind(subject=Entity(EntityKind.NODE, node), seen=_SEEN))

    def inactive(self, node: str, storage: str) -> None:
        """Let pvestatd of a node find a storage offline."""
        reason = f"storage '{storage}' is not online"
        self._emit(node, StorageInactive(subject=Entity(EntityKind.STORAGE, storage), seen=_SEEN, reason=reason))

    # -- what follows -----------------------------------------------------------------------------------------------

    def _lose_session(self, node: str, portal: str, code: int) -> None:
        broken = (node, portal) in self._blocked or node in self._rejecting
        if not broken or (node, portal) in self._bad_session:
            return
        self._bad_session.add((node, portal))
        number = self.topology.portals.index(portal) + 1
        event = IscsiConnectionFailed(subject=_portal(portal), seen=_SEEN, target=self.topology.target, session=number, code=code)
        self._emit(node, event)
        self.after(RECOVERY_TIMEOUT, lambda: self._expire(node, portal, number))

    def _expire(self, node: str, portal: str, number: int) -> None:
        if (node, portal) not in self._bad_session:
            return
        self._emit(node, IscsiSessionExpired(subject=_portal(portal), seen=_SEEN, target=self.topology.target, session=number, after=5.0))
        self._count_paths(node)

    def _refuse(self, node: str, portal: str) -> None:
        if node in self._rejecting:
            subject = Entity(EntityKind.ISCSI_TARGET, self.topology.target)
            self._emit(node, IscsiLoginRejected(subject=subject, seen=_SEEN, refusal=LoginRefusal.AUTHENTICATION, portal=_portal(portal)))
            self.after(30 * SECOND, lambda: self._refuse(node, portal))

    def _restore(self, node: str, endpoint: str) -> None:
        if (node, endpoint) in self._blocked or node in self._rejecting:
            return
        if (node, endpoint) in self._silent_server:
            self._silent_server.discard((node, endpoint))
            self._emit(node, NfsServerReachable(subject=Entity(EntityKind.NFS_SERVER, endpoint), seen=_SEEN))
        if (node, endpoint) in self._bad_session:
            self._bad_session.discard((node, endpoint))
            number = self.topology.portals.index(endpoint) + 1
            event = IscsiConnectionRecovered(subject=_portal(endpoint), seen=_SEEN, target=self.topology.target, session=number, attempts=3)
            self._emit(node, event)
            self.after(PATH_CHECK, lambda: self._count_paths(node))

    def _lose_server(self, node: str, server: str) -> None:
        if (node, server) in self._blocked and (node, server) not in self._silent_server:
            self._silent_server.add((node, server))
            subject = Entity(EntityKind.NFS_SERVER, server)
            self._emit(node, NfsServerUnreachable(subject=subject, seen=_SEEN, how=NfsSilence.STILL_TRYING))

    def _count_paths(self, node: str) -> None:
        """Print what multipathd prints when its count of active paths changes."""
        portals = self.topology.portals
        active, total = sum((node, portal) not in self._bad_session for portal in portals), len(portals)
        before, self._active[node] = self._active[node], active
        if active == before or not self.topology.luns:
            return
        subject = Entity(EntityKind.LUN, self.topology.wwid)
        if active == 0:
            self._emit(node, MultipathMapLost(subject=subject, seen=_SEEN, map="mpatha", expected=total))
        elif active == total:
            self._emit(node, MultipathMapRestored(subject=subject, seen=_SEEN, map="mpatha", active=active))
        else:
            if before == 0:
                self._emit(node, MultipathMapUsable(subject=subject, seen=_SEEN, map="mpatha", active=active))
            self._emit(node, MultipathMapDegraded(subject=subject, seen=_SEEN, map="mpatha", active=active, expected=total))


_SEEN = Seen(source=Source.JOURNALD, excerpt="simulated")


def _portal(key: str) -> Entity:
    return entity(f"iscsi-portal/{key}")
