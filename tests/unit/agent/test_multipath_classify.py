"""What is said of maps and paths: recorded hosts and answers one after the other, and changes made to them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.classify.multipath_probe import MultipathClassifier
from agent.record import RawRecord
from agent.sources.multipath import Paths
from agent.sources.multipathd import read_maps
from agent.sources.wwid import names
from events.base import Event, Source
from events.multipath import MultipathMapDegraded, MultipathMapLost, MultipathWwidChanged

SAMPLES = Path(__file__).parents[2] / "samples"
SECOND = 1_000_000
LUN, LUN1 = "3600140537c04200bff24683acffc5095", "360014056655f94b431e46cd96d9114ee"
FOREIGN = "36001405c44a4e37d1dc4f22a130622df"
HOST_LUN = "36001405404bd82949e04651b7bf94f20"


class Node:
    """A node's classifier, and a clock that goes on by a second with each record."""

    def __init__(self, memory: dict[str, Any] | None = None) -> None:
        self.made = MultipathClassifier("pve1", memory)
        self.at = 1_790_000_000 * SECOND

        self.ahead = 0
        """µs by which the clock was set forward."""

    def say(self, look: str, found: object, after: int = 1) -> list[Event]:
        """Return what a picture makes it say, ``after`` seconds later."""
        self.at += after * SECOND
        fields = {"look": look, "found": json.dumps(found)}
        return self.made.classify(RawRecord(Source.MULTIPATH, self.at + self.ahead, self.at, "boot", fields))

    def daemon(self, sample: str, trouble: str = "", times: int = 0) -> list[Event]:
        """Return what a recorded answer of multipathd makes it say, or its trouble."""
        maps = read_maps((SAMPLES / f"multipath/maps-{sample}.bin").read_bytes()[8:]) if sample else []
        return self.say("daemon", {"maps": maps, "trouble": trouble, "times": times})


def disk(letter: str, session: int, number: int, page: str) -> dict[str, Any]:
    """Return a disk's row; ``page`` is a recorded page 83."""
    known = list(names((SAMPLES / f"multipath/{page}.pg83").read_bytes()))
    dev = f"8:{(ord(letter) - ord('a')) * 16}"
    address = f"{session + 1}:0:0:{number}"
    return {"dev": dev, "address": address, "via": str(session), "state": "running", "times": 0, "wwid": "", "names": known}


@pytest.fixture
def picture() -> dict[str, Any]:
    """Return the kernel's side of what multipathd told in the recorded answers: two maps over two sessions."""
    disks = {"sda": disk("a", 2, 0, "lun0"), "sdb": disk("b", 1, 0, "lun0"), "sdc": disk("c", 2, 1, "lun1"), "sdd": disk("d", 1, 1, "lun1")}
    return {
        "maps": {
            "dm-0": {"map": "mpatha", "wwid": LUN, "legs": ["sda", "sdb"]},
            "dm-1": {"map": "mpathb", "wwid": LUN1, "legs": ["sdc", "sdd"]},
        },
        "disks": disks,
    }


def less(picture: dict[str, Any], *gone: str) -> dict[str, Any]:
    """Return the picture without some disks."""
    made = copy.deepcopy(picture)
    for name in gone:
        del made["disks"][name]
        for one in made["maps"].values():
            one["legs"] = [leg for leg in one["legs"] if leg != name]
    return made


def in_state(picture: dict[str, Any], state: str, *disks: str, times: int = 0) -> dict[str, Any]:
    """Return the picture with some disks in another state."""
    made = copy.deepcopy(picture)
    for name in disks:
        made["disks"][name] |= {"state": state, "times": times}
    return made


def kinds(events: list[Event], about: str = "lun/") -> dict[str, str]:
    """Return the last word on each subject, without paths."""
    return {str(event.subject): event.kind for event in events if str(event.subject).startswith(about)}


def swapped(picture: dict[str, Any]) -> dict[str, Any]:
    """Return the picture with both paths of the first map leading to the third backstore, as the kernel shows it after a rescan."""
    made = copy.deepcopy(picture)
    for name in ("sda", "sdb"):
        made["disks"][name]["names"] = disk("a", 2, 0, "lun2")["names"]
    return made


