"""What the files of a node mean, form by form, and that no content of them does harm."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.classify.host import HostClassifier
from agent.classify.host_block import lun_id
from agent.classify.host_mounts import mounts
from agent.classify.host_networks import HostFileError
from agent.classify.host_volumes import group_of, read_backup
from agent.record import RawRecord
from agent.sources.host import look
from events.base import Event, Seen, Source
from events.codec import encode
from events.entity import Entity, EntityKind
from events.envelope import Envelope
from events.host import NodeCeph, NodeIscsi, NodeMounts, NodeMultipath, NodeNetworks, NodeVolumes

NODE = Entity(EntityKind.NODE, "pve1")
SEEN = Seen(source=Source.HOST)
WWID = "36001405e1069b6f08584509b666ec5a5"
IQN = "iqn.2005-10.org.freenas.ctl:pve-cluster"
PV = "tDJLWg-ZWFT-KN9g-hUze-nxt3-K4da-7DH9Yy"


def put(root: Path, files: dict[str, str]) -> Path:
    """Write files of a host's tree."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n", encoding="utf-8")
    return root


def told(root: Path, memory: dict[str, Any] | None = None) -> dict[str, Event]:
    """Return the events of a tree by kind."""
    made = HostClassifier("pve1", memory)
    events = [event for fields in look(root) for event in made.classify(RawRecord(Source.HOST, 1, 1, "boot", fields))]
    return {event.kind: event for event in events}


def mounted(mountinfo: str = "", fstab: str = "") -> NodeMounts:
    """Return the event of these two files."""
    return mounts({"mountinfo": mountinfo, "fstab": fstab}, NODE, SEEN)


# WWIDs


@pytest.mark.parametrize(
    ("wwid", "serial", "expected"),
    [
        ("naa.6001405E1069b6f08584509b666ec5a5", "", WWID),
        ("naa.6001405e1069b6f08584509b666ec5a5", "36001405243781079542406a8ee09d503", WWID),  # exchanged LUN: udev is behind
        ("eui.0025385b71b00e5a", "", "20025385b71b00e5a"),
        ("eui.0025385b71b00e5a", WWID, WWID),  # two names of one disk: only udev's is multipath's
        ("t10.LIO-ORG lun0    :72d9", "", "1LIO-ORG_lun0_:72d9"),
        ("t10.LIO-ORG lun0", "1LIO-ORG__lun0", "1LIO-ORG__lun0"),
        ("", WWID, WWID),
        ("", "", ""),
        ("uuid.1234", "", ""),
        ("naa.bad id", "", ""),
    ],
)
def test_wwids_are_written_as_multipath_writes_them(wwid: str, serial: str, expected: str) -> None:
    """3 for NAA, 2 for EUI-64, 1 for T10; the kernel is believed where both name the same form."""
    assert lun_id(wwid, serial) == expected


# Mounts


TABLE = """
28 1 254:0 / / rw - ext4 /dev/vda rw
40 28 0:36 / /mnt/a rw - autofs systemd-1 rw,fd=60
41 40 0:47 / /mnt/a rw shared:3 - nfs4 10.1.3.1:/a rw,hard
42 28 0:48 / /mnt/b rw - nfs4 10.1.3.1:/old rw
43 42 0:49 / /mnt/b ro,noatime - nfs4 10.1.3.1:/new rw
44 28 0:50 / /proc rw - proc proc rw
45 28 254:0 /usr /usr ro - ext4 /dev/vda rw
46 28 254:0 /srv/store /mnt/c rw - ext4 /dev/vda rw
"""


def test_what_covers_what() -> None:
    """A file system under another mount is not told, nor are the kernel's own."""
    assert [(one.target, one.source, one.options) for one in mounted(TABLE).mounted] == [
        ("/", "/dev/vda", "rw"),
        ("/mnt/a", "10.1.3.1:/a", "rw,hard"),
        ("/mnt/b", "10.1.3.1:/new", "ro,noatime"),
        ("/mnt/c", "/dev/vda", "rw"),
    ]


