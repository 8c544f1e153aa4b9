"""What nodes see of the cluster itself: members, quorum, /etc/pve, status daemons, HA. Told by every node about every other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from events.base import Event, Seen, Source
from events.cluster import (
    HaNodeFenced,
    HaNodeFencing,
    HaServiceError,
    HaServiceSettled,
    MemberJoined,
    MemberLeft,
    PmxcfsLost,
    PmxcfsServed,
    QuorumLost,
    QuorumRegained,
    StatusDaemonAlive,
    StatusDaemonStuck,
    StorageConfigBroken,
    StorageConfigValid,
)
from events.entity import Entity, EntityKind
from tests.sim.plan import CLUSTER
from tests.sim.stage import SECOND, Stage, Watch

_FILES = Seen(source=Source.PMXCFS, excerpt="simulated")
_JOURNAL = Seen(source=Source.JOURNALD, excerpt="simulated")
_DIGEST = "0" * 40
Telling = Callable[[str, bool], Iterable[Event]]
"""From a thing and whether it is bad to what is said of it."""


def several(
    stage: Stage,
    node: str,
    look: Callable[[], Collection[str] | None],
    tell: Telling,
    *,
    slow: tuple[float, float],
    keys: Collection[str] = (),
    **fields: object,
) -> Watch:
    """Return one watch of many things of one kind: it tells what changed, and all that is bad when it tells it again.

    ``look`` returns those that are bad, ``slow`` the least and most seconds until that is noticed, ``keys`` are those that full pictures
    call well.
    """
    told: set[str] = set()

    def found() -> str | None:
        now = look()
        return None if now is None else " ".join(sorted(now))

    def difference(word: str) -> list[Event]:
        now = set(word.split())
        new = sorted(now - told) or (sorted(now) if now == told else [])
        events = [event for one in new for event in tell(one, True)]
        events += [event for one in sorted(told - now) for event in tell(one, False)]
        told.clear()
        told.update(now)
        return events

    def well() -> list[Event]:
        return difference("") if told else [event for one in keys for event in tell(one, False)]

    return Watch(node, found, lambda _: stage.between(*slow), difference, well, **fields)  # type: ignore[arg-type]


def membership_watches(stage: Stage) -> Iterator[Watch]:
    """Yield what every node sees of the cluster."""
    for node in stage.plan.nodes:
        yield _served(stage, node)
        yield _config(stage, node)
        yield _quorum(stage, node)
        yield _members(stage, node)
        yield _daemons(stage, node)
        yield _fenced(stage, node)
        yield _services(stage, node)


def _node(name: str) -> Entity:
    return Entity(EntityKind.NODE, name)


def _served(stage: Stage, node: str) -> Watch:
    return Watch(
        node,
        lambda: "crashed" if stage.world.has("pmxcfs", node) else "",
        lambda _: stage.between(0.5, 2),
        lambda _: [PmxcfsLost(subject=_node(node), seen=_FILES, how="crashed")],
        lambda: [PmxcfsServed(subject=_node(node), seen=_FILES, restarted=True)],
        again=0,
        repeats=False,
    )


def _config(stage: Stage, node: str) -> Watch:
    subject = Entity(EntityKind.CLUSTER, CLUSTER)
    return Watch(
        node,
        lambda: _unless_blind(stage, node, "broken" if stage.world.has("config") else ""),
        lambda _: stage.between(0.3, 2),
        lambda _: [StorageConfigBroken(subject=subject, seen=_FILES, section="nfs0", line=3, reason="missing value for 'server'")],
        lambda: [StorageConfigValid(subject=subject, seen=_FILES, digest=_DIGEST)],
        again=0,
        repeats=False,
    )


def _unless_blind(stage: Stage, node: str, word: str) -> str | None:
    """Return a word that is read from /etc/pve; None where that is not served."""
    return None if stage.world.has("pmxcfs", node) else word


def _quorum(stage: Stage, node: str) -> Watch:
    def then(word: str) -> None:
        stage.emit(node, (QuorumLost if word else QuorumRegained)(subject=_node(node), seen=_JOURNAL))

    return Watch(
        node,
        lambda: _unless_blind(stage, node, "" if _has_quorum(stage, node) else "lost"),
        lambda _: stage.between(1, 3),
        lambda _: [QuorumLost(subject=_node(node), seen=_FILES)],
        lambda: [QuorumRegained(subject=_node(node), seen=_FILES)],
        then,
        again=0,
        repeats=False,
    )


def _has_quorum(stage: Stage, node: str) -> bool:
    """Tell whether more than half of all nodes are up and on a node's side of corosync's network."""
    if stage.world.has("quorum"):
        return False
    nodes = stage.plan.nodes
    return sum(_is_beside(stage, node, one) for one in nodes) * 2 > len(nodes)


def _is_beside(stage: Stage, node: str, other: str) -> bool:
    world = stage.world
    return not world.has("node", other) and world.has("split", node) == world.has("split", other)


def _members(stage: Stage, node: str) -> Watch:
    """Return `.members`: a node that died leaves after corosync's token timed out, one whose pmxcfs died at once."""

    def gone() -> list[str] | None:
        world = stage.world
        if world.has("pmxcfs", node):
            return None
        if world.has("quorum"):
            return [one for one in stage.plan.nodes if one != node]
        return [one for one in stage.plan.nodes if not _is_beside(stage, node, one) or world.has("pmxcfs", one)]

    def tell(one: str, bad: bool) -> list[Event]:
        return [(MemberLeft if bad else MemberJoined)(subject=_node(one), seen=_FILES)]

    return several(stage, node, gone, tell, slow=(1.5, 4.5), keys=stage.plan.nodes, again=0, repeats=False)


