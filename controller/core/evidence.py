"""What an event says of which cell.

A cell is one node's answer to one question about one entity: does *pve1* reach *iscsi-portal/10.1.1.1:3260* as its way to
*iscsi-target/iqn…*? It is ``bad``, ``ok`` or ``unknown``. This module is the table from kinds of events to cells; what
cells mean together is :mod:`controller.core.inference`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from events import agent, block, ceph, cluster, definitions, iscsi, multipath, nfs
from events.base import Event, Source, State
from events.envelope import Envelope
from events.nfs import NfsSilence

SECOND: Final = 1_000_000
"""Microseconds."""


class Answer(StrEnum):
    """A node's answer to one question about one entity."""

    BAD = "bad"
    OK = "ok"
    UNKNOWN = "unknown"


ROOT, PATHS, VOLUMES, STORAGES, SYMPTOMS = range(5)
"""Layers of cells: a bad cell of a higher layer may only be the consequence of one of a lower layer on the same node."""


class Reading(NamedTuple):
    """What an event says of one cell. A tuple, for one is made of every event.

    ``via`` tells apart several ways to one entity (a portal's targets). ``lasts``: seconds after which a bad reading
    that is not renewed turns unknown, for senders that never report the end; 0 means until told otherwise.
    ``notices``: seconds within which this observer would have reported the contrary; None means that its silence
    proves nothing. ``silent``: the way was lost without an answer from the far end.
    """

    entity: str
    aspect: str
    answer: Answer
    via: str = ""
    layer: int = ROOT
    lasts: int = 0
    notices: int | None = None
    silent: bool = False
    planned: bool = False
    """An administrator meant it to be so."""


ISCSI_NOTICES: Final = 7
"""NOP-Out is sent every 5 s (open-iscsi default), each session's at a phase of its own: after one session's ping timed out all others'
have within 5 s and some for logging, or they live."""
MOUNT_NOTICES: Final = 13
"""Mounts are looked at each 10 s, jittered, and a fault is believed when it is seen again 2 s later."""
UNJOINED_LASTS: Final = 60
"""A session that is known by its number only is another one after each login."""
NFS_SOFT_LASTS: Final = 240
"""A soft mount's ``timed out`` has no closing line. Repeats come within a major timeout of 180 s while the server is away."""
KERNEL: Final = "kernel"
"""Way by which a node's kernel knows that an OSD is down or up."""
KERNEL_LASTS: Final = 3600
"""The kernel says once that an OSD is down, and nothing more once its client is gone or the OSD removed. After ten minutes Ceph takes the
OSD out; an hour later its data is elsewhere."""
_REMEMBERED: Final = 4096
"""Readings remembered for each form: a storm names the same few things again and again."""
PVESTATD_LASTS: Final = 90
"""pvestatd repeats ``is not online`` each 10 s cycle, which the agent thins to one in 30 s, and never says that it is over."""


Readings = tuple[Reading, ...]


def _subject(event: Event) -> str:
    return str(event.subject)


def _plain(layer: int = ROOT, lasts: int = 0) -> Callable[[Event], Readings]:
    @lru_cache(_REMEMBERED)
    def made(subject: str, aspect: str, state: State) -> Readings:
        bad = state is State.BAD
        return (Reading(subject, aspect, Answer.BAD if bad else Answer.OK, layer=layer, lasts=lasts if bad else 0),)

    return lambda event: made(_subject(event), event.aspect, event.state)


def _target(name: str | None) -> str:
    return f"iscsi-target/{name}" if name else ""


def _session_failed(event: Event) -> Readings:
    assert isinstance(event, iscsi.IscsiConnectionFailed)
    return _session_bad(_subject(event), event.target, event.code != _CLOSED_BY_TARGET)


def _session_expired(event: Event) -> Readings:
    assert isinstance(event, iscsi.IscsiSessionExpired)
    return _session_bad(_subject(event), event.target, False)


_CLOSED_BY_TARGET: Final = 1020