def test_all_is_said_once_and_then_nothing(picture: dict[str, Any]) -> None:
    """A healthy node says each map, path, identity and its daemon once; the same again is no news for five minutes."""
    node = Node()
    first = [*node.say("paths", picture), *node.daemon("good")]
    later = [event for _ in range(290) for event in node.say("paths", picture)]
    again = node.say("paths", picture, after=20)

    assert sorted(event.kind for event in first) == sorted(
        ["multipath.path.restored"] * 4 + ["multipath.map.restored", "multipath.wwid.confirmed"] * 2 + ["multipath.daemon.started"]
    )
    assert {str(event.subject) for event in first if "path/" in str(event.subject)} >= {f"path/pve1/{LUN}/8:0", f"path/pve1/{LUN1}/8:48"}
    assert later == []
    assert len(again) == len(first)


def test_the_recorded_cuts_of_portals_are_named(picture: dict[str, Any]) -> None:
    """One portal cut: degraded; both: lost; back: restored. Each said once."""
    node = Node()
    node.say("paths", picture)
    node.daemon("good")
    one, none, back = node.daemon("one-path"), node.daemon("no-path"), node.daemon("restored")

    assert kinds(one) == dict.fromkeys((f"lun/{LUN}", f"lun/{LUN1}"), "multipath.map.degraded")
    assert [(event.active, event.expected) for event in one if isinstance(event, MultipathMapDegraded)] == [(1, 2)] * 2
    assert kinds(none) == dict.fromkeys((f"lun/{LUN}", f"lun/{LUN1}"), "multipath.map.lost")
    assert kinds(back) == dict.fromkeys((f"lun/{LUN}", f"lun/{LUN1}"), "multipath.map.restored")
    assert "sda: failed, checker says faulty" in one[-1].seen.excerpt + one[1].seen.excerpt
    assert node.daemon("restored") == []


@pytest.mark.parametrize("state", ["offline", "transport-offline", "cancel", "deleted", "created-blocked"])
def test_the_kernel_alone_is_enough(picture: dict[str, Any], state: str) -> None:
    """Without multipathd a path is known to be down by its disk."""
    node = Node()
    node.say("paths", picture)
    found = node.say("paths", in_state(picture, state, "sda"))

    assert [event.kind for event in found] == ["multipath.path.failed", "multipath.map.degraded"]
    assert found[1].seen.excerpt == f"mpatha: 1 of 2 paths work; sda: the disk is {state}"


def test_a_disk_that_is_blocked_for_a_moment_is_no_fault(picture: dict[str, Any]) -> None:
    """Blocked in one look and running in the next says nothing; blocked in two is a failed path."""
    node = Node()
    node.say("paths", picture)
    assert node.say("paths", in_state(picture, "blocked", "sda", times=1)) == []
    assert node.say("paths", picture) == []
    assert node.say("paths", in_state(picture, "blocked", "sda", times=1)) == []
    assert kinds(node.say("paths", in_state(picture, "blocked", "sda", times=2))) == {f"lun/{LUN}": "multipath.map.degraded"}
    assert kinds(node.say("paths", in_state(picture, "blocked", "sda", times=1))) == {}, "blocked anew before it was settled"
    assert kinds(node.say("paths", picture)) == {f"lun/{LUN}": "multipath.map.restored"}


def test_a_live_controller_of_nvme_is_a_working_path(picture: dict[str, Any]) -> None:
    """dm-multipath over NVMe: `live` works, a controller that reconnects for longer than a moment or is dead does not."""
    node = Node()
    first = node.say("paths", in_state(picture, "live", "sda", "sdb"))
    moment = node.say("paths", in_state(picture, "connecting", "sda", times=1))
    lasting = node.say("paths", in_state(picture, "connecting", "sda", times=2))
    dead = node.say("paths", in_state(picture, "dead", "sda", "sdb"))

    assert kinds(first)[f"lun/{LUN}"] == "multipath.wwid.confirmed"
    assert "multipath.map.restored" in {event.kind for event in first if event.subject.key == LUN}
    assert moment == []
    assert [kinds(found) for found in (lasting, dead)] == [{f"lun/{LUN}": "multipath.map.degraded"}, {f"lun/{LUN}": "multipath.map.lost"}]


def test_a_standby_path_works(picture: dict[str, Any]) -> None:
    """The passive controller of an active-passive array is a ghost, and not a failure."""
    node = Node()
    node.say("paths", picture)
    maps = read_maps((SAMPLES / "multipath/maps-good.bin").read_bytes()[8:])
    for one in maps:
        one["paths"][0]["chk_st"] = "ghost"

    assert "multipath.map.degraded" not in kinds(node.say("daemon", {"maps": maps, "trouble": "", "times": 0})).values()


