from __future__ import annotations

from itertools import permutations
from random import Random

from controller.core.state import CoreState
from controller.core.topology.domains import domains, network_of_node
from controller.core.topology.graph import Graph, Group, State, all_of
from controller.core.topology.impact import Effect, Impact, amid, impact
from events.base import Event
from events.definitions import CephMonitor, CephMonitorsListed, GuestGone, StorageDefined, StorageUndefined, VolumeUse
from events.entity import Entity, EntityKind
from tests.sim import facts as make

NODES = ("pve1", "pve2", "pve3")
NET = "10.0.1.0/24"
TARGET = "iqn.2005-10.org.freenas.ctl:pve"
WWID = "36001405e1069b6f08584509b666ec5a5"
FSID = "4b5c8c0a-ff60-454b-a1b4-9747aa737d19"


def addresses() -> list[Event]:
    """Return three nodes with a management and a storage network."""
    return [
        make.nodes(*NODES),
        make.corosync(*NODES),
        *(make.networks(node, f"10.0.0.{number}/24", f"10.0.1.{number}/24") for number, node in enumerate(NODES, 1)),
    ]


def nfs_cluster(*more: Event) -> CoreState:
    """Return three nodes, an NFS storage for all of them, a guest on each; 101 is managed by HA."""
    return make.core(
        *addresses(),
        make.storage("nfs1", "nfs", server="10.0.1.100", export="/export/pve"),
        *(make.guest(100 + number, node, "nfs1") for number, node in enumerate(NODES, 1)),
        make.managed(101),
        *more,
    )


def effects(found: Impact) -> dict[str, Effect]:
    """Return what becomes of each guest."""
    return {one.vmid: one.effect for one in found.guests}


class TestGraph:
    """Failure spreads upwards as far as nothing stands in for what failed."""

    def test_one_of_several_is_enough(self) -> None:
        """What needs one of two is degraded by the first loss and failed by the second."""
        graph = Graph()
        graph.set("target", [Group(("a", "b"))])
        graph.set("guest", all_of("target"))

        assert graph.spread(["a"]) == {"a": State.FAILED, "target": State.DEGRADED, "guest": State.DEGRADED}
        assert graph.spread(["a", "b"])["guest"] is State.FAILED

    def test_majority(self) -> None:
        """Of five votes three are needed."""
        graph = Graph()
        graph.set("cluster", [Group(("a", "b", "c", "d", "e"), 3)])

        assert graph.spread(["a", "b"])["cluster"] is State.DEGRADED
        assert graph.spread(["a", "b", "c"])["cluster"] is State.FAILED

    def test_asked_within_some_things_the_answer_is_the_same(self) -> None:
        """Whoever asks for some things only, and all that they need, is told of these what he would be told when asking for all."""
        dice = Random("within")
        for _ in range(200):
            graph = Graph()
            for number in range(1, 30):
                members = [f"n{dice.randrange(number + dice.randrange(3))}" for _ in range(dice.randint(1, 4))]
                graph.set(
                    f"n{number}",
                    [Group(tuple(members), dice.randint(1, len(members))), *all_of(f"n{dice.randrange(30)}")][: dice.randint(1, 2)],
                )
            failed = [f"n{dice.randrange(30)}" for _ in range(dice.randint(1, 5))]
            asked = {f"n{dice.randrange(30)}" for _ in range(3)}
            within = graph.below(*asked) | asked
            told = graph.spread(failed)

            assert {name: state for name, state in graph.spread(failed, within).items() if name in within} == {
                name: state for name, state in told.items() if name in within
            }

    def test_what_is_set_anew_forgets_what_it_needed(self) -> None:
        """A changed need leaves nothing of the old one."""
        graph = Graph()
        graph.set("guest", all_of("old"))
        graph.set("guest", all_of("new"))

        assert graph.spread(["old"]) == {"old": State.FAILED}
        assert "old" not in graph

    def test_circles_end(self) -> None:
        """Things that need each other, which only a wrong configuration can say, do not hang."""
        graph = Graph()
        graph.set("a", all_of("b"))
        graph.set("b", all_of("a"))

        assert graph.spread(["a"]) == {"a": State.FAILED, "b": State.FAILED}
        assert graph.below("a") == {"a", "b"}


