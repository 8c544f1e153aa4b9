"""Looks at Ceph clusters, each over one librados connection: what the monitors know, what they push, and whether they speak at all.

Looks of a cluster, each ``NAME@CLUSTER``, at the paces of the default configuration:

* ``health`` (each 2 s): ``health detail``. It makes the connection, and is the first to know when no monitor answers.
* ``map`` (each 30 s, each 10 s while groups stand still, or while data moves though health is good, and right after whatever is pushed):
  ``status``, ``osd tree``, ``osd dump``, ``quorum_status``, ``df``; of the first three only what a classifier reads, for a dump of many
  OSDs is megabytes.
* ``load`` (each 30 s while data moves or something is bad, else each 5 min): ``osd perf``, which a manager answers, and nobody without one.
* ``monitors`` (each 6 s, each 2 s while one is silent): whether each monitor speaks to this node, see :mod:`agent.sources.ceph_monitors`.
* ``log``: lines of the cluster's log as the monitors push them, about a second after the fact.

A picture holds ``cluster``, and ``fsid`` where that is known; then the answers, or ``silent`` (no monitor answered in time), ``trouble``
(something to mend, such as a key) or ``keyless`` (nobody made a key yet) with words for a person. No cluster: None.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from agent.record import Batch
from agent.sources.background import Background
from agent.sources.ceph_access import Access
from agent.sources.ceph_monitors import Monitors
from agent.sources.configured import Configured
from agent.sources.librados import (
    CephClosedError,
    CephError,
    CephKeyMissingError,
    CephRefusedError,
    CephSilentError,
    Connection,
    Key,
    Place,
)
from agent.sources.looking import Found, Look, LookingSource
from agent.sources.tcp import ACCEPTED, BLIND
from events.base import Source
from pve import ceph_conf
from pve.storage_cfg import Storage

log = structlog.get_logger()

OWN: Final = "ceph"
"""Name of the cluster that these nodes run themselves."""
_TYPES: Final = ("rbd", "cephfs")
_FAST: Final = 2.0
"""Seconds between two looks while something is bad."""
_MOVING: Final = 10.0
"""Seconds between two looks at the maps while placement groups stand still, or health is good and data still moves: nothing is pushed."""
_LOAD: Final = 300.0
_GAP: Final = 0.5
_MAP_GAP: Final = 2.0
"""Least seconds between two looks, however much is pushed."""
_SLACK: Final = 3.0
"""Seconds beyond librados' own deadline after which a look counts as hung. A map takes several commands; the first that fails ends it."""
_CLUSTERS: Final = 15.0
"""Seconds between two looks for clusters that storage.cfg names."""
_SOON: Final = 0.5
"""The same until the nodes' own configuration is known: a storage that names their own monitors is no other cluster."""
_HEARD: Final = 15.0
"""Seconds for which what was heard of the monitors holds, at least."""
_REFUSED: Final = 3600.0
"""Seconds after which a command that was refused is asked again on the same connection: monitors may have been upgraded meanwhile."""
_MOST_LINES: Final = 512
_FLAGS: Final = ("flags", "full_ratio", "backfillfull_ratio", "nearfull_ratio", "crush_node_flags", "device_class_flags")
_POOL: Final = ("pool", "pool_name", "size", "min_size", "flags_names", "application_metadata")
_OSD: Final = ("osd", "up", "in", "state")
_NODE: Final = ("id", "name", "type", "children", "status", "reweight", "device_class")
_STATUS: Final = ("pgmap", "mgrmap", "osdmap")


