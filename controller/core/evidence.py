"""What an event says of which cell.

A cell is one node's answer to one question about one entity: does *pve1* reach *iscsi-portal/10.1.1.1:3260* as its way to
*iscsi-target/iqn…*? It is ``bad``, ``ok`` or ``unknown``. This module is the table from kinds of events to cells; what
cells mean together is :mod:`controller.core.hypothesis`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from events import block, cluster, iscsi, multipath, nfs
from events.base import Event, State
from events.envelope import Envelope
from events.nfs import NfsSilence

SECOND: Final = 1_000_000
"""Microseconds."""


class Answer(StrEnum):
    """A node's answer to one question about one entity."""

    BAD = "bad"
    OK = "ok"
    UNKNOWN = "unknown"


ROOT, PATHS, VOLUMES, STORAGES = 0, 1, 2, 3
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


ISCSI_NOTICES: Final = 12
"""NOP-Out is sent every 5 s and waited for 5 s (open-iscsi defaults), plus 2 s of logging: a living session's silence is proof."""
NFS_SOFT_LASTS: Final = 240
"""A soft mount's ``timed out`` has no closing line. Repeats come within a major timeout of 180 s while the server is away."""
PVESTATD_LASTS: Final = 90
"""pvestatd repeats ``is not online`` each 10 s cycle, which the agent thins to one in 30 s, and never says that it is over."""


def _subject(event: Event) -> str:
    return str(event.subject)


def _plain(layer: int = ROOT, lasts: int = 0) -> Callable[[Event], Iterable[Reading]]:
    def read(event: Event) -> Iterable[Reading]:
        bad = event.state is State.BAD
        return (Reading(_subject(event), event.aspect, Answer.BAD if bad else Answer.OK, layer=layer, lasts=lasts if bad else 0),)

    return read


def _target(name: str | None) -> str:
    return f"iscsi-target/{name}" if name else ""


def _session_bad(event: Event) -> Iterable[Reading]:
    assert isinstance(event, iscsi.IscsiConnectionFailed | iscsi.IscsiSessionExpired)
    silent = isinstance(event, iscsi.IscsiConnectionFailed) and event.code != _CLOSED_BY_TARGET
    yield Reading(_subject(event), "session", Answer.BAD, via=_target(event.target), notices=ISCSI_NOTICES, silent=silent)


_CLOSED_BY_TARGET: Final = 1020


def _session_ok(event: Event) -> Iterable[Reading]:
    assert isinstance(event, iscsi.IscsiConnectionRecovered | iscsi.IscsiSessionEstablished)
    target = _target(event.target)
    yield Reading(_subject(event), "session", Answer.OK, via=target, notices=ISCSI_NOTICES)
    yield Reading(_subject(event), "reach", Answer.OK)
    if target:
        yield Reading(target, "auth", Answer.OK)
        yield Reading(target, "service", Answer.OK)


def _nfs_unreachable(event: Event) -> Iterable[Reading]:
    assert isinstance(event, nfs.NfsServerUnreachable)
    lasts = NFS_SOFT_LASTS if event.how is NfsSilence.TIMED_OUT else 0
    yield Reading(_subject(event), "reach", Answer.BAD, lasts=lasts, silent=True)


def _nfs_reachable(event: Event) -> Iterable[Reading]:
    yield Reading(_subject(event), "reach", Answer.OK)
    yield Reading(_subject(event), "state", Answer.OK)


def _map(event: Event) -> Iterable[Reading]:
    subject = _subject(event)
    redundancy = Answer.OK if isinstance(event, multipath.MultipathMapRestored) else Answer.BAD
    paths = Answer.BAD if isinstance(event, multipath.MultipathMapLost) else Answer.OK
    yield Reading(subject, "redundancy", redundancy, layer=PATHS)
    yield Reading(subject, "paths", paths, layer=PATHS)


def _nothing(_: Event) -> Iterable[Reading]:
    return ()


Read = Callable[[Event], Iterable[Reading]]

_READERS: Final[dict[type[Event], Read]] = {
    nfs.NfsServerUnreachable: _nfs_unreachable,
    nfs.NfsServerReachable: _nfs_reachable,
    nfs.NfsStateFailed: _plain(lasts=NFS_SOFT_LASTS),
    nfs.NfsHandleStale: _plain(lasts=900),
    nfs.NfsExportDenied: _plain(lasts=PVESTATD_LASTS),
    nfs.NfsMountFailed: _plain(layer=STORAGES, lasts=PVESTATD_LASTS),
    iscsi.IscsiConnectionFailed: _session_bad,
    iscsi.IscsiSessionExpired: _session_bad,
    iscsi.IscsiConnectionRecovered: _session_ok,
    iscsi.IscsiSessionEstablished: _session_ok,
    # Single paths are context: their map's count says the same and cannot be left behind by a removed disk.
    multipath.MultipathPathFailed: _nothing,
    multipath.MultipathPathRestored: _nothing,
    multipath.MultipathMapDegraded: _map,
    multipath.MultipathMapLost: _map,
    multipath.MultipathMapRestored: _map,
    multipath.MultipathMapUsable: lambda event: [Reading(_subject(event), "paths", Answer.OK, layer=PATHS)],
    block.LvmVgMissing: _plain(layer=VOLUMES, lasts=PVESTATD_LASTS),
    block.LvmVgComplete: _plain(layer=VOLUMES),
    block.ScsiLunVanished: _plain(layer=PATHS),
    block.ScsiLunPresent: _plain(layer=PATHS),
    cluster.StorageInactive: _plain(layer=STORAGES, lasts=PVESTATD_LASTS),
    cluster.StorageActive: _plain(layer=STORAGES),
}
_PLAIN: Final = _plain()
_QUORUM: Final = frozenset({cluster.QuorumLost, cluster.QuorumRegained})


def readings(envelope: Envelope, event: Event) -> Iterable[Reading]:
    """Return what an envelope's event says of its node's cells; nothing for context."""
    if event.state is State.INFO:
        return ()
    kind = type(event)
    if kind in _QUORUM:
        # Each node reports its own quorum, but it is the cluster's: several nodes' loss is one fault.
        answer = Answer.BAD if event.state is State.BAD else Answer.OK
        return (Reading(f"cluster/{envelope.cluster}", event.aspect, answer),)
    return _READERS.get(kind, _PLAIN)(event)


def forgotten(event: Event) -> tuple[str, str] | None:
    """Return (portal, target) of a session that was closed: nothing is known of that way any more."""
    if type(event) is iscsi.IscsiSessionClosed:
        return _subject(event), _target(event.target)
    return None
