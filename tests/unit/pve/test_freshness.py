from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pve.freshness import Expected, Freshness, Pulse, Standing, judge
from pve.rrd import NodeStat, NodeStorage, Rrd, StorageStat

LOCAL, SAN = NodeStorage("pve1", "local"), NodeStorage("pve1", "san")


@dataclass
class Node:
    """pvestatd of one node, its clock ``skew`` seconds off: ten seconds of its life per round."""

    name: str = "pve1"
    skew: int = 1_000_000
    active: set[str] = field(default_factory=lambda: {"local", "san"})
    running: bool = True
    storages_fail: bool = False
    nodes: dict[str, tuple[float, NodeStat]] = field(default_factory=dict)
    storages: dict[NodeStorage, tuple[float, StorageStat]] = field(default_factory=dict)

    def round(self, now_s: int) -> None:
        """Make one round at the reader's time ``now_s``."""
        if not self.running:
            return
        self.nodes[self.name] = (now_s, NodeStat(now_s + self.skew))
        for storage in () if self.storages_fail else self.active:
            self.storages[NodeStorage(self.name, storage)] = (now_s, StorageStat(now_s + self.skew + 1))


@dataclass
class Reader:
    """A reader that looks every ``every_s`` seconds; pvestatd makes rounds of 10 s, entries vanish after 300 s."""

    nodes: list[Node]
    expected: Expected | None = None
    every_s: int = 5
    now_s: int = 0
    last: Freshness | None = None

    def look(self) -> Freshness:
        """Judge what there is now."""
        kept_nodes = {k: stat for node in self.nodes for k, (came, stat) in node.nodes.items() if self.now_s - came <= 300}
        kept = {k: stat for node in self.nodes for k, (came, stat) in node.storages.items() if self.now_s - came <= 300}
        self.last = judge(Rrd(kept_nodes, kept, {}), float(self.now_s), self.last, self.expected)
        return self.last

    def run(self, seconds: int) -> Freshness:
        """Let time pass, and return the last judgement."""
        for _ in range(seconds):
            self.now_s += 1
            for node in self.nodes:
                if self.now_s % 10 == 0:
                    node.round(self.now_s)
            if self.now_s % self.every_s == 0:
                self.look()
        return self.look()


def standing(found: Freshness, key: NodeStorage = SAN) -> Standing:
    return found.storages[key].standing


def test_first_look_claims_nothing() -> None:
    """Before an entry has moved once, a node's pulse and its storages are unknown."""
    reader = Reader([Node()])
    found = reader.run(12)
    assert found.nodes["pve1"].pulse is Pulse.UNKNOWN
    assert standing(found) is Standing.UNKNOWN
    assert standing(reader.run(10)) is Standing.ACTIVE


def test_one_storage_fails_and_returns() -> None:
    """A storage that is told no more while others are is inactive after three rounds, and active with its first entry."""
    node = Node()
    reader = Reader([node])
    reader.run(60)
    node.active.remove("san")
    assert standing(reader.run(20)) is Standing.ACTIVE
    found = reader.run(25)
    assert (standing(found), standing(found, LOCAL)) == (Standing.INACTIVE, Standing.ACTIVE)
    assert standing(reader.run(400)) is Standing.INACTIVE, "its entry has vanished meanwhile"
    node.active.add("san")
    assert standing(reader.run(10)) is Standing.ACTIVE


def test_failed_before_the_reader_came() -> None:
    """An entry that is already older than the node's others is inactive as soon as the node has shown its pulse."""
    node = Node()
    before = Reader([node])
    before.run(60)
    node.active.remove("san")
    before.run(60)
    late = Reader([node], now_s=before.now_s)
    assert standing(late.run(15)) is Standing.INACTIVE


def test_stuck_and_gone() -> None:
    """When pvestatd stops, nothing is said about its storages; after 300 s the node is gone; both end with its next rounds."""
    node = Node()
    reader = Reader([node, Node("pve2")])
    reader.run(60)
    node.running = False
    found = reader.run(60)
    assert (found.nodes["pve1"].pulse, found.nodes["pve2"].pulse) == (Pulse.STUCK, Pulse.LIVE)
    assert standing(found) is Standing.UNKNOWN
    found = reader.run(300)
    assert found.nodes["pve1"].pulse is Pulse.GONE
    node.running = True
    assert standing(reader.run(20)) is Standing.ACTIVE