class TestAmid:
    """What one failure touches, beside others."""

    def test_it_is_what_all_of_them_together_do_to_it(self) -> None:
        """Looking only at what one failure touches, nothing is told otherwise than looking at everything."""
        state = nfs_cluster(
            make.storage("nfs2", "nfs", server="10.0.1.101", export="/export/pve"),
            *(make.guest(200 + number, node, "nfs1", "nfs2") for number, node in enumerate(NODES, 1)),
            make.managed(201),
        )
        topology = state.topology
        failures = ["nfs-server/10.0.1.100", "nfs-server/10.0.1.101", "node/pve2", f"access/pve1/{NET}", "storage/nfs2@pve3"]
        for one, *others in permutations(failures, 3):
            alone, together = impact(topology, [one]), impact(topology, [one, *others])
            found = amid(topology, alone, [one, *others])

            assert set(found.guests) == {guest for guest in together.guests if guest.vmid in effects(alone)}
            names = {storage.storage for storage in alone.storages}
            assert set(found.storages) == {storage for storage in together.storages if storage.storage in names}

    def test_what_nothing_else_hits_stays_as_it_is(self) -> None:
        """Once only other things are broken, what a failure that is over did is told as it was."""
        topology = nfs_cluster(make.storage("nfs2", "nfs", server="10.0.1.101", export="/export/pve")).topology
        alone = impact(topology, ["nfs-server/10.0.1.100"])

        assert amid(topology, alone, ["nfs-server/10.0.1.101"]) == alone


class TestNfs:
    """An NFS storage needs its export, the export its server, and each node its own way."""

    def test_server(self) -> None:
        """A dead server freezes every guest; nobody can be moved, and HA cannot help."""
        found = impact(nfs_cluster().topology, ["nfs-server/10.0.1.100"])

        assert effects(found) == {"101": Effect.FROZEN, "102": Effect.FROZEN, "103": Effect.FROZEN}
        assert [one.failed for one in found.storages] == [NODES]
        assert not found.ha_can_help

    def test_way_of_one_node(self) -> None:
        """One node's lost storage network freezes its guests only, and the others could take them."""
        found = impact(nfs_cluster().topology, [f"access/pve1/{NET}"])

        assert effects(found) == {"101": Effect.FROZEN}
        assert found.guests[0].targets == ("pve2", "pve3")
        assert found.ha_can_help

    def test_node(self) -> None:
        """A node's loss stops what HA does not manage and restarts what it does."""
        state = nfs_cluster(make.guest(201, "pve1", "nfs1"))

        assert effects(impact(state.topology, ["node/pve1"])) == {"101": Effect.RESTARTED, "201": Effect.STOPPED}

    def test_subnet(self) -> None:
        """The storage network's loss freezes everything, the corosync network's costs the quorum."""
        topology = nfs_cluster().topology

        assert set(effects(impact(topology, [f"subnet/{NET}"])).values()) == {Effect.FROZEN}
        assert not impact(topology, [f"subnet/{NET}"]).quorum_lost
        assert impact(topology, ["subnet/10.0.0.0/24"]).quorum_lost

    def test_disabled_on_a_node(self) -> None:
        """A storage that is limited to some nodes hits only guests there, and offers no home elsewhere."""
        state = make.core(
            *addresses(),
            make.storage("nfs1", "nfs", nodes=("pve1",), server="10.0.1.100", export="/x"),
            make.guest(101, "pve1", "nfs1"),
        )

        assert impact(state.topology, ["node/pve1"]).guests[0].targets == ()

    def test_without_addresses_nothing_is_guessed(self) -> None:
        """A cluster whose nodes told no addresses has servers and nodes, and no networks."""
        state = make.core(make.nodes("pve1"), make.storage("nfs1", "nfs", server="nas", export="/x"), make.guest(101, "pve1", "nfs1"))

        assert not [name for name in state.topology.graph.names() if name.startswith(("access/", "subnet/"))]
        assert effects(impact(state.topology, ["nfs-server/nas"])) == {"101": Effect.FROZEN}

    def test_behind_a_router(self) -> None:
        """A server in no network of the node is reached through the network of the route's gateway."""
        state = make.core(
            make.nodes("pve1"),
            make.networks("pve1", "10.0.0.1/24", gateway="10.0.0.254"),
            make.storage("nfs1", "nfs", server="192.168.7.7", export="/x"),
        )

        assert network_of_node(state.topology, "pve1") == ("access/pve1/10.0.0.0/24",)