def test_a_path_that_is_gone_is_missed_also_after_a_restart(picture: dict[str, Any]) -> None:
    """A session logged out takes its disks away: the maps are degraded, and are still after the agent was started anew."""
    node = Node()
    node.say("paths", picture)
    found = node.say("paths", less(picture, "sda", "sdc"))
    anew = Node(json.loads(json.dumps(node.made.memory())))
    after = anew.say("paths", less(picture, "sda", "sdc"))

    for one in (found, after):
        assert [event.kind for event in one if event.kind.startswith("multipath.map")] == ["multipath.map.degraded"] * 2
    assert "1 not there any more" in found[0].seen.excerpt


def test_a_path_that_stays_away_for_a_day_is_expected_no_more(picture: dict[str, Any]) -> None:
    """An administrator who took a portal away for good is not told of it for ever."""
    node = Node()
    node.say("paths", picture)
    node.say("paths", less(picture, "sda"))
    late = node.say("paths", less(picture, "sda"), after=86_000)
    over = node.say("paths", less(picture, "sda"), after=500)

    assert [event.kind for event in late if event.subject.key == LUN and event.kind.startswith("multipath.map")] == [
        "multipath.map.degraded"
    ]
    assert [event.kind for event in over if event.subject.key == LUN][:2] == ["multipath.map.restored", "multipath.map.single"]


def test_a_clock_that_is_set_takes_no_day(picture: dict[str, Any]) -> None:
    """A node boots with a wrong clock: once it was set a missing path is missed as before, by this agent and the next one, for a day."""
    node = Node()
    node.say("paths", picture)
    node.say("paths", less(picture, "sda"))
    node.ahead = 40 * 365 * 86_400 * SECOND
    after = node.say("paths", less(picture, "sda"))
    anew = Node(json.loads(json.dumps(node.made.memory())))
    anew.ahead = node.ahead
    wrong = Node(json.loads(json.dumps(node.made.memory())))
    wrong.ahead = 2 * node.ahead
    found = [after, anew.say("paths", less(picture, "sda")), anew.say("paths", less(picture, "sda"), after=86_000)]
    found.append(wrong.say("paths", less(picture, "sda")))
    over = anew.say("paths", less(picture, "sda"), after=500)

    assert all("multipath.map.restored" not in {event.kind for event in one if event.subject.key == LUN} for one in found)
    assert "multipath.map.restored" in {event.kind for event in over if event.subject.key == LUN}


def test_paths_that_are_there_for_a_moment_are_not_missed_later(picture: dict[str, Any]) -> None:
    """While LUNs are swapped a map may hold another's disks: only what it had for two minutes is expected of it."""
    more = copy.deepcopy(picture)
    more["maps"]["dm-0"]["legs"] += ["sdc", "sdd"]
    for name in ("sdc", "sdd"):
        more["disks"][name]["names"] = more["disks"]["sda"]["names"]
    short, long = Node(), Node()
    for node, seconds in ((short, 60), (long, 130)):
        node.say("paths", picture)
        node.say("paths", more)
        node.say("paths", more, after=seconds)

    assert "multipath.map.degraded" not in kinds(short.say("paths", picture)).values()
    assert kinds(long.say("paths", picture))[f"lun/{LUN}"] == "multipath.map.degraded"


def test_a_map_that_never_had_two_paths_is_no_fault(picture: dict[str, Any]) -> None:
    """It works: said as such, and once that it is alone."""
    node = Node()
    first = node.say("paths", less(picture, "sda"))
    more = [event for _ in range(5) for event in node.say("paths", less(picture, "sda"), after=400)]
    node.made.repeat()
    again = node.say("paths", less(picture, "sda"))

    assert [event.kind for event in first if event.kind.startswith("multipath.map") and event.subject.key == LUN] == [
        "multipath.map.restored",
        "multipath.map.single",
    ]
    assert "multipath.map.single" not in {event.kind for event in more}
    assert "multipath.map.single" in {event.kind for event in again}
    assert all(event.state != "bad" for event in [*first, *more, *again])


def test_a_map_without_legs_is_lost(picture: dict[str, Any]) -> None:
    """All disks are gone and the map still queues for those who wait."""
    node = Node()
    node.say("paths", picture)
    found = node.say("paths", less(picture, "sda", "sdb"))

    assert [(event.kind, event.expected) for event in found if isinstance(event, MultipathMapLost)] == [("multipath.map.lost", 2)]