def test_no_secret_of_an_option_or_address_is_told() -> None:
    """Passwords, keys and what follows a user name are cut away; the options' names stay."""
    fstab = """
    //nas/a /a cifs username=pve%first,password=hunter2,_netdev 0 0
    //nas/b /b cifs user=pve:first,PASS=hunter2,credentials=/etc/smb.secret,vers=3.0 0 0
    10.0.0.1,10.0.0.2:/ /c ceph name=pve,secret=AQhunter2==,secretfile=/etc/ceph/key,_netdev
    https://pve:hunter2@dav.example/x /d davfs rw
    """
    configured = mounted(fstab=fstab).configured
    text = " ".join(f"{one.source} {one.options}" for one in configured)

    assert len(configured) == 4
    assert not [word for word in ("hunter2", "first", "/etc/smb.secret") if word in text]
    assert configured[0].options == "username=pve,password=,_netdev"
    assert configured[3].source == "https://dav.example/x"


def test_fstab_tells_what_is_mounted_at_boot() -> None:
    """Comments, swap, file systems without data and what waits for a hand are left out; automounts are not."""
    fstab = """# comment
UUID=0 / ext4 defaults 0 1
/dev/pve/swap none swap sw 0 0
tmpfs /tmp tmpfs defaults
nas:/by-hand /mnt/h nfs noauto 0 0
nas:/auto /mnt/a\\040b nfs noauto,x-systemd.automount 0 0
nas:/short
"""
    assert [(one.source, one.target, one.type) for one in mounted(fstab=fstab).configured] == [
        ("UUID=0", "/", "ext4"),
        ("nas:/auto", "/mnt/a b", "nfs"),
    ]


def test_ten_thousand_mounts_fit_into_one_event() -> None:
    """A node full of containers still tells its network mounts, in an event that the wire takes."""
    lines = [f"{n} 28 0:{n} / /rpool/data/subvol-{n}-disk-0{'x' * 200} rw - zfs rpool/data/subvol-{n} rw,xattr" for n in range(100, 10_100)]
    event = mounted("\n".join([*lines, "9 28 0:9 / /mnt/pve/zzz rw - nfs4 10.1.3.1:/a rw"]))

    assert "/mnt/pve/zzz" in [one.target for one in event.mounted]
    assert len(event.mounted) > 50
    assert encode(Envelope("c", "pve1", "b", "s", 1, 1, 1, event))


# Block devices


def fc_tree(root: Path) -> Path:
    """Lay out a map over two Fibre Channel disks, one of which leads to another LUN, with a crypted volume group on a partition of it."""
    files: dict[str, str] = {}
    for number, (disk, wwid) in enumerate((("sda", WWID), ("sdb", "36001405243781079542406a8ee09d503"))):
        device = f"sys/class/fc_transport/target{number}:0:1/device/{number}:0:1:0"
        leg = f"sys/class/block/dm-0/slaves/{disk}"
        own = {"wwid": f"naa.{wwid[1:]}", "state": "running"}
        files |= {f"{device}/{name}": text for name, text in own.items()} | {f"{leg}/device/{name}": text for name, text in own.items()}
        files |= {f"{path}/dev": f"8:{16 * number}" for path in (f"{device}/block/{disk}", leg, f"sys/class/block/{disk}")}
    layers = {"dm-0": ("mpatha", f"mpath-{WWID}", ""), "dm-1": ("mpatha-part1", f"part1-mpath-{WWID}", "dm-0")}
    layers |= {"dm-2": ("luks", "CRYPT-LUKS2-abc-luks", "dm-1"), "dm-3": ("vg--a-vm--1--disk--0", "LVM-" + "x" * 64, "dm-2")}
    for name, (dm, uuid, below) in layers.items():
        block = f"sys/class/block/{name}"
        files |= {f"{block}/dev": f"253:{name[3:]}", f"{block}/dm/name": dm, f"{block}/dm/uuid": uuid}
        files |= {f"{block}/slaves/{below}/dev": "253:9"} if below else {}
    return put(root, files)


def test_a_path_that_leads_to_another_lun_shows(tmp_path: Path) -> None:
    """Each path carries the WWID that the disk itself has now, so that one that differs from its map's can be seen."""
    event = told(fc_tree(tmp_path))["node.multipath"]
    assert isinstance(event, NodeMultipath)
    (one,) = event.maps

    assert (one.wwid, one.name, event.running) == (WWID, "mpatha", None)
    assert [(path.device, path.wwid == one.wwid, path.state, path.portal) for path in one.paths] == [
        ("sda", True, "running", ""),
        ("sdb", False, "running", ""),
    ]


def test_a_group_is_followed_down_to_its_lun(tmp_path: Path) -> None:
    """Through encryption and a partition to the map, whose own name is not told apart from its hyphens."""
    event = told(fc_tree(tmp_path))["node.volumes"]
    assert isinstance(event, NodeVolumes)

    assert [(one.name, one.complete, one.luns) for one in event.groups] == [("vg-a", True, (WWID,))]


