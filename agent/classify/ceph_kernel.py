"""Lines of the kernel's Ceph client: krbd disks, containers on RBD, CephFS mounts. A guest on librbd leaves none.

Texts: net/ceph/osdmap.c (``osdmap_info``, since Linux 6.1 with the cluster's fsid; before that nobody can tell which cluster is meant).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.ceph import CephOsdDown, CephOsdUp
from events.entity import Entity, EntityKind


def _osd(line: Line, match: re.Match[str]) -> Iterator[Event]:
    subject = Entity(EntityKind.CEPH_OSD, f"{match['fsid']}/{int(match['osd'])}")
    kind = CephOsdDown if match["state"] == "down" else CephOsdUp
    yield kind(subject=subject, seen=line.seen())


KERNEL: Final[tuple[Rule, ...]] = (
    rule("CEPH-K01", "libceph (", r"libceph \((?P<fsid>[0-9a-f-]{36}) e\d+\): osd(?P<osd>\d{1,9}) (?P<state>down|up)", _osd),
)
"""Rules for ``_TRANSPORT=kernel``."""
