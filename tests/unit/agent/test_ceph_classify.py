"""What is said of placement groups, OSDs and monitors by answers and lines of real clusters (tests/samples/ceph), single facts changed."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from typing import Any, Final

import pytest

from agent.classify.ceph import CephClassifier
from agent.record import RawRecord
from agent.sources.ceph import map_of
from events.agent import AgentSourceFailed, AgentSourceWorks
from events.base import Event, Source
from events.ceph import CephMonDown, CephOpsSlow, CephOsdDown, CephPgsInactive
from tests.ceph.replaying import read, timeline
from tests.ceph.test_recordings import SAMPLES

SECOND: Final = 1_000_000
START: Final = 1_795_000_000
RELEASE: Final = SAMPLES / "ceph" / "18.2"
WELL: Final[dict[str, Any]] = {"status": "HEALTH_OK", "checks": {}, "mutes": []}
_COMMANDS: Final = ("quorum_status", "status", "osd tree", "osd dump", "df")

Map = dict[str, Any]


@cache
def _picture(recording: str, name: str) -> str:
    answers = json.loads(read(RELEASE / recording / f"{name}.json"))
    return json.dumps(map_of(*(answers[command]["answer"] for command in _COMMANDS)))


def picture(recording: str = "healthy", name: str = "before") -> Map:
    """Return what the look ``map`` gave before, during or after what was recorded."""
    found: Map = json.loads(_picture(recording, name))
    return found


def fsid() -> str:
    """Return the identity of the cluster that was well."""
    return str(json.loads(read(RELEASE / "healthy" / "truth.json"))["fsid"])


def health(recording: str, code: str, text: str = "") -> dict[str, Any]:
    """Return the first answer to ``health detail`` with a check whose details or summary have this text, of its checks that one alone."""
    for entry in timeline(RELEASE / recording):
        checks = entry["answer"]["checks"] if entry["kind"] == "answer" and entry["command"] == "health" else {}
        if code in checks and text in json.dumps(checks[code]):
            return {"status": "HEALTH_WARN", "checks": {code: deepcopy(checks[code])}, "mutes": []}
    raise AssertionError(f"{recording} has no {code} with {text!r}")


def line(recording: str, text: str) -> str:
    """Return the first line of the cluster's log with this text."""
    return str(next(entry["text"] for entry in timeline(RELEASE / recording) if entry["kind"] == "log" and text in entry["text"]))


def groups(*states: tuple[str, int]) -> Map:
    """Return a map of the cluster that is well, with groups in these states."""
    found = picture()
    found["status"]["pgmap"]["pgs_by_state"] = [{"state_name": name, "count": count} for name, count in states]
    return found


class Cluster:
    """One cluster as one agent sees it."""

    def __init__(self) -> None:
        self.made = CephClassifier("pve1")

    def say(self, look: str, at: float, found: dict[str, Any]) -> list[Event]:
        """Return what a record at so many seconds says."""
        when = round((START + at) * SECOND)
        body = json.dumps({"cluster": "ceph", "fsid": fsid(), **found})
        return self.made.classify(RawRecord(Source.CEPH, when, when, "boot", {"look": f"{look}@ceph", "found": body}))

    def health(self, at: float, answer: dict[str, Any]) -> list[Event]:
        """Return what an answer to ``health detail`` says."""
        return self.say("health", at, {"health": answer})

    def map(self, at: float, found: Map) -> list[Event]:
        """Return what a map says."""
        return self.say("map", at, found)

    def line(self, at: float, text: str) -> list[Event]:
        """Return what a line of the log says."""
        return self.say("log", at, {"lines": [{"text": text}]})


def kinds(events: list[Event], begin: str = "") -> set[str]:
    """Return the kinds of events that begin so."""
    return {event.kind for event in events if event.kind.startswith(begin)}


def times(cluster: Cluster, found: Map, until: int, kind: str, since: int = 0) -> list[int]:
    """Return at which seconds, looking each 10 s, a kind of event is said."""
    return [at for at in range(since, until + 1, 10) if kind in kinds(cluster.map(at, found))]


# Placement groups