def test_udev_and_pvscan_tell_of_groups_without_active_volumes(tmp_path: Path) -> None:
    """The group that pvscan saw come is told, and when its last disk did not come, that it is incomplete."""
    files = {
        "sys/class/iscsi_session/session1/device/target2:0:0/2:0:0:0/block/sdb/dev": "8:16",
        "sys/class/iscsi_session/session1/device/target2:0:0/2:0:0:0/wwid": f"naa.{WWID[1:]}",
        "sys/class/block/sdb/dev": "8:16",
        "sys/class/block/sdc/dev": "8:32",
        "run/udev/data/b8:16": f"S:disk/by-id/x\nE:ID_FS_TYPE=LVM2_member\nE:ID_FS_UUID={PV}\nE:LVM_VG_NAME_INCOMPLETE=vg-half\nV:1",
        f"run/lvm/pvs_online/{'y' * 32}": "8:32\nvg:local\ndev:/dev/sdc",
    }
    event = told(put(tmp_path, files))["node.volumes"]
    assert isinstance(event, NodeVolumes)

    assert [(one.name, one.complete, one.luns) for one in event.groups] == [("local", True, ()), ("vg-half", False, (WWID,))]


@pytest.mark.parametrize(
    ("dm", "group"),
    [
        ("vg-lv", "vg"),
        ("vg--iscsi-vm--100--disk--0", "vg-iscsi"),
        ("a---b", "a-"),
        ("pve-data_tmeta", "pve"),
        ("mpatha", ""),
        ("", ""),
        ("-", ""),
        ("--", ""),
        ("-" * 10_000, ""),
    ],
)
def test_names_of_groups_are_unescaped(dm: str, group: str) -> None:
    """Doubled hyphens are hyphens of a name; a single one ends the group's."""
    assert group_of(dm) == group


def test_a_backup_that_is_older_than_what_is_in_use_is_not_believed(tmp_path: Path) -> None:
    """A group on as many disks as its backup names lacks none, though the backup names another: the group was moved since."""
    backup = 'vg-a {\nphysical_volumes {\npv0 {\nid = "old-id"\ndevice = "/dev/mapper/gone"\n}\n}\n}\ncreation_time = 1795427945\t# …'
    event = told(put(fc_tree(tmp_path), {"etc/lvm/backup/vg-a": backup}))["node.volumes"]
    assert isinstance(event, NodeVolumes)

    assert [(one.name, one.complete) for one in event.groups] == [("vg-a", True)]


# iSCSI


def test_portals_of_all_forms(tmp_path: Path) -> None:
    """Records of both databases and both layouts, IPv6 with brackets, the initiator's name without its comments."""
    nodes = f"var/lib/iscsi/nodes/{IQN}"
    files = {
        f"{nodes}/10.1.1.1,3260,1/default": "node.name = x\nnode.session.auth.password = hunter2\nnode.startup = automatic",
        f"{nodes}/fd00::1,3260,1/default": "node.startup = manual",
        f"{nodes}/not a portal/default": "",
        f"etc/iscsi/nodes/{IQN}/10.1.2.1,3261": "node.startup = onboot",
        "etc/iscsi/initiatorname.iscsi": "## DO NOT EDIT\nInitiatorName=iqn.1993-08.org.debian:01:pve1",
    }
    event = told(put(tmp_path, files))["node.iscsi"]
    assert isinstance(event, NodeIscsi)

    assert event.initiator == "iqn.1993-08.org.debian:01:pve1"
    assert [(one.portal, one.startup) for one in event.records] == [
        ("10.1.1.1:3260", "automatic"),
        ("10.1.2.1:3261", "onboot"),
        ("[fd00::1]:3260", "manual"),
    ]
    assert "hunter2" not in json.dumps(look(tmp_path))


# Networks


def test_recorded_ip_output_that_is_something_else_is_refused(tmp_path: Path) -> None:
    """The error names the file and the command that makes it."""
    with pytest.raises(HostFileError, match=r"ip-addr.json: is not what `ip -json addr` prints"):
        told(put(tmp_path, {"ip-addr.json": "1: lo: <LOOPBACK,UP>"}))