@lru_cache(_REMEMBERED)
def _session_bad(portal: str, target: str | None, silent: bool) -> Readings:
    # One whose portal nobody could tell may never be heard of again.
    lasts = UNJOINED_LASTS if portal.startswith("iscsi-session/") else 0
    return (Reading(portal, "session", Answer.BAD, via=_target(target), lasts=lasts, notices=ISCSI_NOTICES, silent=silent),)


def _session_ok(event: Event) -> Readings:
    assert isinstance(event, _LOGGED_IN)
    # Who looks at sessions asks their portals as well: a session that is still there says nothing new of its portal.
    is_looked_at = type(event) is iscsi.IscsiSessionEstablished and event.seen.source is Source.ISCSI
    return _logged_in(_subject(event), _target(event.target), reaches=not is_looked_at)


_LOGGED_IN: Final = (iscsi.IscsiConnectionRecovered, iscsi.IscsiSessionEstablished)


@lru_cache(_REMEMBERED)
def _logged_in(portal: str, target: str, *, reaches: bool) -> Readings:
    session = Reading(portal, "session", Answer.OK, via=target, notices=ISCSI_NOTICES)
    found = (session, Reading(portal, "reach", Answer.OK)) if reaches else (session,)
    return (*found, Reading(target, "auth", Answer.OK), Reading(target, "service", Answer.OK)) if target else found


def _portal_unreachable(event: Event) -> Readings:
    assert isinstance(event, iscsi.IscsiPortalUnreachable)
    return (Reading(_subject(event), "reach", Answer.BAD, silent=not any(word in event.reason.lower() for word in _ANSWERED)),)


_ANSWERED: Final = ("refused", "reset")
"""What the C library (strerror(3)) and iscsid say of a connection that the far end turned away; without these nobody answered."""


def _nfs_unreachable(event: Event) -> Readings:
    assert isinstance(event, nfs.NfsServerUnreachable)
    if event.how not in _KERNELS:
        return (Reading(_subject(event), "reach", Answer.BAD, silent=event.how in _SILENT),)
    lasts = NFS_SOFT_LASTS if event.how is NfsSilence.TIMED_OUT else 0
    return (Reading(_subject(event), "reach", Answer.BAD, via=MOUNTS, lasts=lasts, silent=True),)


MOUNTS: Final = "mounts"
"""Way by which the kernel's mounts reach a server. It has a word of its own: a server may answer NULL and no request to its disks."""
_KERNELS: Final = frozenset({NfsSilence.STILL_TRYING, NfsSilence.TIMED_OUT})
_SILENT: Final = frozenset({NfsSilence.NO_REPLY, NfsSilence.NO_ROUTE})


def _nfs_reachable(event: Event) -> Readings:
    subject = _subject(event)
    if event.seen.source is Source.JOURNALD:
        return (Reading(subject, "reach", Answer.OK, via=MOUNTS), Reading(subject, "state", Answer.OK))
    return (Reading(subject, "reach", Answer.OK),)


def _handle_valid(event: Event) -> Readings:
    # The kernel's own "fileid changed" names no export, and nothing ever ends it: the server's is over when one of its exports is well.
    # One that is not has a word of its own.
    export = _subject(event)
    return (Reading(export, "handle", Answer.OK), Reading(f"nfs-server/{export_server(export)}", "handle", Answer.OK))


def _mount_hangs(event: Event) -> Readings:
    return (_of_mount(_subject(event), Answer.BAD),)


def _mount_answers(event: Event) -> Readings:
    return (_of_mount(_subject(event), Answer.OK),)


@lru_cache(_REMEMBERED)
def _of_mount(export: str, answer: Answer) -> Reading:
    # A server may answer NULL and no request to its disks, and one of its exports hang beside others that do not.
    return Reading(f"nfs-server/{export_server(export)}", "reach", answer, via=export, notices=MOUNT_NOTICES, silent=True)


def export_server(export: str) -> str:
    """Return the server of an export (an entity) as it is named there; of an IPv6 address without brackets, as servers are named."""
    return export.partition("/")[2].partition(":/")[0].strip("[]")


def _map_degraded(event: Event) -> Readings:
    return _map(_subject(event), Answer.BAD, Answer.OK)


def _map_lost(event: Event) -> Readings:
    return _map(_subject(event), Answer.BAD, Answer.BAD)


