"""Each sender's lines, one by one, against tests/samples/lines.toml."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agent.classify.journald import TABLES, JournalClassifier
from agent.record import RawRecord
from agent.sources.wanted import ROOT_DAEMONS
from events.base import Source

SAMPLES: list[dict[str, Any]] = tomllib.loads((Path(__file__).parents[2] / "samples" / "lines.toml").read_text())["line"]
BOOT = "691e5d2f535a417a8906fdb7a61a246e"
IQN = "iqn.2005-10.org.freenas.ctl:pve-cluster"


def record(sender: str, text: str, at: int = 1_795_402_190_000_000) -> RawRecord:
    """Make a journal record as the source would."""
    fields = {"MESSAGE": text, "SYSLOG_IDENTIFIER": sender, "_TRANSPORT": "kernel" if sender == "kernel" else "syslog"}
    return RawRecord(Source.JOURNALD, at, at, BOOT, fields, "s=1;i=1")


def classifier() -> JournalClassifier:
    """Return a classifier that has seen two sessions log in, in the words of a real iscsid."""
    made = JournalClassifier("pve1")
    for number, address in ((1, "10.1.1.1"), (2, "10.1.2.1")):
        text = f"Connection{number}:0 to [target: {IQN}, portal: {address},3260] through [iface: default] is operational now"
        assert [event.kind for event in made.classify(record("iscsid", text))] == ["iscsi.session.established"]
    return made


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["text"][:50])
def test_line_becomes_its_events(sample: dict[str, Any]) -> None:
    """A real line becomes exactly the events that it means, with itself as proof."""
    events = classifier().classify(record(sample["sender"], sample["text"]))

    assert [f"{event.state} {event.kind} {event.subject}" for event in events] == sample["events"]
    assert all(event.seen.excerpt and event.seen.cursor == "s=1;i=1" for event in events)


@pytest.mark.parametrize("sender", sorted(TABLES))
def test_no_text_breaks_a_table(sender: str) -> None:
    """Empty, huge and odd texts are nothing, never an error."""
    made = classifier()
    huge = "connection99999999999999999999:0: detected conn error (1)"
    for text in ("", " ", ":", "connection", huge, "\n" * 3, "x" * 100_000, "\x00\ufffd"):
        assert made.classify(record(sender, text)) is not None


def test_what_is_read_is_what_can_be_used() -> None:
    """The source's filter lets through exactly the senders that have a table: nothing is read in vain, no table stays hungry."""
    assert {*ROOT_DAEMONS, "kernel"} == set(TABLES)


def test_storm_of_rejections_is_few_events() -> None:
    """A login rejected every two seconds for ten minutes is one event and one repeat per minute, which counts the rest."""
    made = classifier()
    start = 1_795_402_190_000_000
    text = f"Login failed to authenticate with target {IQN}"
    events = [event for second in range(0, 600, 2) for event in made.classify(record("iscsid", text, start + second * 1_000_000))]

    assert len(events) == 10
    assert events[0].model_dump()["repeats"] == 0
    assert sum(event.model_dump()["repeats"] + 1 for event in events) >= 300 - 29


def test_fifty_thousand_rejections_in_a_minute_are_one_event_and_a_count() -> None:
    """Two portals that refuse the same secret, by name and by session, are one rejected login; the next event says how many there were."""
    made = classifier()
    start = 1_795_402_190_000_000
    for session, address in ((1, "10.1.1.1"), (2, "10.1.2.1")):
        peer = f"Connection{session}:0 to [target: {IQN}, portal: {address},3260] through [iface: default] is operational now"
        made.classify(record("iscsid", peer, start - 1_000_000))
    lines = (
        f"Login failed to authenticate with target {IQN}",
        "session 1 login rejected: Initiator failed authentication with target",
        "session 2 login rejected: Initiator failed authentication with target",
    )
    count = 50_000
    storm = [event for number in range(count) for event in made.classify(record("iscsid", lines[number % 3], start + number * 1200))]
    (after,) = made.classify(record("iscsid", lines[0], start + 61_000_000))

    assert [(event.kind, str(event.subject)) for event in storm] == [("iscsi.login.rejected", f"iscsi-target/{IQN}")]
    assert after.model_dump()["repeats"] == count - 1