def test_full_tables_of_routes_fit(tmp_path: Path) -> None:
    """A router's table is cut: its default routes stay, and the event can be sent."""
    header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"
    lines = [f"vmbr0\t{n:08X}\t0107A8C0\t0003\t0\t0\t0\tFFFFFFFF\t0\t0\t0" for n in range(256, 30_000)]
    event = told(
        put(tmp_path, {"proc/net/route": "\n".join([header, "vmbr0\t00000000\t0107A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0", *lines])})
    )
    networks = event["node.networks"]
    assert isinstance(networks, NodeNetworks)

    assert networks.routes[0].destination == "0.0.0.0/0"
    assert len(networks.routes) > 100
    assert encode(Envelope("c", "pve1", "b", "s", 1, 1, 1, networks))


# Anything

FILES = [
    *("proc/self/mountinfo", "etc/fstab", "proc/net/route", "proc/net/ipv6_route", "proc/net/if_inet6"),
    *("etc/iscsi/initiatorname.iscsi", f"var/lib/iscsi/nodes/{IQN}/1,2,3/default", "etc/lvm/backup/vg", "run/lvm/pvs_online/abc"),
    *("sys/class/block/dm-0/dm/name", "sys/class/block/dm-0/dm/uuid", "sys/class/block/dm-0/dev", "sys/class/block/dm-0/slaves/dm-0/dev"),
    *("sys/class/iscsi_session/session1/targetname", "sys/class/iscsi_session/session1/state", "run/udev/data/b8:0"),
    *("sys/class/iscsi_connection/connection1:0/persistent_address", "sys/class/iscsi_connection/connection1:0/persistent_port"),
    *(f"sys/class/iscsi_session/session1/device/target0:0:0/0:0:0:0/{name}" for name in ("wwid", "state", "block/sda/dev")),
    *("sys/class/net/lo/mtu", "sys/class/net/lo/speed", "ip-addr.json", "ip-route.json"),
]
WORDS = ["0", "/", "vg", "{", "}", "id = ", '"', "- ", "\t", "\n", "mpath-", "LVM-", "8:0", "E:ID_FS_TYPE=LVM2_member", "default", "[", "]"]
TEXT = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(WORDS), max_size=20).map(lambda words: "".join(words).encode()))


@given(st.dictionaries(st.sampled_from(FILES), TEXT, max_size=12))
def test_any_content_gives_events_or_a_named_error(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    """Whatever stands in the files, each picture is an event that can be sent, or a recorded file is refused by name."""
    root = tmp_path_factory.mktemp("tree")
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    try:
        events = told(root)
    except HostFileError as error:
        assert "json" in str(error)
        return
    assert len(events) == 6
    assert all(encode(Envelope("c", "pve1", "b", "s", 1, 1, 1, event)) for event in events.values())


@given(st.text(max_size=2000))
def test_any_text_is_a_backup_or_none(text: str) -> None:
    """LVM's format is read without ever raising."""
    backup = read_backup(text)

    assert backup is None or (backup.group and backup.volumes)


def test_long_nonsense_is_read_in_no_time() -> None:
    """A megabyte of braces, escapes or hyphens takes no time that grows with its square."""
    for text in ("{\n" * 300_000, 'id = "' + "\\" * 1_000_000, "a - b " * 200_000, "\\040" * 250_000):
        read_backup(text)
        mounted(text, text)


def test_ceph_daemons(tmp_path: Path) -> None:
    """A node's OSDs, monitors and managers are told by the names of their directories; what is no number is no OSD."""
    for name in ("osd/ceph-10", "osd/ceph-3", "osd/ceph-x", "mon/ceph-pve1", "mgr/ceph-pve1"):
        (tmp_path / "var" / "lib" / "ceph" / name).mkdir(parents=True)
    event = told(tmp_path)["node.ceph"]

    assert isinstance(event, NodeCeph)
    assert (event.osds, event.monitors, event.managers) == ((3, 10), ("pve1",), ("pve1",))


def test_ceph_daemons_that_may_not_be_listed_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a directory that the agent may not list nothing is said, least of all that a node has no daemons; what is missing is named."""
    (tmp_path / "var" / "lib" / "ceph" / "osd" / "ceph-3").mkdir(parents=True)
    list_directory = os.listdir

    def listdir(path: str) -> list[str]:
        if "/var/lib/ceph/" in path:
            raise PermissionError(path)
        return list_directory(path)

    monkeypatch.setattr("agent.sources.host_files.os.listdir", listdir)
    events = told(tmp_path)

    assert "node.ceph" not in events
    assert "/var/lib/ceph/osd" in events["node.volumes"].seen.excerpt
    monkeypatch.undo()
    assert isinstance(event := told(tmp_path)["node.ceph"], NodeCeph)
    assert event.osds == (3,)