class TestIscsi:
    """A target is reached over any of its portals, LVM over its LUNs."""

    def cluster(self, *portals: str) -> CoreState:
        """Return two nodes with LVM on a LUN that they see through these portals."""
        names = ("pve1", "pve2")
        return make.core(
            make.nodes(*names),
            *(make.networks(node, f"10.0.1.{number}/24", f"10.0.2.{number}/24") for number, node in enumerate(names, 1)),
            *(make.sessions(node, TARGET, *portals, luns=(WWID,)) for node in names),
            *(make.volumes(node, "vg-iscsi", WWID) for node in names),
            make.storage("san", "iscsi", portal="10.0.1.100", target=TARGET),
            make.storage("vg", "lvm", vgname="vg-iscsi", base="san:0.0.0.scsi-3600"),
            make.guest(101, "pve1", "vg"),
            make.guest(102, "pve2", "vg"),
        )

    def test_one_of_two_portals(self) -> None:
        """With two portals the loss of one takes redundancy and nothing else."""
        found = impact(self.cluster("10.0.1.100:3260", "10.0.2.100:3260").topology, ["iscsi-portal/10.0.1.100:3260"])

        assert effects(found) == {"101": Effect.AT_RISK, "102": Effect.AT_RISK}
        assert all(not one.failed for one in found.storages)

    def test_only_portal(self) -> None:
        """With one portal its loss freezes everything on it."""
        found = impact(self.cluster("10.0.1.100:3260").topology, ["iscsi-portal/10.0.1.100:3260"])

        assert effects(found) == {"101": Effect.FROZEN, "102": Effect.FROZEN}

    def test_one_of_two_ways_of_a_node(self) -> None:
        """One node's cable to one of two portals is that node's redundancy; both cables are its guests."""
        topology = self.cluster("10.0.1.100:3260", "10.0.2.100:3260").topology

        assert effects(impact(topology, ["access/pve1/10.0.1.0/24"])) == {"101": Effect.AT_RISK}
        both = impact(topology, network_of_node(topology, "pve1"))
        assert effects(both) == {"101": Effect.FROZEN}
        assert both.guests[0].targets == ("pve2",)

    def test_sessions_that_events_told_of(self) -> None:
        """Before a node told all its sessions, those that logged in count: storage.cfg names one portal, the node uses two."""
        state = make.core(
            make.nodes("pve1"),
            make.storage("san", "iscsi", portal="10.0.1.100", target=TARGET),
            make.storage("vg", "lvm", vgname="vg-iscsi", base=f"san:0.0.0.scsi-{WWID}"),
            make.guest(101, "pve1", "vg"),
        )
        assert effects(impact(state.topology, ["iscsi-portal/10.0.1.100:3260"])) == {"101": Effect.FROZEN}
        for portal in ("10.0.1.100:3260", "10.0.2.100:3260"):
            state.topology.meet("pve1", TARGET, f"iscsi-portal/{portal}")

        assert effects(impact(state.topology, ["iscsi-portal/10.0.1.100:3260"])) == {"101": Effect.AT_RISK}
        assert effects(impact(state.topology, [f"lun/{WWID}"])) == {"101": Effect.FROZEN}, "the base names the LUN"

    def test_lun(self) -> None:
        """A LUN takes the volume group and the guests on it, wherever they run."""
        topology = self.cluster("10.0.1.100:3260", "10.0.2.100:3260").topology

        assert set(effects(impact(topology, [f"lun/{WWID}"])).values()) == {Effect.FROZEN}


class TestLocal:
    """What is local fails with its node only."""

    def test_local_disk(self) -> None:
        """A guest on a local disk has no other home, and no rule or HA gives it one."""
        state = make.core(
            *addresses(),
            make.storage("local-lvm", "lvmthin", shared=False, vgname="pve", thinpool="data"),
            make.guest(101, "pve1", "local-lvm"),
            make.managed(101),
        )
        found = impact(state.topology, ["node/pve1"])

        assert effects(found) == {"101": Effect.STOPPED}
        assert found.guests[0].targets == ()

    def test_directory_on_another_storage(self) -> None:
        """A directory below an NFS storage's mount point dies with the NFS server."""
        state = nfs_cluster(
            make.storage("nfs1", "nfs", server="10.0.1.100", export="/export/pve", path="/mnt/pve/nfs1"),
            make.storage("dir1", "dir", path="/mnt/pve/nfs1/vms"),
            make.guest(301, "pve2", "dir1"),
        )

        assert effects(impact(state.topology, ["nfs-server/10.0.1.100"]))["301"] is Effect.FROZEN

    def test_bind_mount_into_a_storage(self) -> None:
        """A container that binds a directory of an NFS storage's mount freezes with it, and moves nowhere by itself."""
        bind = VolumeUse(key="mp0", volume="/mnt/pve/nfs1/srv", role="bind", need="runtime")
        state = nfs_cluster(
            make.storage("nfs1", "nfs", server="10.0.1.100", export="/export/pve", path="/mnt/pve/nfs1"),
            make.guest(301, "pve2", uses=(bind,)),
        )
        hit = {one.vmid: one for one in impact(state.topology, ["nfs-server/10.0.1.100"]).guests}

        assert hit["301"].effect is Effect.FROZEN
        assert hit["301"].targets == ()

    def test_directory_on_a_mount_made_by_hand(self) -> None:
        """A directory on an NFS mount from fstab dies with that server on the nodes that mount it."""
        state = make.core(
            *addresses(),
            make.mounted("pve1", "10.0.1.50:/old", "/mnt/old", "nfs4"),
            make.storage("dir1", "dir", path="/mnt/old/vms"),
            make.guest(301, "pve1", "dir1"),
        )

        assert effects(impact(state.topology, ["nfs-server/10.0.1.50"])) == {"301": Effect.FROZEN}