@pytest.mark.parametrize("state", ["stale+active+clean", "unknown"])
def test_groups_that_nobody_tells_of_are_neither_well_nor_at_a_standstill_at_once(state: str) -> None:
    """Of groups that are stale or unknown nothing is said for a minute, and then that they serve no I/O, until they are seen again."""
    cluster, all_of_them = Cluster(), groups((state, 17))
    cluster.health(-1, WELL)
    for at in range(0, 60, 10):
        assert kinds(cluster.map(at, all_of_them), "ceph.pg.") == set()
    said = [event for at in (60, 70) for event in cluster.map(at, all_of_them)]

    assert [event.pgs for event in said if isinstance(event, CephPgsInactive)] == [17]
    assert kinds(said, "ceph.pg.") == {"ceph.pg.inactive"}
    assert kinds(cluster.map(80, groups(("active+clean", 17))), "ceph.pg.") == {"ceph.pg.active", "ceph.pg.clean"}


def test_one_stale_group_among_others_is_enough() -> None:
    """That all groups serve I/O and have their copies is not said while a single one of them is stale."""
    cluster = Cluster()
    cluster.health(-1, WELL)

    assert kinds(cluster.map(0, groups(("active+clean", 16), ("stale+active+clean", 1))), "ceph.pg.") == set()


def test_stale_groups_that_ceph_names_are_inactive_at_once() -> None:
    """What PG_AVAILABILITY calls stale has lasted by Ceph's own measure."""
    cluster = Cluster()
    cluster.health(0, health("pool-size-1", "PG_AVAILABILITY", "stuck stale"))
    said = cluster.map(1, groups(("active+clean", 14), ("stale+active+clean", 3)))

    assert [event.pgs for event in said if isinstance(event, CephPgsInactive)] == [3]


def test_what_stands_still_does_not_recover_by_becoming_unknown() -> None:
    """Groups that were inactive and are unknown now are not said to be active or whole."""
    cluster = Cluster()
    cluster.health(-1, WELL)
    cluster.map(0, groups(("active+clean", 17)))
    down = groups(("undersized+degraded+peered", 17))
    assert "ceph.pg.inactive" in kinds([*cluster.map(10, down), *cluster.map(20, down)])

    assert kinds([*cluster.map(30, groups(("unknown", 17))), *cluster.map(40, groups(("unknown", 17)))], "ceph.pg.") == set()


def test_a_new_manager_has_time_to_hear_of_all_groups() -> None:
    """After a manager's failover groups are unknown for a while, and named as such: that is no standstill until two minutes have passed."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(0, groups(("active+clean", 17)))
    cluster.line(1, line("mgr-failover", "is now available"))
    assert times(cluster, groups(("unknown", 17)), 110, "ceph.pg.inactive", 10) == []
    assert times(cluster, groups(("unknown", 17)), 150, "ceph.pg.inactive", 120) == [140]

    named = Cluster()
    named.line(0, line("mgr-failover", "is now available"))
    named.health(1, health("pool-size-1", "PG_AVAILABILITY", "stuck stale"))
    assert times(named, groups(("stale+active+clean", 17)), 80, "ceph.pg.inactive", 10) == [60]


def test_groups_without_a_manager_do_not_age() -> None:
    """The minute of groups that a manager does not know begins when there is one again."""
    cluster, unknown = Cluster(), groups(("unknown", 17))
    cluster.health(0, health("mgrs-killed", "MGR_DOWN"))
    assert times(cluster, unknown, 100, "ceph.pg.inactive") == []
    cluster.health(101, WELL)

    assert times(cluster, unknown, 210, "ceph.pg.inactive", 102) == []


def test_groups_that_are_merged_are_no_fault() -> None:
    """A pool that gets fewer groups has some that wait for their merger and serve no I/O: only Ceph's own word makes a fault of them."""
    cluster, merging = Cluster(), groups(("active+clean", 15), ("clean+premerge+peered", 2))
    cluster.health(-1, WELL)
    said = [event for at in range(0, 200, 10) for event in cluster.map(at, merging)]
    assert kinds(said, "ceph.pg.") == {"ceph.pg.active", "ceph.pg.clean"}

    cluster.health(200, health("rack-killed", "PG_AVAILABILITY", "inactive"))
    assert "ceph.pg.inactive" in kinds(cluster.map(201, merging))


# Slow requests