def test_a_live_path_to_another_lun_is_told_at_once(picture: dict[str, Any]) -> None:
    """LUNs exchanged on the array and rescanned: multipathd calls both paths ready; what is said is which LUN is overwritten."""
    node = Node()
    node.say("paths", picture)
    node.daemon("good")
    found = node.say("paths", swapped(picture))
    assert node.daemon("swapped") == []

    assert [event.kind for event in found] == ["multipath.wwid.changed"]
    assert isinstance(found[0], MultipathWwidChanged)
    assert (found[0].subject.key, found[0].device, found[0].expected, found[0].found) == (LUN, "sda, sdb", LUN, FOREIGN)
    assert "writing on destroys data" in found[0].seen.excerpt
    assert kinds(node.say("paths", picture)) == {f"lun/{LUN}": "multipath.wwid.confirmed"}


def test_a_recorded_exchange_is_seen_by_an_agent_that_starts_then() -> None:
    """The host `swapped`: the first look of an agent that knows nothing of before."""
    found = Node().say("paths", Paths(SAMPLES / "hosts/swapped").look().picture)

    assert [(event.kind, event.subject.key) for event in found if event.state == "bad"] == [("multipath.wwid.changed", HOST_LUN)]


def test_the_disk_itself_is_believed_before_the_kernel(picture: dict[str, Any]) -> None:
    """An INQUIRY tells of the exchange before any rescan, and of its end; what the kernel then reads anew is newer."""
    node = Node()
    node.say("paths", picture)
    foreign = disk("a", 2, 0, "lun2")["names"]
    own = picture["disks"]["sda"]["names"]
    told = node.say("identity", {"disks": {"sda": foreign}})
    ended = node.say("identity", {"disks": {"sda": own}})
    rescanned = node.say("paths", swapped(picture))

    assert kinds(told) == {f"lun/{LUN}": "multipath.wwid.changed"}
    assert kinds(ended) == {f"lun/{LUN}": "multipath.wwid.confirmed"}
    assert kinds(rescanned) == {f"lun/{LUN}": "multipath.wwid.changed"}


def test_an_exchange_is_over_when_its_map_is_gone(picture: dict[str, Any]) -> None:
    """`multipath -f`: nobody writes through that map any more."""
    node = Node()
    node.say("paths", swapped(picture))
    gone = swapped(picture)
    del gone["maps"]["dm-0"]
    found = node.say("paths", gone)

    assert {event.kind for event in found if event.subject.key == LUN} == {"multipath.map.changed", "multipath.wwid.confirmed"}


def test_a_wwid_that_is_a_text_is_compared_with_what_was_there_first(picture: dict[str, Any]) -> None:
    """A map named by another attribute cannot be compared with page 83: the disk's first identity is the yardstick."""
    picture["maps"]["dm-0"]["wwid"] = "0QEMU_disk-7"
    node = Node()
    assert "multipath.wwid.changed" not in {event.kind for event in node.say("paths", picture)}
    found = node.say("paths", swapped(picture))

    assert [event.kind for event in found] == ["multipath.wwid.changed"]


def test_a_disk_without_a_map_that_leads_elsewhere_is_told(picture: dict[str, Any]) -> None:
    """LVM or a guest directly on a path: its first identity counts, until the disk is another one."""
    picture["maps"] = {}
    node = Node()
    assert node.say("paths", picture) == []
    found, back = node.say("paths", swapped(picture)), node.say("paths", picture)
    node.say("paths", less(picture, "sda", "sdb"))
    new = node.say("paths", swapped(picture))

    assert kinds(found) == {f"lun/{LUN}": "scsi.lun.remapped"}
    assert kinds(back) == {f"lun/{LUN}": "scsi.lun.confirmed"}
    assert new == []


def test_a_disk_that_shows_no_name_any_more_is_not_judged(picture: dict[str, Any]) -> None:
    """It led elsewhere and now the kernel knows no identity of it: nothing is taken back, and what else the record tells is told."""
    picture["maps"] = {}
    node = Node()
    node.say("paths", picture)
    node.say("paths", swapped(picture))
    nameless = swapped(picture)
    for name in ("sda", "sdb"):
        nameless["disks"][name] |= {"names": [], "wwid": ""}
    nameless["maps"]["dm-1"] = {"map": "mpathb", "wwid": LUN1, "legs": ["sdc", "sdd"]}

    assert kinds(node.say("paths", nameless)) == {f"lun/{LUN1}": "multipath.wwid.confirmed"}
    assert kinds(node.say("paths", picture))[f"lun/{LUN}"] == "scsi.lun.confirmed"