class TestCeph:
    """Monitors are a majority; hosts may be lost as long as enough replicas stay."""

    def cluster(self) -> CoreState:
        """Return three nodes that are a Ceph cluster, and a guest on its pool."""
        return make.core(
            *addresses(),
            make.ceph(FSID, *((node, f"10.0.3.{number}") for number, node in enumerate(NODES, 1))),
            *(make.osds(node, FSID, 2 * number, 2 * number + 1) for number, node in enumerate(NODES)),
            make.storage("rbd1", "rbd", pool="vms"),
            make.guest(101, "pve1", "rbd1"),
        )

    def test_monitors(self) -> None:
        """One of three monitors is a risk, two are the end."""
        topology = self.cluster().topology
        monitors = [f"ceph-mon/{FSID}/{node}" for node in NODES]

        assert effects(impact(topology, monitors[:1])) == {"101": Effect.AT_RISK}
        assert effects(impact(topology, monitors[:2])) == {"101": Effect.FROZEN}

    def test_a_data_pool_of_its_own_is_needed_as_well(self) -> None:
        """An RBD storage with erasure coding needs the pool of its data and the pool of its images' headers."""
        state = make.core(
            *addresses(),
            make.ceph(FSID, *((node, f"10.0.3.{number}") for number, node in enumerate(NODES, 1))),
            make.storage("rbd1", "rbd", pool="vms", data_pool="vms-data"),
            make.guest(101, "pve1", "rbd1"),
        )
        hit = {pool: effects(impact(state.topology, [f"ceph-pool/{FSID}/{pool}"])) for pool in ("vms", "vms-data", "other")}

        assert hit == {"vms": {"101": Effect.FROZEN}, "vms-data": {"101": Effect.FROZEN}, "other": {}}

    def test_the_own_cluster_is_the_one_that_was_described_last(self) -> None:
        """A cluster that was created anew is what storages without monhost lie on, whatever its fsid; the old one is nobody's any more."""
        old, new = "00000000-dead-4000-8000-000000000000", FSID
        monitors = [(node, f"10.0.3.{number}") for number, node in enumerate(NODES, 1)]
        listed = CephMonitorsListed(
            subject=Entity(EntityKind.CEPH, old), seen=make.SEEN, monitors=tuple(CephMonitor(name=one, address=at) for one, at in monitors)
        )
        storages = [
            make.storage("rbd1", "rbd", pool="vms"),
            make.storage("rbd2", "rbd", pool="vms", monhost="10.0.3.1 10.0.3.2"),
            make.guest(101, "pve1", "rbd1"),
            make.guest(102, "pve1", "rbd2"),
        ]
        state = make.core(*addresses(), make.ceph(old, *monitors), listed, *storages, make.ceph(new, *monitors))
        frozen = {"101": Effect.FROZEN, "102": Effect.FROZEN}

        assert [effects(impact(state.topology, [f"ceph/{fsid}"])) for fsid in (old, new)] == [{}, frozen]
        assert state.facts.monitor_at("10.0.3.1") == f"{new}/pve1"

        state.learn(make.ceph(old, *monitors), 1000)
        assert [effects(impact(state.topology, [f"ceph/{fsid}"])) for fsid in (old, new)] == [frozen, {}]

        state.learn(make.ceph(new, *monitors), 500)  # late: observed before
        assert state.facts.own_ceph() == old

    def test_hosts(self) -> None:
        """With three replicas of which two are needed, the second lost host freezes the pool."""
        topology = self.cluster().topology

        assert effects(impact(topology, [f"ceph-host/{FSID}/pve2"])) == {"101": Effect.AT_RISK}
        assert effects(impact(topology, [f"ceph-host/{FSID}/pve2", f"ceph-host/{FSID}/pve3"])) == {"101": Effect.FROZEN}

    def test_node_takes_its_monitor_and_disks(self) -> None:
        """A node of a hyperconverged cluster is a monitor and a host of disks as well."""
        found = impact(self.cluster().topology, ["node/pve2"])

        assert {f"ceph-mon/{FSID}/pve2", f"ceph-host/{FSID}/pve2"} <= found.entities.keys()
        assert effects(found) == {"101": Effect.AT_RISK}