@pytest.mark.parametrize("words", ["mon.b has slow ops", "daemons [mon.a,mon.b] have slow ops."])
def test_slow_requests_of_monitors_are_no_clients(words: str) -> None:
    """Where monitors alone are named no client's request is blocked; the check itself is told as Ceph says it."""
    raised = health("mgrs-killed", "SLOW_OPS")
    before = raised["checks"]["SLOW_OPS"]["summary"]["message"]
    raised["checks"]["SLOW_OPS"]["summary"]["message"] = f"{before.partition('sec, ')[0]}sec, {words}"
    said = Cluster().health(0, raised)

    assert not [event for event in said if isinstance(event, CephOpsSlow)]
    assert {"ceph.check.raised", "ceph.ops.normal"} <= kinds(said)


def test_slow_requests_of_osds_are_told_as_before() -> None:
    """A monitor that is named beside OSDs takes nothing from what is said of them."""
    raised = health("slow-osd", "SLOW_OPS")
    assert [event for event in Cluster().health(0, raised) if isinstance(event, CephOpsSlow)]

    raised["checks"]["SLOW_OPS"]["summary"]["message"] = "6 slow ops, oldest one blocked for 47 sec, daemons [osd.3,mon.b] have slow ops."
    subjects = [str(event.subject) for event in Cluster().health(0, raised) if isinstance(event, CephOpsSlow)]
    assert subjects == [f"ceph-osd/{fsid()}/3"]


def test_slow_requests_of_monitors_are_no_sign_of_a_recovery_that_starves_clients() -> None:
    """While data moves a slow monitor says nothing of clients."""
    cluster = Cluster()
    for at in range(0, 60, 10):
        cluster.health(at, health("mgrs-killed", "SLOW_OPS"))
        assert "ceph.recovery.saturated" not in kinds(cluster.map(at + 1, groups(("active+remapped+backfilling", 17))))

    cluster.health(60, health("backfill-saturated", "SLOW_OPS"))
    said = [*cluster.map(61, groups(("active+remapped+backfilling", 17))), *cluster.map(71, groups(("active+remapped+backfilling", 17)))]
    assert "ceph.recovery.saturated" in kinds(said)


# OSDs


def _osd(found: Map, number: int) -> dict[str, Any]:
    return next(node for node in found["tree"] if node["id"] == number)


def down(found: Map, *osds: int) -> Map:
    """Return a map with these OSDs down."""
    for osd in osds:
        _osd(found, osd)["status"] = "down"
    return found


def flagged(found: Map, **flags: str) -> Map:
    """Return a map with a flag for a CRUSH bucket, or a device class (``device_class_flags``)."""
    for where, name in flags.items():
        found["dump"][where] = {name: ["noout"]}
    return found


def planned(found: Map, osd: int = 2) -> set[bool]:
    """Return whether an OSD that goes down under these flags is said to be meant."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, found)
    said = [event for at in (11, 21) for event in cluster.map(at, down(deepcopy(found), osd))]
    return {event.planned for event in said if isinstance(event, CephOsdDown)}


def test_noout_holds_for_all_that_is_below_its_name() -> None:
    """A flag of an OSD's host, of its rack, of the root or of its device class says that somebody works on it."""
    racks = "rack-killed"
    assert planned(picture(racks)) == {False}
    for name in ("hB", "r2", "default"):
        assert planned(flagged(picture(racks), crush_node_flags=name)) == {True}, name
    assert planned(flagged(picture(racks), device_class_flags="hdd")) == {True}


def test_noout_holds_for_nobody_beside_its_name() -> None:
    """A flag of another host, rack or device class says nothing of an OSD."""
    for name in ("hA", "r1"):
        assert planned(flagged(picture("rack-killed"), crush_node_flags=name)) == {False}, name
    assert planned(flagged(picture("rack-killed"), device_class_flags="ssd")) == {False}


def test_tree_with_a_circle_is_survived() -> None:
    """A broken answer in which a bucket contains itself ends nothing."""
    found = picture()
    root = next(node for node in found["tree"] if node["type"] == "root")
    root["children"] = [*root["children"], root["id"]]

    assert Cluster().map(0, found)


def drained(osd: int) -> Map:
    """Return a map of the cluster that is well with one OSD taken out."""
    found = picture()
    _osd(found, osd)["reweight"] = 0
    return found