def test_a_refused_login_is_told_of_the_target_and_no_session_breaks() -> None:
    """A login of a session that is not there yet is no broken session, and what refused it is named as soon as a line names it."""
    made = classifier()
    where = f"[target: {IQN}, portal: 10.1.2.1,3260] through [iface: default]"
    lines = [
        ("iscsid", f"Connection2:0 to {where} is operational now"),
        ("kernel", " connection3:0: detected conn error (1020)"),
        ("iscsid", "connection3:0 login rejected: initiator failed authorization with target"),
        ("iscsid", "session 3 login rejected: Initiator failed authentication with target"),
        ("iscsid", f"Connection3:0 to {where} is shutdown."),
    ]
    events = [event for sender, text in lines for event in made.classify(record(sender, text))]

    assert [(event.kind, str(event.subject)) for event in events] == [
        ("iscsi.session.established", "iscsi-portal/10.1.2.1:3260"),
        ("iscsi.login.rejected", f"iscsi-target/{IQN}"),
        ("iscsi.session.closed", "iscsi-portal/10.1.2.1:3260"),
    ]


def test_news_after_recovery_is_never_held_back() -> None:
    """What breaks again right after it worked is told at once, however equal the line."""
    made = classifier()
    lines = [" connection1:0: detected conn error (1022)", "connection1:0 is operational after recovery (3 attempts)"]
    at = 1_795_402_190_000_000
    told = [("kernel", lines[0]), ("iscsid", lines[1]), ("kernel", lines[0])]
    kinds = [event.kind for number, (sender, text) in enumerate(told) for event in made.classify(record(sender, text, at + number))]

    assert kinds == ["iscsi.connection.failed", "iscsi.connection.recovered", "iscsi.connection.failed"]


def test_memory_survives_a_restart() -> None:
    """A classifier rebuilt from its memory still knows which portal a session number means."""
    again = JournalClassifier("pve1", classifier().memory())

    events = again.classify(record("kernel", " connection2:0: detected conn error (1020)"))

    assert [str(event.subject) for event in events] == ["iscsi-portal/10.1.2.1:3260"]


def test_a_session_that_is_gone_is_still_joined() -> None:
    """What kernel and iscsid say of a session after its end, also over a restart, is told of its portal and target."""
    made = classifier()
    where = f"[target: {IQN}, portal: 10.1.2.1,3260] through [iface: default]"
    made.classify(record("iscsid", f"Connection2:0 to {where} is shutdown."))
    again = JournalClassifier("pve1", made.memory())
    (late,) = again.classify(record("kernel", " session2: session recovery timed out after 5 secs"))

    assert late.kind == "iscsi.session.expired"
    assert str(late.subject) == "iscsi-portal/10.1.2.1:3260"
    assert late.model_dump()["target"] == IQN


def test_the_last_session_to_a_portal_and_target_is_the_end() -> None:
    """Two interfaces have a session each: the end of one is none of the other's, which a controller would forget with it."""
    made, where = classifier(), f"[target: {IQN}, portal: 10.1.1.1,3260] through [iface: {{}}]"
    lines = [
        f"Connection3:0 to {where.format('second')} is operational now",
        f"Connection1:0 to {where.format('default')} is shutdown.",
        f"Connection3:0 to {where.format('second')} is shutdown.",
        f"Connection4:0 to {where.format('default')} is operational now",
        f"Connection4:0 to {where.format('default')} is shutdown.",
    ]
    kinds = [[event.kind.removeprefix("iscsi.session.") for event in made.classify(record("iscsid", text))] for text in lines]

    assert kinds == [["established"], [], ["closed"], ["established"], ["closed"]]


def test_reboot_forgets_session_numbers() -> None:
    """Numbers of the boot before mean nothing: the session is named as unknown, and the boot is told."""
    made = classifier()
    fields = {"MESSAGE": " connection1:0: detected conn error (1020)", "SYSLOG_IDENTIFIER": "kernel", "_TRANSPORT": "kernel"}

    events = made.classify(RawRecord(Source.JOURNALD, 1, 1, "another-boot", fields, "c"))

    assert [f"{event.kind} {event.subject}" for event in events] == [
        "node.booted node/pve1",
        "iscsi.connection.failed iscsi-session/pve1/1",
    ]