class TestRules:
    """Where HA may put a guest is where it can go."""

    def test_strict_rule(self) -> None:
        """A strict rule leaves only its nodes; one that is disabled or that HA itself drops leaves all."""
        strict = make.rule("r", "pve1", "pve2", resources=("vm:101",), strict=True)
        dropped = make.rule("r", "pve1", resources=("vm:101",), strict=True, dropped="in two rules")

        assert impact(nfs_cluster(strict).topology, ["node/pve1"]).guests[0].targets == ("pve2",)
        assert impact(nfs_cluster(dropped).topology, ["node/pve1"]).guests[0].targets == ("pve2", "pve3")

    def test_keep_away(self) -> None:
        """A negative rule leaves the nodes that it does not name."""
        negative = make.rule("r", "pve2", resources=("vm:101",), negative=True)

        assert impact(nfs_cluster(negative).topology, ["node/pve1"]).guests[0].targets == ("pve3",)


class TestChanges:
    """The graph follows the facts."""

    def test_guest_moves(self) -> None:
        """A guest that moved is its new node's, even when the old node's word comes late."""
        state = nfs_cluster()
        state.learn(make.guest(101, "pve2", "nfs1"), 1000)
        state.learn(GuestGone(subject=Entity(EntityKind.GUEST, "101"), seen=make.SEEN, node="pve1"), 1001)

        assert effects(impact(state.topology, [f"access/pve1/{NET}"])) == {}
        assert "101" in effects(impact(state.topology, [f"access/pve2/{NET}"]))

    def test_guest_is_removed(self) -> None:
        """A guest that is gone is hit by nothing."""
        state = nfs_cluster()
        assert "101" in effects(impact(state.topology, ["node/pve1"]))
        state.learn(GuestGone(subject=Entity(EntityKind.GUEST, "101"), seen=make.SEEN, node="pve1"), 1000)

        assert effects(impact(state.topology, ["node/pve1"])) == {}

    def test_storage_is_removed(self) -> None:
        """A storage that is no longer defined breaks nobody."""
        state = nfs_cluster()
        state.learn(StorageUndefined(subject=Entity(EntityKind.STORAGE, "nfs1"), seen=make.SEEN), 1000)

        assert impact(state.topology, ["nfs-server/10.0.1.100"]).guests == ()

    def test_older_word_is_dropped(self) -> None:
        """What was observed earlier does not overwrite what was observed later."""
        state = nfs_cluster()
        state.learn(make.storage("nfs1", "nfs", server="10.0.1.200", export="/x"), 1000)

        assert not state.learn(make.storage("nfs1", "nfs", server="10.0.1.100", export="/x"), 999)
        assert state.topology.storages["nfs1"] == state.facts.of(StorageDefined)["nfs1"]

    def test_same_word_again_changes_nothing(self) -> None:
        """Thirty-two agents that read the same file cause one change."""
        state = nfs_cluster()

        assert not state.learn(make.storage("nfs1", "nfs", server="10.0.1.100", export="/export/pve"), 1000)

    def test_survives_a_restart(self) -> None:
        """What is stored and loaded again gives the same graph."""
        state = nfs_cluster()
        again = CoreState("prod")
        again.load([(table, key, record) for table, key, record in state.take_changes() if record is not None])

        assert impact(again.topology, ["nfs-server/10.0.1.100"]) == impact(state.topology, ["nfs-server/10.0.1.100"])


def test_domains_worst_first() -> None:
    """Whatever freezes most guests stands first; what hits nobody is left out."""
    found = domains(nfs_cluster().topology)

    assert [one.name for one in found][:3] == ["nfs-export/10.0.1.100:/export/pve", "nfs-server/10.0.1.100", f"subnet/{NET}"]
    assert "subnet/10.0.0.0/24" not in [one.name for one in found]
    assert [one.name for one in found if not one.is_single_point] == ["node/pve1"], "its only guest is one that HA restarts"
