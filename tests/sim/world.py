"""What is broken in a virtual cluster. A fault is a set of marks; several faults may set the same one.

Marks, as tuples: ``("silent" | "refused", ENTITY)`` a server or portal, ``("subnet", CIDR)``, ``("cut", NODE, CIDR)`` and
``("cut", NODE, ADDRESS)`` a node's way, ``("unresolved", NODE, SERVER)``, ``("denied" | "stale" | "slow", NODE, EXPORT)``,
``("rejected" | "off", NODE, IQN)``, ``("unmapped" | "swapped" | "conflict", NODE, WWID)``, ``("vg", NODE, VG)``,
``("osd", NUMBER)``, ``("mon", NODE)``, ``("ceph", WHAT)``, ``("config",)``, ``("pmxcfs" | "pvestatd" | "agent" | "node" | "fence", NODE)``,
``("quorum",)`` corosync's network, ``("split", NODE)`` the nodes on one side of it, ``("ha", SID)``, ``("flag", FLAG)`` of Ceph's OSD map.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tests.sim.plan import Plan, Portal, Server

Mark = tuple[str, ...]
SILENT, REFUSED = "silent", "refused"
"""How something does not answer: packets are lost, or the connection is refused."""


class World:
    """The marks that are set now, and what follows for a node's ways."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._marks: Counter[Mark] = Counter()

    def set(self, marks: Iterable[Mark]) -> None:
        """Break something."""
        self._marks.update(marks)

    def clear(self, marks: Iterable[Mark]) -> None:
        """Repair something; what another fault broke as well stays broken."""
        self._marks.subtract(marks)
        for mark in [mark for mark, times in self._marks.items() if times <= 0]:
            del self._marks[mark]

    @property
    def is_well(self) -> bool:
        """Tell whether nothing at all is broken."""
        return not self._marks

    def has(self, *mark: str) -> bool:
        """Tell whether something is broken."""
        return mark in self._marks

    def way(self, node: str, address: str, subnet: str) -> str:
        """Return ``silent`` when a node's packets to an address are lost, else nothing."""
        marks = self._marks
        lost = ("subnet", subnet) in marks or ("cut", node, subnet) in marks or ("cut", node, address) in marks
        return SILENT if lost else ""

    def service(self, node: str, one: Server | Portal) -> str:
        """Return how a server or portal fails to answer a node: ``silent``, ``refused``, or nothing when it answers."""
        if not self._marks:
            return ""
        return self.way(node, one.address, one.subnet) or self._own(one)

    def _own(self, one: Server | Portal) -> str:
        if (SILENT, one.entity) in self._marks:
            return SILENT
        return REFUSED if (REFUSED, one.entity) in self._marks else ""