@dataclass(slots=True)
class Pushed:
    """Lines of a cluster's log that were pushed and not looked at. Filled by a thread of librados, emptied by the look ``log``."""

    lines: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    lost: int = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Take in a line; of a storm the latest are kept, and the others counted."""
        self.lost += len(self.lines) == _MOST_LINES
        self.lines.append(line)

    def take(self) -> dict[str, Any]:
        """Return what came since this was called last."""
        found = [self.lines.popleft() for _ in range(len(self.lines))]
        lost, self.lost = self.lost, 0
        return {"lines": found, "lost": lost}


class Cluster:
    """One cluster: its connection, and what looks at it find. Looks run in threads of their own, one of each at a time."""

    def __init__(
        self, place: Place, deadline: int, hurry: Callable[..., None], connect: Callable[[Place, int], Connection] = Connection
    ) -> None:
        self.place = place
        self._deadline, self._hurry = deadline, hurry
        self._access = Access(place, deadline, self._push, connect)
        self._pushed = Pushed()
        self._monitors = Monitors()
        self._restless = self._some_silent = False
        self._most_heard, self._holds = float("-inf"), _HEARD
        """When most monitors were heard last (monotonic seconds), and for how long that holds."""
        self._unavailable: dict[str, float] = {}
        """Commands that were refused, and when they are asked again."""

    def name(self, look: str) -> str:
        """Return the name of one of its looks."""
        return f"{look}@{self.place.name}"

    def looks(self, interval: float, map_interval: float) -> Iterator[Look]:
        """Yield its looks."""
        slow = self._deadline + _SLACK
        fast = min(_FAST, interval)
        self._holds = max(_HEARD, 4 * interval)
        # Connecting and a command, each with its deadline.
        yield Look(self.name("health"), self.health, interval, fast, 2 * slow, gap=_GAP)
        yield Look(self.name("map"), self.map, map_interval, min(_MOVING, map_interval), slow, gap=_MAP_GAP)
        yield Look(self.name("load"), self.load, _LOAD, map_interval, slow, again=_LOAD, gap=_MAP_GAP)
        yield Look(self.name("monitors"), self.monitors, 3 * interval, fast, slow, again=0.0, gap=_GAP)
        yield Look(self.name("log"), self.log, 3600.0, 3600.0, slow, again=float("inf"))

    def close(self) -> None:
        """End its connection, for good. Never blocks."""
        self._access.close()

    @property
    def conf(self) -> ceph_conf.CephConf | None:
        """Its configuration; an empty one where there is none, None until that is known."""
        return self._access.conf if self._access.known else None

    # -- looks

    def health(self) -> Found:
        """Ask for all health checks; connect first where that is not done."""
        try:
            if not self._access.is_there():
                return Found(None, empty=True)
        except CephError as error:
            return Found({**self._about(), "trouble": str(error)}, bad=True)

        def ask(connection: Connection) -> dict[str, Any]:
            if self._some_silent:
                # A monitor that was left alone goes on answering `health` as it was before, for ever. This it answers with a quorum only.
                self._asked_one(connection, "quorum_status")
            return {"health": connection.ask("health", detail="detail")}

        answers = self._renewed(self._asked(ask, connect=True))
        bad = not isinstance(answers.get("health"), dict) or answers["health"].get("status") != "HEALTH_OK"
        if bad != self._restless:
            self._restless = bad
            self._hurry(self.name("map"), self.name("monitors"))
        return Found(answers, bad)

    def map(self) -> Found:
        """Ask for OSDs, monitors, pools and placement groups."""

        def ask(connection: Connection) -> dict[str, Any]:
            quorum = self._asked_one(connection, "quorum_status")
            self._monitors.learn(quorum)
            answers = [self._asked_one(connection, command) for command in ("status", "osd tree", "osd dump", "df")]
            return map_of(quorum, *answers)

        answers = self._asked(ask)
        # Health is good again before the last copies are made, and groups that stand still are believed at their second sight.
        return Found(answers, _stands(answers) or (not self._restless and _moves(answers)))

    def load(self) -> Found:
        """Ask for the latency of each OSD."""

        def ask(connection: Connection) -> dict[str, Any]:
            perf = self._asked_one(connection, "osd perf")
            return {} if perf is None else {"perf": perf}

        return Found(self._asked(ask), self._restless)

    def monitors(self) -> Found:
        """Listen to each monitor."""
        rows = self._monitors.listen(self._access.conf, self.place.monitors, self._deadline)
        if not rows:
            return Found(None)
        self._some_silent = any(row["outcome"] not in (ACCEPTED, BLIND) for row in rows)
        if 2 * sum(row["outcome"] == ACCEPTED for row in rows) > len(rows):
            self._most_heard = time.monotonic()
        return Found({**self._about(), "monitors": rows}, self._some_silent)

    def log(self) -> Found:
        """Return the lines that were pushed."""
        return Found({**self._about(), **self._pushed.take()})

    # -- the connection

    def _asked(self, ask: Callable[[Connection], dict[str, Any]], *, connect: bool = False) -> dict[str, Any]:
        """Return the answers with the cluster's name; or what keeps us from them. Empty while nobody is connected."""
        about = self._about()
        connection = before = self._access.connection
        try:
            if connect:
                connection = self._access.connected()
            if connection is None:
                return about
            if connect and connection is not before:
                self._begun_anew()
            about["fsid"] = connection.fsid
            return {**about, **ask(connection)}
        except CephKeyMissingError as error:
            return {**about, "keyless": str(error)}
        except CephSilentError as error:
            return {**about, "silent": str(error)}
        except CephClosedError:
            return about  # another look found trouble with it, or all looks end
        except CephError as error:
            self._access.drop(connection)
            return {**about, "trouble": str(error)}

    def _renewed(self, answers: dict[str, Any]) -> dict[str, Any]:
        """Return the answers of the look ``health``, or what keeps us from them, when it is not that the monitors are silent."""
        if "silent" not in answers:
            if "health" in answers:
                self._access.answered()
            return answers
        about = self._about()
        try:
            if self._access.unanswered(time.monotonic() - self._most_heard < self._holds):
                self._begun_anew()
        except CephKeyMissingError as error:
            return {**about, "keyless": str(error)}
        except CephClosedError:
            return about
        except CephError as error:
            return {**about, "trouble": str(error)}
        return answers

    def _begun_anew(self) -> None:
        """Have everything looked at over a new connection."""
        self._unavailable = dict.fromkeys(self._unavailable, 0.0)  # with this connection's key it may be another thing
        self._hurry(self.name("map"), self.name("load"), self.name("monitors"))

    def _asked_one(self, connection: Connection, command: str) -> Any:
        """Return the answer to a command that others can do without; None where it is refused, which is logged once."""
        if time.monotonic() < self._unavailable.get(command, 0.0):
            return None
        try:
            answer = connection.ask(command)
        except CephRefusedError as error:
            if command not in self._unavailable:
                log.warning("a command is refused, all others are asked on", cluster=self.place.name, reason=str(error))
            self._unavailable[command] = time.monotonic() + _REFUSED
            return None
        self._unavailable.pop(command, None)
        return answer

    def _push(self, line: Mapping[str, Any]) -> None:
        self._pushed.add(line)
        self._hurry(self.name("log"), self.name("health"), self.name("map"))

    def _about(self) -> dict[str, Any]:
        """Return the cluster's name, and its identity where that is known."""
        connection = self._access.connection
        return {"cluster": self.place.name, "fsid": self._access.conf.fsid if connection is None else connection.fsid}


