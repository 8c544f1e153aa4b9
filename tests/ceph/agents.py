"""Agents of three nodes beside one real Ceph cluster, a controller, and whoever is called; all real processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.ceph.cluster import CephCluster
from tests.ceph.layout import NODES
from tests.processes import AGENT, CONTROLLER, Site
from tests.receivers import HttpReceiver
from tests.stored import Stored

_AGENT: Final = """\
[ceph]
conf = "{place}/{node}.conf"
keyring = "{place}/{node}.keyring"
"""
_CONTROLLER: Final = """\
[incidents]
recovery_hold = HOLD  # 20 s by default; every scenario waits for it once
[[webhook]]
name = "duty"
url = "URL"
"""


class Watched:
    """A cluster and those that watch it. A context manager: on entry all agents have told what they see; ended on exit.

    Each node has a copy of ceph.conf and of the keyring below ``place``, so that one can be spoilt for itself.

    :param hold: seconds that a fault must be over before the controller calls it resolved.
    """

    def __init__(self, cluster: CephCluster, place: Path, hold: float = 10.0) -> None:
        place.mkdir(parents=True)
        self.cluster, self.place, self._hold = cluster, place, hold
        self.duty = HttpReceiver()
        self.stored = Stored(place / "faultline.db")
        self._site: Site | None = None

    @property
    def site(self) -> Site:
        """The agents and the controller."""
        assert self._site is not None, "not entered"
        return self._site

    def __enter__(self) -> Self:
        """Start everything."""
        self.duty.start()
        controller = CONTROLLER + _CONTROLLER.replace("URL", self.duty.url).replace("HOLD", str(self._hold))
        self._site = Site(self.place, tuple(NODES), agent=AGENT + _AGENT, controller=controller, groups=NODES)
        for node in NODES:
            self.restore(node)
        try:
            self._site.start("controller")
            for node in NODES:
                self._site.start(node)
            for node in NODES:
                self.until_watching(node)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """End everything."""
        self.site.end()
        self.duty.stop()

    def restore(self, node: str) -> None:
        """Give a node its configuration and its key, as they were."""
        shutil.copy(self.cluster.layout.conf, self.place / f"{node}.conf")
        shutil.copy(self.cluster.layout.client_keyring(), self.place / f"{node}.keyring")

    def until_watching(self, node: str, cursor: int = 0, seconds: float = 60.0) -> None:
        """Wait until a node's agent has told, behind a cursor of the store, that the monitors answer it."""
        self.until_told("ceph.quorum.formed", cursor, (node,), seconds)

    def until_told(self, kind: str, cursor: int, nodes: tuple[str, ...], seconds: float = 60.0) -> None:
        """Wait until all these nodes' agents have told an event of a kind, behind a cursor of the store."""

        def told() -> bool:
            return set(nodes) <= {one.node for one in self.stored.since(cursor)[0] if one.kind == kind}

        self.site.until(told, f"{kind} told by {', '.join(nodes)}", seconds)

    def until_incident(self, cause: str, change: str, cursor: int, seconds: float = 90.0) -> None:
        """Wait until the controller has told a change of an incident, behind a cursor of the store."""

        def told() -> bool:
            return any((one.report.cause, one.report.change) == (cause, change) for one in self.stored.since(cursor)[1])

        self.site.until(told, f"{cause} {change}", seconds)
