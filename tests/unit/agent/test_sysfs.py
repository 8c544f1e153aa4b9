"""What sysfs tells of sessions, disks and maps, read from a tree laid out as the kernel documents it."""

from __future__ import annotations

from pathlib import Path

from agent.classify.journald import JournalClassifier
from agent.record import RawRecord
from agent.sources.sysfs import inventory
from events.base import Source

IQN = "iqn.2005-10.org.freenas.ctl:pve-cluster"
NAA = "naa.6001405e1069b6f08584509b666ec5a5"


def put(file: Path, text: str) -> None:
    """Write an attribute as sysfs shows it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")


def tree(root: Path) -> Path:
    """Lay out one session with one disk under one multipath map."""
    put(root / "class/iscsi_session/session7/targetname", IQN)
    put(root / "class/iscsi_session/session7/state", "LOGGED_IN")
    put(root / "class/iscsi_connection/connection7:0/persistent_address", "10.1.1.1")
    put(root / "class/iscsi_connection/connection7:0/persistent_port", "3260")
    device = root / "class/iscsi_session/session7/device/target2:0:0/2:0:0:0"
    put(device / "wwid", NAA)
    put(device / "block/sdb/dev", "8:16")
    put(root / "class/block/dm-0/dm/name", "mpatha")
    put(root / "class/block/dm-0/dm/uuid", f"mpath-3{NAA[4:]}")
    put(root / "class/block/dm-0/slaves/sdb/dev", "8:16")
    put(root / "class/block/dm-1/dm/name", "vg-root")
    put(root / "class/block/dm-1/dm/uuid", "LVM-abc")
    return root


def classify(made: JournalClassifier, source: Source, fields: dict[str, str]) -> list[str]:
    """Return what a record becomes."""
    return [f"{event.kind} {event.subject}" for event in made.classify(RawRecord(source, 1, 1, "boot", fields))]


def test_sessions_disks_and_maps_are_found(tmp_path: Path) -> None:
    """Each session with its portal, each disk with its WWID, each multipath map with its legs; other maps are left out."""
    found = inventory(tree(tmp_path))

    assert [(one["what"], one.get("session"), one.get("disk"), one.get("map")) for one in found] == [
        ("session", "7", None, None),
        ("disk", None, "sdb", None),
        ("map", None, None, "mpatha"),
    ]


def test_kernel_lines_are_joined_without_any_login_line(tmp_path: Path) -> None:
    """An agent that starts months after the login still names portal and LUN of lines that hold only numbers."""
    made = JournalClassifier("pve1")
    told = [text for fields in inventory(tree(tmp_path)) for text in classify(made, Source.ISCSI, fields)]
    line = {"MESSAGE": " connection7:0: detected conn error (1022)", "_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "kernel"}
    count = {"MESSAGE": "mpatha: remaining active paths: 0", "_TRANSPORT": "stdout", "SYSLOG_IDENTIFIER": "multipathd"}

    assert told == ["iscsi.session.established iscsi-portal/10.1.1.1:3260"]
    assert classify(made, Source.JOURNALD, line) == ["iscsi.connection.failed iscsi-portal/10.1.1.1:3260"]
    assert classify(made, Source.JOURNALD, count) == [f"multipath.map.lost lun/3{NAA[4:]}"]


def test_host_without_iscsi_has_nothing(tmp_path: Path) -> None:
    """No class directories, half a session, a session without a number: nothing, and no error."""
    put(tmp_path / "class/iscsi_session/session1/targetname", IQN)
    put(tmp_path / "class/iscsi_session/sessionx/targetname", IQN)

    assert inventory(tmp_path) == []
    assert inventory(tmp_path / "nowhere") == []


def test_what_sysfs_tells_of_a_disk_name_is_newer_than_lines_of_before(tmp_path: Path) -> None:
    """`sdb` was another disk when the agent ran last: lines on it are joined to the LUN that it is now."""
    made = JournalClassifier("pve1")
    line = {"MESSAGE": "sd 9:0:0:0: [sdb] Attached SCSI disk", "_TRANSPORT": "kernel", "SYSLOG_IDENTIFIER": "kernel"}
    before = {**line, "MESSAGE": "sd 9:0:0:0: alua: device naa.60014054b810ad169314b68ab2419ee4 port group 0 rel port 1"}
    changed = {**line, "MESSAGE": "sdb: detected capacity change from 524288 to 0"}
    for fields in (line, before):
        classify(made, Source.JOURNALD, fields)
    for fields in inventory(tree(tmp_path)):
        classify(made, Source.ISCSI, fields)

    assert classify(made, Source.JOURNALD, changed) == [f"scsi.lun.vanished lun/3{NAA[4:]}"]