class CephSource:
    """All clusters that this node's storages use. As :class:`agent.sources.looking.LookingSource`, which does the work."""

    ended: Final = False

    def __init__(
        self, own: Place, root: Path, configured: Configured, *, deadline: int, interval: float, map_interval: float, background: Background
    ) -> None:
        self._own, self._root, self._configured = own, root, configured
        self._deadline, self._interval, self._map_interval = deadline, interval, map_interval
        self._clusters: dict[str, Cluster] = {}
        self._looking = LookingSource(Source.CEPH, (), background=background)
        self._due = 0.0

    def read_batch(self, max_records: int = 512, timeout: float = 1.0) -> Batch | None:
        """Take the looks that are due; now and then look whether storage.cfg names another cluster."""
        if time.monotonic() >= self._due:
            known = (own := self._clusters.get(OWN)) is not None and own.conf is not None
            self._follow(self._wanted())
            self._due = time.monotonic() + (_CLUSTERS if known else _SOON)
        return self._looking.read_batch(max_records, timeout)

    def wake(self) -> None:
        """Make a waiting :meth:`read_batch` return at once. Callable from any thread."""
        self._looking.wake()

    def close(self) -> None:
        """Give up looking; connections end by themselves."""
        self._looking.close()
        for cluster in self._clusters.values():
            cluster.close()

    def _wanted(self) -> dict[str, Place]:
        """Return the clusters that there are; external ones once it is known which monitors are our own."""
        own = self._clusters.get(OWN)
        conf = None if own is None else own.conf
        others = [] if conf is None else external(self._configured.storages(*_TYPES), self._root, conf)
        return {place.name: place for place in (self._own, *others)}

    def _follow(self, wanted: Mapping[str, Place]) -> None:
        for name, cluster in [*self._clusters.items()]:
            if wanted.get(name) != cluster.place:
                self._looking.drop([cluster.name(look) for look in ("health", "map", "load", "monitors", "log")])
                cluster.close()
                del self._clusters[name]
        for name, place in wanted.items():
            if name not in self._clusters:
                cluster = self._clusters[name] = Cluster(place, self._deadline, self._looking.hurry)
                self._looking.add(cluster.looks(self._interval, self._map_interval))