def _map_restored(event: Event) -> Readings:
    return _map(_subject(event), Answer.OK, Answer.OK)


@lru_cache(_REMEMBERED)
def _map(lun: str, redundancy: Answer, paths: Answer) -> Readings:
    return (Reading(lun, "redundancy", redundancy, layer=PATHS), Reading(lun, "paths", paths, layer=PATHS))


def _map_usable(event: Event) -> Readings:
    return (Reading(_subject(event), "paths", Answer.OK, layer=PATHS),)


def _nothing(_: Event) -> Readings:
    return ()


def _source(event: Event) -> Readings:
    assert isinstance(event, agent.AgentSourceFailed | agent.AgentSourceWorks)
    return (Reading(_subject(event), "source", Answer.BAD if event.state is State.BAD else Answer.OK, via=event.source),)


def _ceph_osd(event: Event) -> Readings:
    assert isinstance(event, ceph.CephOsdDown | ceph.CephOsdUp)
    if event.seen.source is Source.JOURNALD:
        # The kernel's client repeats what the map says, and not whether somebody meant it: proof beside the map, no fault beside it.
        bad = event.state is State.BAD
        lasts = KERNEL_LASTS if bad else 0
        return (Reading(_subject(event), "up", Answer.BAD if bad else Answer.OK, via=KERNEL, layer=SYMPTOMS, lasts=lasts),)
    via = f"ceph-host/{event.subject.key.partition('/')[0]}/{event.host}" if event.host else ""
    if isinstance(event, ceph.CephOsdUp):
        return (Reading(_subject(event), "up", Answer.OK, via=via),)
    return (Reading(_subject(event), "up", Answer.BAD, via=via, planned=event.planned),)


def _ceph_host(event: Event) -> Readings:
    assert isinstance(event, ceph.CephHostDown | ceph.CephHostUp)
    via = f"ceph-host/{event.subject.key.partition('/')[0]}/{event.within}" if event.within else ""
    if isinstance(event, ceph.CephHostUp):
        return (Reading(_subject(event), "up", Answer.OK, via=via),)
    return (Reading(_subject(event), "up", Answer.BAD, via=via, planned=event.planned),)


def _ceph_mon_down(event: Event) -> Readings:
    assert isinstance(event, ceph.CephMonDown)
    return (Reading(_subject(event), "up", Answer.BAD, planned=event.planned),)


def _ceph_mon_unreachable(event: Event) -> Readings:
    assert isinstance(event, ceph.CephMonUnreachable)
    return (Reading(_subject(event), "reach", Answer.BAD, silent=event.how in _CEPH_SILENT),)


_CEPH_SILENT: Final = frozenset({ceph.CephSilence.NO_REPLY, ceph.CephSilence.NO_ROUTE})


def _ceph_quorum_lost(event: Event) -> Readings:
    assert isinstance(event, ceph.CephQuorumLost)
    # A node that hears no monitor, or one only, which may be its own, cannot know whether they have a quorum: first of all it cannot hear
    # them.
    return (Reading(_subject(event), "quorum", Answer.BAD, layer=ROOT if event.reachable > 1 else PATHS),)


def _ceph_degraded(event: Event) -> Readings:
    assert isinstance(event, ceph.CephPgsDegraded)
    return (Reading(_subject(event), "redundancy", Answer.BAD, layer=STORAGES, planned=event.planned),)


def _ceph_slow(event: Event) -> Readings:
    assert isinstance(event, ceph.CephOpsSlow)
    return (Reading(_subject(event), "ops", Answer.BAD, layer=STORAGES, planned=event.planned),)


def _ceph_near(event: Event) -> Readings:
    entity = _subject(event)
    return (
        Reading(entity, "capacity", Answer.BAD),
        Reading(entity, "full", Answer.OK),
        *((Reading(entity, "full", Answer.OK, via="quota"),) if entity.startswith("ceph-pool/") else ()),
    )


def _ceph_full(event: Event) -> Readings:
    assert isinstance(event, ceph.CephFull)
    entity = _subject(event)
    if event.quota:
        return (Reading(entity, "full", Answer.BAD, via="quota"),)
    return (Reading(entity, "capacity", Answer.BAD), Reading(entity, "full", Answer.BAD))