def test_storage_part_fails_as_a_whole() -> None:
    """A node that makes its rounds and tells no storage at all is told apart from one storage that is inactive."""
    node = Node()
    reader = Reader([node])
    reader.run(60)
    node.storages_fail = True
    found = reader.run(50)
    assert found.nodes["pve1"].pulse is Pulse.LIVE
    assert {standing(found), standing(found, LOCAL)} == {Standing.UNTOLD}


def test_slow_round_is_no_failure() -> None:
    """While a long round is still running, a storage of the round before is not called inactive."""
    node = Node()
    reader = Reader([node])
    reader.run(60)
    node.storages_fail = True
    node.round(reader.now_s)
    node.running = False
    found = reader.run(25)
    assert standing(found) is not Standing.INACTIVE


def test_never_told_storage() -> None:
    """An enabled storage that has never had an entry is inactive after the limit; a new one has that long to appear."""
    reader = Reader([Node(active={"local"})], {"pve1": frozenset({"local", "san"})})
    assert standing(reader.run(25)) is Standing.UNKNOWN
    assert standing(reader.run(40)) is Standing.INACTIVE


def test_disabled_storage_is_not_judged() -> None:
    """The old entry of a storage that was disabled since is no failure."""
    node = Node()
    reader = Reader([node], {"pve1": frozenset({"local", "san"})})
    reader.run(60)
    node.active.remove("san")
    reader.expected = {"pve1": frozenset({"local"})}
    assert {*reader.run(60).storages} == {LOCAL}


def test_expected_node_without_any_entry() -> None:
    """A node of which nothing was ever told is gone after the limit, and nothing is said about its storages."""
    reader = Reader([], {"pve9": frozenset({"san"})})
    found = reader.run(60)
    assert found.nodes["pve9"].pulse is Pulse.GONE
    assert standing(found, NodeStorage("pve9", "san")) is Standing.UNKNOWN


def test_clock_steps() -> None:
    """A node's clock that jumps an hour back or ahead makes nothing inactive, and hides nothing that is."""
    for step in (-3600, 3600):
        node = Node()
        reader = Reader([node])
        reader.run(60)
        node.skew += step
        assert standing(reader.run(40)) is Standing.ACTIVE
        node.active.remove("san")
        node.skew += step
        assert standing(reader.run(60)) is Standing.INACTIVE


def test_torn_body_changes_nothing() -> None:
    """A body that was cut is not judged: what it lacks says nothing."""
    reader = Reader([Node()])
    found = reader.run(60)
    assert judge(Rrd({}, {}, {}, torn=True), 61.0, found) is found


@given(st.integers(1, 60), st.integers(-(10**6), 10**6), st.integers(60, 200))
def test_healthy_is_never_inactive(every_s: int, skew: int, seconds: int) -> None:
    """Whatever the clock's offset and however seldom the reader looks, storages that work are never called inactive."""
    reader = Reader([Node(skew=10**9 + skew)], {"pve1": frozenset({"local", "san"})}, every_s)
    for _ in range(3):
        found = reader.run(seconds)
        assert {view.standing for view in found.storages.values()} <= {Standing.ACTIVE, Standing.UNKNOWN}
        assert found.nodes["pve1"].pulse in (Pulse.LIVE, Pulse.UNKNOWN)


@given(st.integers(2, 15), st.integers(-(10**6), 10**6))
def test_failure_is_always_found(every_s: int, skew: int) -> None:
    """Whatever the clock's offset, a storage that fails is inactive within 60 s for a reader that looks every 2 to 15 s."""
    node = Node(skew=10**9 + skew)
    reader = Reader([node], None, every_s)
    reader.run(60)
    node.active.remove("san")
    assert standing(reader.run(60)) is Standing.INACTIVE
