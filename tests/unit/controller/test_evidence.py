"""What events say of which cells."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.evidence import MOUNT_NOTICES, UNJOINED_LASTS, Answer, Reading, readings
from controller.core.report import IncidentReport
from events.base import Event, Seen, Source
from events.entity import entity
from events.envelope import Envelope
from events.iscsi import IscsiConnectionFailed, IscsiPortalUnreachable
from events.multipath import MultipathMapLost, MultipathMapRestored
from events.nfs import NfsHandleValid, NfsMountResponsive, NfsMountUnresponsive, NfsServerUnreachable, NfsSilence
from faultline.timeline import Timeline

EXPORT = entity("nfs-export/nas.example:/export/vm")
SERVER = "nfs-server/nas.example"
PROBE = Seen(source=Source.NFS)
JOURNAL = Seen(source=Source.JOURNALD)


def read(event: Event) -> tuple[Reading, ...]:
    """Return what an event of pve1 says."""
    return readings(Envelope("lab", "pve1", "boot", "stream", 1, 0, 0, event), event)


def test_a_mount_that_hangs_is_a_way_to_its_server_of_its_own() -> None:
    """One export may hang beside another of the same server: each has its word on reaching the server, and time to notice."""
    (hangs,) = read(NfsMountUnresponsive(subject=EXPORT, seen=PROBE))
    (answers,) = read(NfsMountResponsive(subject=EXPORT, seen=PROBE))

    assert hangs[:4] == (SERVER, "reach", Answer.BAD, str(EXPORT))
    assert answers[:4] == (SERVER, "reach", Answer.OK, str(EXPORT))
    assert (hangs.silent, hangs.notices, answers.notices) == (True, MOUNT_NOTICES, MOUNT_NOTICES)


def test_a_server_that_is_asked_is_noticed_before_its_mounts() -> None:
    """The server itself is asked each 2 s: its silence counts sooner than that of what is looked at each 10 s."""
    (asked,) = read(NfsServerUnreachable(subject=entity(SERVER), seen=PROBE, how=NfsSilence.NO_REPLY))

    assert asked.notices is not None
    assert asked.notices < MOUNT_NOTICES


@pytest.mark.parametrize(
    ("reason", "silent"),
    [
        ("Connection refused", False),
        ("Connection reset by peer", False),
        ("Connection timed out", True),
        ("No route to host", True),
        ("no-answer", True),
    ],
)
def test_only_who_turns_a_connection_away_was_reached(reason: str, silent: bool) -> None:
    """A portal that refuses lives, and its network is well; of one that does not answer nobody knows whose fault it is."""
    (found,) = read(IscsiPortalUnreachable(subject=entity("iscsi-portal/10.1.1.1:3260"), seen=PROBE, reason=reason))

    assert (*found[:3], found.silent) == ("iscsi-portal/10.1.1.1:3260", "reach", Answer.BAD, silent)


def test_a_valid_handle_ends_what_the_kernel_said_of_its_server() -> None:
    """`fileid changed` names only the server and nothing ever ends it: an export whose handle is valid does."""
    found = {(one.entity, one.aspect): one.answer for one in read(NfsHandleValid(subject=EXPORT, seen=PROBE))}

    assert found == {(str(EXPORT), "handle"): Answer.OK, (SERVER, "handle"): Answer.OK}


def test_a_session_that_nobody_can_name_is_forgotten_soon() -> None:
    """A session known by its number only never says that it is well again: its number is another one then."""
    unknown = read(IscsiConnectionFailed(subject=entity("iscsi-session/pve1/7"), seen=JOURNAL, session=7))
    known = read(IscsiConnectionFailed(subject=entity("iscsi-portal/10.1.1.1:3260"), seen=JOURNAL, session=7))

    assert [one.lasts for one in (*unknown, *known)] == [UNJOINED_LASTS, 0]


def test_what_flaps_is_one_incident_until_it_is_calm() -> None:
    """A LUN whose paths come back for two seconds in every five is lost: told once, not again and again, and over when it stays well."""
    timeline, lun = Timeline("lab", ["pve1"]), entity("lun/360014053c3c223fe9aa4cad8e3d06367")
    told: list[IncidentReport] = []
    said: dict[str, Any] = {"subject": lun, "seen": Seen(source=Source.MULTIPATH), "map": "mpatha"}
    second = 1_000_000
    for number in range(40):
        at = (100 + number // 2 * 5 + number % 2 * 3) * second
        event = MultipathMapRestored(**said, active=2) if number % 2 else MultipathMapLost(**said)
        told += timeline.feed(Envelope("lab", "pve1", "boot", "stream", number + 1, at, at, event))
    changes = [(report.change.value, report.cause, report.entity) for report in told]
    after = [report.change.value for report in timeline.advance(at + 120 * second)]

    assert changes == [("opened", "all-paths-down", str(lun))]
    assert after == ["recovering", "resolved"]