def test_two_lun_numbers_with_one_wwid_are_a_conflict(picture: dict[str, Any]) -> None:
    """A target that gives a copy the WWID of the original: said, and taken back when it is over."""
    twice = copy.deepcopy(picture)
    twice["disks"]["sde"] = disk("e", 1, 5, "lun0")
    node = Node()
    found, back = node.say("paths", twice), node.say("paths", picture)

    assert [event.kind for event in found if event.state == "bad"] == ["multipath.identity.conflict"]
    assert "sdb and sde are two LUN numbers" in found[-1].seen.excerpt
    assert kinds(back) == {f"lun/{LUN}": "multipath.identity.unique"}


def test_disks_that_were_not_rescanned_yet_are_no_conflict(picture: dict[str, Any]) -> None:
    """Two LUNs change places; the first disk already shows it, the second does not."""
    half = copy.deepcopy(picture)
    half["disks"]["sda"]["names"] = picture["disks"]["sdc"]["names"]
    node = Node()
    node.say("paths", picture)

    assert [event.kind for event in node.say("paths", half)] == ["multipath.wwid.changed"]


def test_a_daemon_in_trouble_is_believed_at_its_second_sight(picture: dict[str, Any]) -> None:
    """A restart is no fault; a daemon that stays away is, with the reason; its old word on paths holds until then."""
    node = Node()
    node.say("paths", picture)
    node.daemon("one-path")
    assert node.daemon("", "multipathd does not run", 1) == []
    found = node.daemon("", "multipathd does not run", 2)

    assert [(event.kind, event.subject.key) for event in found if event.subject.kind == "node"] == [("multipath.daemon.failed", "pve1")]
    assert kinds(found) == dict.fromkeys((f"lun/{LUN}", f"lun/{LUN1}"), "multipath.map.restored"), "then only the kernel's word counts"
    assert [event.kind for event in node.daemon("") if event.subject.kind == "node"] == ["multipath.daemon.started"], "also without maps"


def test_a_node_without_multipath_says_nothing() -> None:
    """No maps and no daemon: nobody asked for either."""
    node = Node()

    assert node.say("paths", {"maps": {}, "disks": {}}) == []
    assert [event for times in (1, 2, 3, 3) for event in node.daemon("", "multipathd does not run", times)] == []


def test_what_is_bad_is_said_again_each_minute(picture: dict[str, Any]) -> None:
    """A controller may forget what is not renewed."""
    node = Node()
    node.say("paths", in_state(picture, "offline", "sda"))
    said = [event.kind for _ in range(130) for event in node.say("paths", in_state(picture, "offline", "sda"))]

    assert said.count("multipath.path.failed") == 2


def test_hundreds_of_paths_fit(picture: dict[str, Any]) -> None:
    """Long lists of devices are cut to what an event may hold, and the events stay valid."""
    many = {f"sd{number:04}": disk("a", 2, 0, "lun2") | {"dev": f"8:{number}", "address": ""} for number in range(600)}
    picture["disks"] |= many
    picture["maps"]["dm-0"]["legs"] = list(many)
    node = Node()

    assert "multipath.wwid.changed" in {event.kind for event in node.say("paths", picture)}
    assert "multipath.map.lost" in {event.kind for event in node.say("paths", in_state(picture, "offline", *many))}


TEXT = st.text(max_size=40)


@given(
    wwid=TEXT,
    name=TEXT,
    dev=TEXT,
    state=TEXT,
    address=TEXT,
    known=st.lists(st.sampled_from([LUN, LUN1, "1a_b", "2" + "0" * 16]), max_size=3),
)
def test_any_names_give_valid_events(wwid: str, name: str, dev: str, state: str, address: str, known: list[str]) -> None:
    """Whatever stands in sysfs, nothing is raised."""
    row = {"dev": dev, "address": address, "via": "", "state": state, "times": 2, "wwid": wwid, "names": known}
    node = Node()
    for legs in ([], ["sda"], ["sda", "sdb"]):
        node.say("paths", {"maps": {"dm-0": {"map": name, "wwid": wwid, "legs": legs}}, "disks": {"sda": row, "sdb": row}})


def test_records_of_other_looks_and_errors_are_nothing() -> None:
    """A look that hung or failed says nothing of maps; a disk's own word is then forgotten."""
    node = MultipathClassifier("pve1")
    for fields in ({"look": "paths", "error": "x"}, {"look": "identity", "hung": "5"}, {"look": "other", "found": "{}"}, {}):
        assert node.classify(RawRecord(Source.MULTIPATH, 1, 1, "boot", fields)) == []
