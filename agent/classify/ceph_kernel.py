"""Lines of the kernel's Ceph client: krbd disks, containers on RBD, CephFS mounts. A guest on librbd leaves none.

Texts: net/ceph/osdmap.c (``osdmap_info``, since Linux 6.1 with the cluster's fsid; before that nobody can tell which cluster is meant);
net/ceph/mon_client.c for sessions with monitors, which name an address and no cluster: the controller knows whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.ceph import CephClientSession, CephOsdDown, CephOsdUp
from events.entity import Entity, EntityKind


def _osd(line: Line, match: re.Match[str]) -> Iterator[Event]:
    subject = Entity(EntityKind.CEPH_OSD, f"{match['fsid']}/{int(match['osd'])}")
    kind = CephOsdDown if match["state"] == "down" else CephOsdUp
    yield kind(subject=subject, seen=line.seen())


def _session(line: Line, match: re.Match[str]) -> Iterator[Event]:
    node = Entity(EntityKind.NODE, line.node)
    yield CephClientSession(
        subject=node, seen=line.seen(), to="lost" if match["state"].startswith("lost") else "established", address=match["address"]
    )


KERNEL: Final[tuple[Rule, ...]] = (
    rule("CEPH-K01", "libceph (", r"libceph \((?P<fsid>[0-9a-f-]{36}) e\d+\): osd(?P<osd>\d{1,9}) (?P<state>down|up)", _osd),
    rule(
        "CEPH-K03",
        "libceph: mon",
        r"libceph: mon\d{1,9} \(\d\)(?P<address>\S{1,64}) session (?P<state>lost, hunting for new mon|established)",
        _session,
    ),
)
"""Rules for ``_TRANSPORT=kernel``."""
