"""What happens in the laboratory, with the truth: what breaks, who must say what, how soon, and what the incident is called.

A row is a failure mode of ``DESIGN.md`` §2. Times count from the command that breaks it, or where the row says so from the moment at which
a node can first know (a rescan), to the controller's own store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from tests.lab import faults
from tests.lab.faults import Fault
from tests.lab.site import NAME, PORTALS, SERVER, TARGET, Site

ALL: Final = ""
"""Every node."""
FIRST: Final = "pve1"
"""The node that one-node faults hit."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A node must say ``bad`` of a subject, and one of ``ok`` of the same after the repair. Kinds; the subject may be any of several."""

    subject: tuple[str, ...]
    bad: tuple[str, ...]
    ok: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault. ``nodes`` must see it; ``limit``: seconds until the last of them has told the controller, None where none is set.

    What has no ``cause`` breaks nothing that Faultline names: while it lasts no incident may come of it, and no node may say ``bad``.
    """

    row: str
    title: str
    fault: Fault
    nodes: tuple[str, ...]
    sign: Sign
    limit: float | None
    cause: str
    entity: str
    clears: float = 120
    """Seconds that the signs have to clear in after the repair."""
    short: bool = False
    """Whether it is one of the few that continuous integration runs."""


_SERVER: Final = Sign((f"nfs-server/{SERVER}",), ("nfs.server.unreachable",), ("nfs.server.reachable",))
_NAME: Final = Sign((f"nfs-server/{NAME}",), ("nfs.name.unresolved",), ("nfs.name.resolved",))
_PORTALS: Final = tuple(f"iscsi-portal/{one}" for one in PORTALS)


_LOGGED_IN: Final = ("iscsi.login.accepted", "iscsi.connection.recovered", "iscsi.session.established")


_NFS_BAD: Final = (
    "nfs.server.unreachable", "nfs.mount.unresponsive", "nfs.export.denied", "nfs.handle.stale", "nfs.mount.read_only", "nfs.mount.failed",
)  # fmt: skip


def _export(share: str, bad: str, ok: str) -> Sign:
    server = NAME if share == "iso" else SERVER
    return Sign((f"nfs-export/{server}:/export/{share}",), (bad,), (ok,))


def _portals(*portals: str) -> Sign:
    return Sign(
        portals,
        ("iscsi.portal.unreachable", "iscsi.connection.failed"),
        ("iscsi.portal.reachable", "iscsi.connection.recovered"),
    )


def scenarios(site: Site) -> list[Scenario]:
    """Return all scenarios. Those that give one and the same incident lie far apart: what breaks again soon is told as a relapse."""
    found = [*_nfs(site), *_iscsi(site), *_luns(site)]
    before: Counter[tuple[str, str]] = Counter()
    rounds: list[tuple[int, Scenario]] = []
    for one in found:
        rounds.append((before[one.cause, one.entity], one))
        before[one.cause, one.entity] += 1
    return [one for _, one in sorted(rounds, key=itemgetter(0))]


def _nfs(site: Site) -> Iterator[Scenario]:
    every, one = tuple(site.nodes), (FIRST,)
    server, export = f"nfs-server/{SERVER}", f"nfs-export/{SERVER}:/export/vm"
    yield Scenario("N1", "NFS service stopped", faults.service_stopped(), every, _SERVER, 5, "nfs-server-down", server, short=True)
    yield Scenario("N1", "NFS server swallows packets", faults.server_silent(), every, _SERVER, 5, "nfs-server-down", server)
    yield Scenario("N2", "name server stopped", faults.name_server_stopped(), every, _NAME, 15, "nfs-name-unresolved", f"nfs-server/{NAME}")
    yield Scenario("N2", "name server silent", faults.name_server_silent(), every, _NAME, 15, "nfs-name-unresolved", f"nfs-server/{NAME}")
    yield Scenario("N3", "one node cut from the server", faults.node_cut(FIRST), one, _SERVER, 5, "node-storage-network", f"node/{FIRST}")
    # knfsd calls the handles of a client that is no longer in its list stale; other servers deny.
    denied = Sign((export,), ("nfs.export.denied", "nfs.handle.stale"), ("nfs.export.granted", "nfs.handle.valid"))
    yield Scenario(
        "N4", "export denied to one node", faults.export_denied(site, FIRST, "vm"), one, denied, 15, "nfs-export-denied", export, short=True
    )
    stale = _export("iso", "nfs.handle.stale", "nfs.handle.valid")
    yield Scenario(
        "N5", "export's directory replaced", faults.export_replaced(site, "iso"), every, stale, 15, "nfs-stale-handle",
        f"nfs-export/{NAME}:/export/iso",
    )  # fmt: skip
    # An export that is full answers as well as ever: whoever calls it dead sends the administrator the wrong way.
    quiet = Sign((server, export), _NFS_BAD, ())
    yield Scenario("full", "export full, not to be mistaken for dead", faults.filled(list(site.nodes), "vm"), every, quiet, None, "", "")
    slow = _export("vm", "nfs.latency.high", "nfs.latency.normal")
    yield Scenario("N6", "60 ms more for each answer", faults.slow(60), every, slow, None, "nfs-slow", server, clears=180)


def _iscsi(site: Site) -> Iterator[Scenario]:
    every, one = tuple(site.nodes), (FIRST,)
    yield Scenario(
        "I1", "one portal silent", faults.portal_silent(PORTALS[0]), every, _portals(_PORTALS[0]), 12, "iscsi-portal-down", _PORTALS[0],
        short=True,
    )  # fmt: skip
    rejected = Sign(
        (f"iscsi-target/{TARGET}", *_PORTALS),
        ("iscsi.login.rejected",),
        _LOGGED_IN,
    )
    target = f"iscsi-target/{TARGET}"
    yield Scenario(
        "I2", "CHAP secret rotated on the target", faults.secret_rotated(site), every, rejected, 5, "iscsi-auth-rejected", target,
        short=True,
    )  # fmt: skip
    yield Scenario("I2", "wrong CHAP secret at login", faults.login_refused(FIRST), one, rejected, 5, "iscsi-auth-rejected", target)
    yield Scenario("I4", "target refuses", faults.target_refuses(), every, _portals(*_PORTALS), 5, "iscsi-target-down", target)
    yield Scenario("I4", "target silent", faults.target_silent(), every, _portals(*_PORTALS), 12, "iscsi-target-down", target)


def _luns(site: Site) -> Iterator[Scenario]:
    every, one = tuple(site.nodes), (FIRST,)
    lun = f"lun/{site.wwids[0]}"
    swapped = Sign((lun,), ("multipath.wwid.changed", "scsi.lun.remapped"), ("multipath.wwid.confirmed", "scsi.lun.confirmed"))
    yield Scenario("I3", "LUN numbers swapped", faults.luns_swapped(site), every, swapped, 5, "lun-remapped", lun, short=True)
    gone = Sign(
        (lun,),
        ("scsi.lun.vanished", "multipath.map.lost", "multipath.map.degraded"),
        ("scsi.lun.present", "multipath.map.usable", "multipath.map.restored"),
    )
    yield Scenario("I3", "LUN unmapped for one node", faults.lun_unmapped(FIRST, 0), one, gone, 5, "all-paths-down", lun)
    cloned = Sign((lun,), ("multipath.identity.conflict",), ("multipath.identity.unique",))
    yield Scenario("I5", "another disk with LUN 0's identity", faults.wwid_cloned(site), every, cloned, None, "lun-wwid-conflict", lun)
    missing = Sign(("vg/vg-san",), ("lvm.vg.missing",), ("lvm.vg.complete",))
    yield Scenario("I6", "volume group missing on one node", faults.group_gone(site, FIRST), one, missing, None, "vg-missing", "vg/vg-san")