def test_an_osd_that_is_drained_and_stopped_in_order_is_no_fault() -> None:
    """One that was out before it was stopped in order is taken away: nobody is told, not even after the time that a restart has."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, picture())
    cluster.map(11, drained(4))
    cluster.line(20, line("osd-restarted", "osd.4 marked itself down"))
    said = [event for at in range(21, 300, 10) for event in cluster.map(at, down(drained(4), 4))]

    assert not [event for event in said if isinstance(event, CephOsdDown)]


def test_an_osd_that_is_stopped_in_order_and_in_is_told_as_before() -> None:
    """One that was in when it was stopped is planned for the time of a restart, and then a fault, also once it is taken out."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, picture())
    cluster.line(20, line("osd-restarted", "osd.4 marked itself down"))
    said = [event for at in range(21, 91, 10) for event in cluster.map(at, down(picture(), 4))]
    assert {event.planned for event in said if isinstance(event, CephOsdDown)} == {True}

    said = [event for at in range(91, 300, 10) for event in cluster.map(at, down(drained(4), 4))]
    assert False in {event.planned for event in said if isinstance(event, CephOsdDown)}


def test_an_osd_that_is_drained_and_dies_is_told_as_before() -> None:
    """One that was out and is killed is a fault: others were still reading from it, perhaps."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, picture())
    cluster.map(11, drained(0))
    said = cluster.line(20, line("osd-killed", "osd.0 failed"))

    assert [event.planned for event in said if isinstance(event, CephOsdDown)] == [False]


def test_a_host_with_a_drained_osd_is_still_down_as_a_whole() -> None:
    """What was taken out of service before does not hide that all other OSDs of its bucket are down."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, picture("rack-killed"))
    found = picture("rack-killed")
    _osd(found, 2)["reweight"] = 0
    cluster.map(11, found)
    cluster.line(20, line("noout-maintenance", "osd.2 marked itself down"))
    cluster.map(21, down(deepcopy(found), 2))
    said = [event for at in (31, 41) for event in cluster.map(at, down(deepcopy(found), 2, 3, 4, 5))]

    assert {f"ceph-host/{fsid()}/r2", f"ceph-host/{fsid()}/hC"} == {str(one.subject) for one in said if one.kind == "ceph.host.down"}


# Monitors


def named(host: str, found: Map | None = None) -> Map:
    """Return the map of a cluster in which host hB has the name of a monitor, as Proxmox VE names both by the node."""
    text = json.dumps(picture() if found is None else found)
    renamed: Map = json.loads(text.replace('"hB"', json.dumps(host)))
    return renamed


def mon_and(osds: bool) -> dict[str, Any]:
    """Return health with monitor c down, and both OSDs of its host where ``osds`` says so."""
    raised = health("mon-killed", "MON_DOWN", "mon.c")
    if osds:
        both = json.loads(read(RELEASE / "host-noout-maintenance" / "during.json"))["health"]["answer"]["checks"]["OSD_DOWN"]
        raised["checks"]["OSD_DOWN"] = json.loads(json.dumps(both).replace("host=hB", "host=c"))
    return raised


def monitor(events: list[Event]) -> list[bool]:
    """Return for each word that monitor c is down whether it was meant."""
    return [event.planned for event in events if isinstance(event, CephMonDown) and str(event.subject).endswith("/c")]


@pytest.mark.parametrize("flags", [{"crush_node_flags": "c"}, {"crush_node_flags": "default"}, {"device_class_flags": "hdd"}])
def test_a_monitor_that_is_down_with_its_host_is_meant_where_its_osds_are(flags: dict[str, str]) -> None:
    """A node that is rebooted under noout has its monitor and all its OSDs down: the monitor is planned from its first word on."""
    cluster, well = Cluster(), flagged(named("c"), **flags)
    cluster.health(0, WELL)
    cluster.map(1, well)

    assert monitor(cluster.health(10, mon_and(osds=True))) == [True]


def test_a_monitor_whose_host_was_stopped_in_order_is_meant_for_as_long_as_its_osds() -> None:
    """Without noout a host that is stopped in order is planned for the time of a restart, and its monitor with it; then both are told."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, named("c"))
    for osd in (2, 3):
        cluster.line(5, line("noout-maintenance", f"osd.{osd} marked itself down"))
    said = {at: monitor(cluster.health(at, mon_and(osds=True))) for at in range(10, 200, 10)}

    assert said[10] == [True]
    assert min(at for at, words in said.items() if words == [False]) == 130


def test_a_monitor_alone_is_a_fault_under_noout() -> None:
    """A monitor that is down while an OSD of its host is up was not meant, whatever flags are set; nor was one of another host."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, flagged(named("c"), crush_node_flags="c"))
    assert monitor(cluster.health(10, mon_and(osds=False))) == [False]

    other = Cluster()
    other.health(0, WELL)
    other.map(1, flagged(named("b"), crush_node_flags="b"))
    assert monitor(other.health(10, mon_and(osds=True))) == [False]