def _ceph_room(event: Event) -> Readings:
    entity = _subject(event)
    both = (Reading(entity, "capacity", Answer.OK), Reading(entity, "full", Answer.OK))
    return (*both, Reading(entity, "full", Answer.OK, via="quota")) if entity.startswith("ceph-pool/") else both


def _ceph_check(event: Event) -> Readings:
    assert isinstance(event, ceph.CephCheckRaised)
    if not event.serious:
        return ()
    # A muted one is told apart: it is true, and nobody is to be called for it.
    return (Reading(_subject(event), "check", Answer.BAD, via=event.code, layer=SYMPTOMS, planned=event.muted),)


def _ceph_check_cleared(event: Event) -> Readings:
    assert isinstance(event, ceph.CephCheckCleared)
    return (Reading(_subject(event), "check", Answer.OK, via=event.code, layer=SYMPTOMS),)


Read = Callable[[Event], Readings]

_READERS: Final[dict[type[Event], Read]] = {
    nfs.NfsServerUnreachable: _nfs_unreachable,
    iscsi.IscsiPortalUnreachable: _portal_unreachable,
    nfs.NfsServerReachable: _nfs_reachable,
    nfs.NfsStateFailed: _plain(lasts=NFS_SOFT_LASTS),
    nfs.NfsHandleStale: _plain(lasts=900),
    nfs.NfsHandleValid: _handle_valid,
    nfs.NfsMountUnresponsive: _mount_hangs,
    nfs.NfsMountResponsive: _mount_answers,
    iscsi.IscsiSessionMissing: _plain(layer=STORAGES),
    iscsi.IscsiSessionPresent: _plain(layer=STORAGES),
    nfs.NfsExportDenied: _plain(lasts=PVESTATD_LASTS),
    nfs.NfsMountFailed: _plain(layer=STORAGES, lasts=PVESTATD_LASTS),
    iscsi.IscsiConnectionFailed: _session_failed,
    iscsi.IscsiSessionExpired: _session_expired,
    iscsi.IscsiConnectionRecovered: _session_ok,
    iscsi.IscsiSessionEstablished: _session_ok,
    # Single paths are context: their map's count says the same and cannot be left behind by a removed disk.
    multipath.MultipathPathFailed: _nothing,
    multipath.MultipathPathRestored: _nothing,
    multipath.MultipathMapDegraded: _map_degraded,
    multipath.MultipathMapLost: _map_lost,
    multipath.MultipathMapRestored: _map_restored,
    multipath.MultipathMapUsable: _map_usable,
    block.LvmVgMissing: _plain(layer=VOLUMES, lasts=PVESTATD_LASTS),
    block.LvmVgComplete: _plain(layer=VOLUMES),
    block.ScsiLunVanished: _plain(),  # its target was reached, and says so
    block.ScsiLunPresent: _plain(),
    agent.AgentSourceFailed: _source,
    agent.AgentSourceWorks: _source,
    ceph.CephOsdDown: _ceph_osd,
    ceph.CephOsdUp: _ceph_osd,
    ceph.CephHostDown: _ceph_host,
    ceph.CephHostUp: _ceph_host,
    ceph.CephMonDown: _ceph_mon_down,
    ceph.CephMonUnreachable: _ceph_mon_unreachable,
    ceph.CephQuorumLost: _ceph_quorum_lost,
    ceph.CephPgsInactive: _plain(layer=VOLUMES),
    ceph.CephPgsActive: _plain(layer=VOLUMES),
    ceph.CephPgsDegraded: _ceph_degraded,
    ceph.CephPgsClean: _plain(layer=STORAGES),
    ceph.CephRecoverySaturated: _plain(layer=PATHS),
    ceph.CephRecoveryCalm: _plain(layer=PATHS),
    ceph.CephOpsSlow: _ceph_slow,
    ceph.CephOpsNormal: _plain(layer=STORAGES),
    ceph.CephNearFull: _ceph_near,
    ceph.CephFull: _ceph_full,
    ceph.CephCapacityNormal: _ceph_room,
    ceph.CephCheckRaised: _ceph_check,
    ceph.CephCheckCleared: _ceph_check_cleared,
    cluster.StorageInactive: _plain(layer=STORAGES, lasts=PVESTATD_LASTS),
    cluster.StorageActive: _plain(layer=STORAGES),
}
_PLAIN: Final = _plain()
_QUORUM: Final = frozenset({cluster.QuorumLost, cluster.QuorumRegained})