def of_boot(boot: str, sender: str, text: str) -> RawRecord:
    """Make a record of another boot."""
    return dataclasses.replace(record(sender, text), boot_id=boot)


def test_a_boot_is_told_once_and_each_keeps_its_numbers() -> None:
    """Lines of two boots one among the other: the second is told at its first line only, and a number means what it meant in its boot."""
    made, line = classifier(), " connection1:0: detected conn error (1020)"
    lines = [("new", line), (BOOT, " connection1:0: detected conn error (1011)"), ("new", line), (BOOT, line)]
    events = [event for boot, text in lines for event in made.classify(of_boot(boot, "kernel", text))]

    assert [f"{event.kind} {event.subject}" for event in events] == [
        "node.booted node/pve1",
        "iscsi.connection.failed iscsi-session/pve1/1",
        "iscsi.connection.failed iscsi-portal/10.1.1.1:3260",
        "iscsi.connection.failed iscsi-portal/10.1.1.1:3260",
    ]


def test_lines_that_the_boot_before_left_unread_say_nothing_of_this_one() -> None:
    """Sysfs is read first, then come the last lines before the boot: no fault and no closed session; what was done is told."""
    made = JournalClassifier("pve1", classifier().memory(), "new")
    there = {"what": "session", "session": "1", "target": IQN, "address": "10.1.9.9", "port": "3260", "state": "LOGGED_IN"}
    sysfs = dataclasses.replace(of_boot("new", "", ""), source=Source.ISCSI, fields=there)
    lines = [
        of_boot(BOOT, "kernel", " connection2:0: detected conn error (1020)"),
        of_boot(BOOT, "iscsid", f"Connection1:0 to [target: {IQN}, portal: 10.1.9.9,3260] through [iface: default] is shutdown."),
        of_boot(BOOT, "iscsid", "iscsid shutting down."),
        of_boot("new", "kernel", " connection1:0: detected conn error (1020)"),
    ]
    again = JournalClassifier("pve1", made.memory(), "new")

    assert [event.kind for event in made.classify(sysfs)] == ["iscsi.session.established"]
    assert [f"{event.kind} {event.subject}" for one in lines for event in made.classify(one)] == [
        "iscsi.initiator.stopped node/pve1",
        "iscsi.connection.failed iscsi-portal/10.1.9.9:3260",
    ]
    assert again.classify(lines[0]) == []


def test_swapped_lun_is_seen_in_the_alua_line() -> None:
    """A device that identifies itself otherwise than before is a remapped LUN; its old identity again is the all-clear."""
    made = classifier()
    line = "sd 2:0:0:0: alua: device naa.{} port group 0 rel port 1"
    first, other = "60014054b810ad169314b68ab2419ee4", "6001405243781079542406a8ee09d503"
    kinds = [
        f"{event.kind} {event.subject}"
        for number, naa in enumerate((first, other, first))
        for event in made.classify(record("kernel", line.format(naa), 1_795_402_190_000_000 + number))
    ]

    assert kinds == [
        "scsi.lun.identified scsi-device/pve1/2:0:0:0",
        f"scsi.lun.remapped lun/3{first}",
        f"scsi.lun.confirmed lun/3{first}",
    ]


def test_a_disk_name_that_is_given_anew_names_its_new_lun() -> None:
    """A session logged out and another in: `sdb` is another disk, and what is said of a map on it is said of its LUN of now."""
    made = classifier()
    first, other = "60014054b810ad169314b68ab2419ee4", "6001405243781079542406a8ee09d503"
    lines = [
        ("kernel", "sd 2:0:0:0: [sdb] Attached SCSI disk"),
        ("kernel", f"sd 2:0:0:0: alua: device naa.{first} port group 0 rel port 1"),
        ("kernel", "sd 3:0:0:1: [sdb] Attached SCSI disk"),
        ("kernel", f"sd 3:0:0:1: alua: device naa.{other} port group 0 rel port 1"),
        ("multipathd", "mpathb: addmap [0 524288 multipath 1 queue_if_no_path 1 alua 1 1 service-time 0 1 1 8:16 1]"),
        ("multipathd", "mpathb: remaining active paths: 0"),
    ]
    events = [event for sender, text in lines for event in made.classify(record(sender, text))]

    assert f"{events[-1].kind} {events[-1].subject}" == f"multipath.map.lost lun/3{other}"
