"""Things that broke and were then taken away: nobody ever says that they are well, and their incident ends all the same."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import pytest

from controller.core.evidence import SECOND
from controller.core.report import Change, IncidentReport
from events.agent import AgentSourceFailed, AgentSourceWorks
from events.base import Event, Seen, Source
from events.envelope import Envelope
from events.host import Mount, NodeMounts
from events.iscsi import IscsiPortalUnreachable
from events.multipath import MultipathMapLost
from events.nfs import NfsMountResponsive, NfsMountUnresponsive, NfsServerUnreachable, NfsSilence
from faultline.timeline import Timeline

T0 = 1_795_000_000 * SECOND
SERVER, EXPORT = "nfs-server/nas", "nfs-export/nas:/a"
PORTAL, LUN = "iscsi-portal/10.1.1.1:3260", "lun/36001405aaaa"
KERNEL, SYSTEM = Seen(source=Source.JOURNALD, excerpt="seen"), Seen(source=Source.HOST)
STUCK = NfsServerUnreachable(subject=SERVER, seen=KERNEL, how=NfsSilence.STILL_TRYING)


def of(source: Source) -> Seen:
    """Return what a probe says that it saw."""
    return Seen(source=source, excerpt="seen")


def changes(events: Iterable[tuple[int, Event]], until: int) -> list[tuple[int, Change]]:
    """Return when what was told, in seconds, of what node a of a, b observed; b is well."""
    timeline, told = Timeline("c", ["a", "b"]), list[IncidentReport]()
    for seq, (at, event) in enumerate(sorted(events, key=lambda one: one[0]), 1):
        told += timeline.feed(Envelope("c", "a", "boot", "s", seq, T0 + at * SECOND, at * SECOND, event))
    told += timeline.advance(T0 + until * SECOND)
    return [(_seconds(report.at), report.change) for report in told]


def _seconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) - T0 // SECOND


def mounted(*sources: str) -> NodeMounts:
    """Return a picture of a node's mounts."""
    mounts = tuple(Mount(source=one, target=f"/mnt/pve/{number}", type="nfs4") for number, one in enumerate(sources))
    return NodeMounts(subject="node/a", seen=SYSTEM, mounted=mounts)


ENDS: dict[str, list[tuple[int, Event]]] = {
    "mounted anew": [(400, NfsMountResponsive(subject=EXPORT, seen=of(Source.NFS), mountpoint="/mnt/pve/nas"))],
    "mounted no more": [(10, mounted("nas:/a", "other:/b")), (400, mounted("other:/b"))],
}


@pytest.mark.parametrize("end", ENDS)
def test_a_mount_that_was_torn_down_is_silent_no_more(end: str) -> None:
    """The kernel's "still trying" ends when the server's mount answers again or is gone: "OK" comes only to who still waits."""
    found = changes([(20, STUCK), *ENDS[end]], 1000)

    assert [change for _, change in found] == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]
    assert 400 <= found[1][0] <= 402


def test_another_mount_of_the_server_that_still_hangs_stays_told() -> None:
    """One export of a silent server answers again and another does not: that one's own word keeps the incident open."""
    hangs: list[tuple[int, Event]] = [
        (at, NfsMountUnresponsive(subject="nfs-export/nas:/b", seen=of(Source.NFS), mountpoint="/b", reason="no answer"))
        for at in range(20, 1000, 60)
    ]
    found = changes([(20, STUCK), *hangs, (400, ENDS["mounted anew"][0][1])], 990)

    assert [change for _, change in found] == [Change.OPENED]


def test_an_answer_from_before_ends_nothing() -> None:
    """A mount's answer that was observed before the kernel's word, and comes late, does not take it back."""
    timeline = Timeline("c", ["a", "b"])
    early = NfsMountResponsive(subject=EXPORT, seen=of(Source.NFS), mountpoint="/a")
    told = [*timeline.feed(Envelope("c", "a", "boot", "s", 1, T0 + 20 * SECOND, 0, STUCK))]
    told += timeline.feed(Envelope("c", "a", "boot", "s", 2, T0 + 10 * SECOND, 0, early), at=T0 + 21 * SECOND)
    told += timeline.advance(T0 + 600 * SECOND)

    assert [report.change for report in told] == [Change.OPENED]


def test_a_portal_that_nobody_looks_at_any_more_is_over() -> None:
    """A word of iscsid's about a portal that is probed lasts as long as a probe's: when its storage was removed the incident ends."""
    found = changes(
        [
            (19, IscsiPortalUnreachable(subject=PORTAL, seen=of(Source.ISCSI), reason="timed out")),
            (20, IscsiPortalUnreachable(subject=PORTAL, seen=KERNEL, reason="connect failed (No route to host)")),
        ],
        1000,
    )

    assert [change for _, change in found] == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]
    assert 220 <= found[1][0] <= 225


def test_a_map_that_was_flushed_is_over() -> None:
    """A word of multipathd's about a map that lost its last path ends when the map is there no more."""
    found = changes(
        [
            (20, MultipathMapLost(subject=LUN, seen=KERNEL, map="mpatha", expected=2)),
            (21, MultipathMapLost(subject=LUN, seen=of(Source.MULTIPATH), map="mpatha", expected=2)),
        ],
        1000,
    )

    assert [change for _, change in found][-1] == Change.RESOLVED


def test_what_nobody_probes_lasts_until_its_end_is_told() -> None:
    """In journals alone a word holds until its contrary comes: nobody else looks."""
    found = changes([(20, IscsiPortalUnreachable(subject=PORTAL, seen=KERNEL, reason="connect failed (No route to host)"))], 3000)

    assert [change for _, change in found] == [Change.OPENED]


def test_a_probe_that_fails_ends_nothing() -> None:
    """While the source that looks at a portal fails, its silence does not mean that the portal is well again."""
    failed = AgentSourceFailed(subject="node/a", seen=Seen(source=Source.AGENT), source="iscsi", reason="hangs")
    works = AgentSourceWorks(subject="node/a", seen=Seen(source=Source.AGENT), source="iscsi")
    bad = IscsiPortalUnreachable(subject=PORTAL, seen=of(Source.ISCSI), reason="timed out")
    open_ = [one for one in _of_portal([(20, bad), (100, failed)], 2000) if one is not Change.REVISED]
    ended = [one for one in _of_portal([(20, bad), (100, failed), (1000, works)], 2000) if one is not Change.REVISED]

    assert open_ == [Change.OPENED]
    assert ended == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]


def _of_portal(events: list[tuple[int, Event]], until: int) -> list[Change]:
    timeline, told = Timeline("c", ["a", "b"]), list[IncidentReport]()
    for seq, (at, event) in enumerate(events, 1):
        told += timeline.feed(Envelope("c", "a", "boot", "s", seq, T0 + at * SECOND, at * SECOND, event))
    told += timeline.advance(T0 + until * SECOND)
    return [report.change for report in told if report.entity == PORTAL or report.cause == "iscsi-portal-down"]