def own_place(root: Path, conf: Path | None, client: str, keyring: Path | None) -> Place:
    """Return how this cluster's own Ceph is reached: ``root`` is /etc/pve."""
    found = conf or (root / "ceph.conf")
    keyrings = (keyring,) if keyring else (root / "ceph" / f"ceph.{client}.keyring", Path(f"/etc/ceph/ceph.{client}.keyring"))
    return Place(OWN, found, tuple(Key(client, one) for one in keyrings))


def external(storages: tuple[Storage, ...], root: Path, own: ceph_conf.CephConf) -> Iterator[Place]:
    """Yield the clusters that storages name by ``monhost``, each once. Whose monitors are those of ``own`` is the nodes' own cluster.

    Proxmox VE keeps a storage's key in priv/ceph/STORAGE.keyring and its options in priv/ceph/STORAGE.conf (PVE/Storage/RBDPlugin.pm,
    PVE/CephConfig.pm), for root only; a key for the agent may stand in /etc/faultline/ceph.
    """
    seen: set[frozenset[str]] = set()
    for storage in sorted(storages, key=lambda one: one.id):
        monitors = storage.values.get("monhost", "")
        hosts = frozenset(address.host for host in ceph_conf.mon_hosts(monitors) for address in host)
        if not hosts or hosts in seen or _is_own(monitors, own):
            continue
        seen.add(hosts)
        ours, theirs = Path("/etc/faultline/ceph") / f"{storage.id}.keyring", root / "priv" / "ceph" / f"{storage.id}.keyring"
        keys = (Key("client.faultline", ours), Key(f"client.{storage.values.get('username', 'admin')}", theirs))
        # No storage's id has a blank (PVE/JSONSchema.pm, pve-storage-id).
        name = storage.id if storage.id != OWN else f"storage {storage.id}"
        yield Place(name, None, keys, ",".join(monitors.replace(";", ",").replace(",", " ").split()))


def _is_own(monitors: str, own: ceph_conf.CephConf) -> bool:
    """Tell whether all these monitors are monitors of a configuration; where one of the two names no port, its host decides."""
    ours = [address for host in (*own.mon_host, *ceph_conf.mon_hosts(",".join(own.monitors.values()))) for address in host]
    asked = [address for host in ceph_conf.mon_hosts(monitors) for address in host]
    return bool(asked) and all(
        any(one.host == other.host and (None in (one.port, other.port) or one.port == other.port) for other in ours) for one in asked
    )


def map_of(quorum: object, status: object, tree: object, dump: object, df: object) -> dict[str, Any]:
    """Return what a record of the look ``map`` holds of the answers to these commands: what nobody reads would be copied every time."""
    return {
        "status": _only(status, _STATUS),
        "tree": [_only(one, _NODE) for one in _rows(tree, "nodes", "stray")],
        "dump": _dumped(dump),
        "quorum": quorum,
        "df": _only(df, ("stats", "pools")),
    }


def _moves(answers: Mapping[str, Any]) -> bool:
    """Tell whether some placement group is in another state than clean, by the answer to `status`."""
    return any("clean" not in state for state in _states(answers))


def _stands(answers: Mapping[str, Any]) -> bool:
    """Tell whether some placement group serves no I/O, or nobody knows whether it does."""
    return any("active" not in state.split("+") or "stale" in state.split("+") for state in _states(answers))


def _states(answers: Mapping[str, Any]) -> list[str]:
    groups = _rows(_only(answers.get("status"), ("pgmap",)).get("pgmap"), "pgs_by_state")
    return [str(row.get("state_name")) for row in groups]


def _rows(answer: object, *names: str) -> list[dict[str, Any]]:
    found = [answer.get(name) for name in names] if isinstance(answer, dict) else []
    return [row for rows in found if isinstance(rows, list) for row in rows if isinstance(row, dict)]


def _only(answer: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Return these of an answer's fields."""
    return {name: answer[name] for name in names if name in answer} if isinstance(answer, dict) else {}


def _dumped(answer: object) -> dict[str, Any]:
    return {
        **_only(answer, _FLAGS),
        "pools": [_only(one, _POOL) for one in _rows(answer, "pools")],
        "osds": [_only(one, _OSD) for one in _rows(answer, "osds")],
    }