def test_a_host_whose_osds_were_not_meant_has_a_monitor_that_was_not() -> None:
    """A node that dies has its monitor and its OSDs down, without any flag: all of it is told."""
    cluster = Cluster()
    cluster.health(0, WELL)
    cluster.map(1, named("c"))

    assert monitor(cluster.health(10, mon_and(osds=True))) == [False]


def test_a_monitor_that_comes_back_after_its_osds_stays_meant_for_a_while() -> None:
    """When a host is back its OSDs may be up before its monitor: nobody is called for these seconds, and somebody is when they last."""
    cluster, well = Cluster(), flagged(named("c"), crush_node_flags="c")
    cluster.health(0, WELL)
    cluster.map(1, well)
    cluster.health(10, mon_and(osds=True))
    cluster.map(11, down(deepcopy(well), 2, 3))
    cluster.map(21, well)
    cluster.map(31, well)
    said = {at: monitor(cluster.health(at, mon_and(osds=False))) for at in range(32, 400, 2)}

    assert not [at for at, words in said.items() if False in words and at < 120]
    assert [at for at, words in said.items() if False in words]


def test_a_monitor_is_not_judged_before_the_maps_are_known() -> None:
    """An agent that starts during a maintenance waits for the flags, a few looks long and no longer."""
    cluster = Cluster()
    assert monitor([*cluster.health(0, mon_and(osds=True)), *cluster.health(2, mon_and(osds=True))]) == []
    cluster.map(3, flagged(named("c"), crush_node_flags="c"))
    assert monitor(cluster.health(4, mon_and(osds=True))) == [True]

    blind = Cluster()
    assert monitor([event for at in range(0, 10, 2) for event in blind.health(at, mon_and(osds=False))]) == [False]


# What an agent cannot ask


def _all_heard(cluster: Cluster, at: float) -> list[Event]:
    rows = [{"name": name, "address": "127.0.0.1", "outcome": "accepted"} for name in "abc"]
    return cluster.say("monitors", at, {"monitors": rows})


@pytest.mark.parametrize("what", ["trouble", "keyless"])
def test_a_refused_key_is_no_lost_quorum(what: str) -> None:
    """Silence that turns out to be a refused or missing key is not told as a lost quorum, nor told on where it was."""
    cluster = Cluster()
    _all_heard(cluster, 0)
    cluster.health(1, WELL)
    cluster.say("health", 10, {"silent": "health: no monitor answered within the deadline"})
    cluster.say("health", 15, {what: "the monitors refuse client.faultline"})
    said = [event for at in range(16, 300, 2) for event in _all_heard(cluster, at)]

    assert "ceph.quorum.lost" not in kinds(said)


def test_silence_that_lasts_is_a_lost_quorum_still() -> None:
    """Monitors that are all heard and answer nothing for longer than an election takes have no quorum."""
    cluster = Cluster()
    _all_heard(cluster, 0)
    cluster.health(1, WELL)
    said = []
    for at in range(10, 32, 2):
        said += [*cluster.say("health", at, {"silent": "health: no monitor answered within the deadline"}), *_all_heard(cluster, at + 1)]

    assert "ceph.quorum.lost" in kinds(said)


def test_a_look_that_hangs_is_the_agents_trouble() -> None:
    """A look that does not come back says nothing of monitors: at its second sight the source is told to be blind, then to see again."""
    cluster = Cluster()
    _all_heard(cluster, 0)
    cluster.health(1, WELL)
    said = [
        cluster.made.classify(RawRecord(Source.CEPH, at, at, "boot", {"look": "health@ceph", "hung": "12.0"}))
        for at in ((START + 20) * SECOND, (START + 50) * SECOND)
    ]
    said.append([event for at in range(51, 200, 2) for event in _all_heard(cluster, at)])

    assert [kinds(one) for one in said[:2]] == [set(), {AgentSourceFailed.model_fields["kind"].default}]
    assert "ceph.quorum.lost" not in kinds(said[2])
    assert [event for event in cluster.health(200, WELL) if isinstance(event, AgentSourceWorks)]