def _daemons(stage: Stage, node: str) -> Watch:
    """Return `.rrd`: an entry that has not moved for three rounds of 10 s."""

    def stuck() -> list[str] | None:
        world = stage.world
        if world.has("pmxcfs", node):
            return None
        return [one for one in stage.plan.nodes if world.has("pvestatd", one) and not world.has("node", one)]

    def tell(one: str, bad: bool) -> list[Event]:
        return [
            StatusDaemonStuck(subject=_node(one), seen=_FILES, silent=30) if bad else StatusDaemonAlive(subject=_node(one), seen=_FILES)
        ]

    return several(stage, node, stuck, tell, slow=(21, 41), again=0, repeats=False)


def _fenced(stage: Stage, node: str) -> Watch:
    """Return the HA manager's status file: a node with services is fenced a minute after it was lost."""
    managed = {guest.node for guest in stage.plan.guests if guest.managed}

    def fenced() -> list[str] | None:
        world = stage.world
        if world.has("pmxcfs", node):
            return None
        if not _has_quorum(stage, node):
            return []  # without quorum there is no HA manager
        return [one for one in stage.plan.nodes if (one in managed and world.has("node", one)) or world.has("fence", one)]

    def tell(one: str, bad: bool) -> list[Event]:
        return [HaNodeFencing(subject=_node(one), seen=_FILES) if bad else HaNodeFenced(subject=_node(one), seen=_FILES, outcome="online")]

    watch = several(stage, node, fenced, tell, slow=(0.3, 2), again=0, repeats=False)
    soon = watch.wait
    # What is marked as fenced is in that state already.
    watch.wait = lambda word: (
        soon(word) + (0 if any(stage.world.has("fence", one) for one in word.split()) else 60 * SECOND if word else 5 * SECOND)
    )
    return watch


def _services(stage: Stage, node: str) -> Watch:
    services = sorted(f"{'ct' if one.container else 'vm'}:{one.vmid}" for one in stage.plan.guests if one.managed)

    def failed() -> list[str] | None:
        return None if stage.world.has("pmxcfs", node) else [one for one in services if stage.world.has("ha", one)]

    def tell(one: str, bad: bool) -> list[Event]:
        subject = Entity(EntityKind.HA, one)
        return [
            HaServiceError(subject=subject, seen=_FILES, reason="error state") if bad else HaServiceSettled(subject=subject, seen=_FILES)
        ]

    return several(stage, node, failed, tell, slow=(0.3, 2), again=0, repeats=False)