def readings(envelope: Envelope, event: Event) -> Readings:
    """Return what an envelope's event says of its node's cells; nothing for context."""
    if event.state is State.INFO:
        return ()
    kind = type(event)
    if kind in _QUORUM:
        # Each node reports its own quorum, but it is the cluster's: several nodes' loss is one fault.
        answer = Answer.BAD if event.state is State.BAD else Answer.OK
        return (Reading(f"cluster/{envelope.cluster}", event.aspect, answer),)
    found = _READERS.get(kind, _PLAIN)(event)
    return _probed(found) if event.seen.source in PROBES else found


PROBES: Final = frozenset({Source.NFS, Source.ISCSI, Source.MULTIPATH, Source.LVM, Source.CEPH})
"""Sources that look all the time: that they say nothing means something."""
PROBE_LASTS: Final = 200
"""What a probe finds bad it says again each minute; after three minutes without a word the thing is looked at no more."""
_NOTICES: Final[dict[tuple[str, str], int]] = {
    ("nfs-server", "reach"): 3,
    ("nfs-server", "name"): 8,
    ("nfs-server", "latency"): 25,
    ("nfs-export", "latency"): 25,
    ("nfs-export", "export"): MOUNT_NOTICES,
    ("nfs-export", "handle"): MOUNT_NOTICES,
    ("nfs-server", "handle"): MOUNT_NOTICES,
    ("iscsi-portal", "reach"): 7,
    ("ceph-mon", "reach"): 9,
    ("ceph", "quorum"): 9,
    ("iscsi-portal", "session"): ISCSI_NOTICES,
}
"""Seconds from the first node's report of a fault until every node that looks must have noticed it, by kind of entity and aspect.

Less than an interval and a deadline: the first report itself took a deadline.
"""
_PROBE_NOTICES: Final = 10


@lru_cache(_REMEMBERED)
def _probed(found: Readings) -> Readings:
    return tuple(
        one._replace(
            notices=one.notices or _NOTICES.get((one.entity.partition("/")[0], one.aspect), _PROBE_NOTICES),
            lasts=one.lasts or (PROBE_LASTS if one.answer is Answer.BAD else 0),
        )
        for one in found
    )


def overtaken(event: Event) -> tuple[str, str, str] | None:
    """Return (entity, aspect, way) of a bad word that nobody will take back, and that an event shows to be no longer true.

    The kernel says that a server answers again only to a request that still waits. After ``umount -f`` none does.
    """
    if type(event) is nfs.NfsMountResponsive:
        return f"nfs-server/{export_server(_subject(event))}", "reach", MOUNTS
    return None


def outranked(event: Event) -> tuple[str, str, str] | None:
    """Return (entity, aspect, way) of what any node's kernel said of an OSD: the cluster's map knows better that it is up, or removed."""
    is_of_map = event.seen.source is not Source.JOURNALD
    if is_of_map and (type(event) is ceph.CephOsdUp or (type(event) is ceph.CephOsdMoved and event.to == "removed")):
        return _subject(event), "up", KERNEL
    return None


def forgotten(event: Event) -> tuple[str, str, str] | None:
    """Return (entity, aspect, way) of what is no more: nothing is known of it then, neither good nor bad."""
    if type(event) is iscsi.IscsiSessionClosed:
        return _subject(event), "session", _target(event.target)
    if type(event) is ceph.CephOsdMoved and event.to == "removed":
        return _subject(event), "up", f"ceph-host/{event.subject.key.partition('/')[0]}/{event.host}" if event.host else ""
    if type(event) is definitions.CephHostGone:
        return _subject(event), "up", f"ceph-host/{event.subject.key.partition('/')[0]}/{event.within}" if event.within else ""
    return None
