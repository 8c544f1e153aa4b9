from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.ha_feasibility import (
    MANY_NODE_RULES,
    NEGATIVE_CROWDED,
    NEGATIVE_SHARED,
    NODE_CROWDED,
    NODE_PRIORITIES,
    OTHER_NODE_RULE,
    POSITIVE_SHARED,
    RESOURCE_PRIORITIES,
    TOO_FEW,
    TOO_MANY,
    USED_TWICE,
    compiled,
    feasibility,
)
from pve.ha_rules import NodeAffinity, ResourceAffinity, Rule

NODES = ("a", "b", "c")


def on(name: str, resources: str, nodes: str, *, strict: bool = False, disabled: bool = False) -> NodeAffinity:
    """Return a node affinity rule of words as "1 2" and "a:2 b"."""
    parts = (word.partition(":") for word in nodes.split())
    return NodeAffinity(name, sids(resources), {node: int(rank or 0) for node, _, rank in parts}, strict, disabled=disabled)


def by(name: str, resources: str, affinity: str, *, disabled: bool = False) -> ResourceAffinity:
    return ResourceAffinity(name, sids(resources), affinity, disabled)


def sids(text: str) -> frozenset[str]:
    return frozenset(f"vm:{word}" for word in text.split())


def reasons(*rules: Rule, nodes: Iterable[str] = NODES) -> dict[str, tuple[str, ...]]:
    return {drop.rule: drop.reasons for drop in feasibility(rules, tuple(nodes))}


CASES: dict[str, tuple[tuple[Rule, ...], dict[str, tuple[str, ...]]]] = {
    "fine": ((on("n", "1 2", "a:2 b"), by("p", "3 4", "positive"), by("m", "5 6", "negative")), {}),
    "resource in two node rules: both": (
        (on("n1", "1", "a"), on("n2", "1 2", "b"), on("n3", "3", "c")),
        {"n1": (USED_TWICE % "vm:1",), "n2": (USED_TWICE % "vm:1",)},
    ),
    "one resource": ((by("p", "1", "positive"), by("m", "2", "negative")), {"p": (TOO_FEW,), "m": (TOO_FEW,)}),
    "more resources than nodes": ((by("m", "1 2 3 4", "negative"), by("p", "5 6 7 8", "positive")), {"m": (TOO_MANY,)}),
    "together and apart": (
        (by("p", "1 2", "positive"), by("m", "1 2 3", "negative")),
        {"p": (POSITIVE_SHARED,), "m": (NEGATIVE_SHARED,)},
    ),
    "together over two rules and apart": (
        (by("p1", "1 2", "positive"), by("p2", "2 3", "positive"), by("m", "1 3", "negative")),
        {"p1": (POSITIVE_SHARED,), "p2": (POSITIVE_SHARED,), "m": (NEGATIVE_SHARED,)},
    ),
    "several priorities": (
        (on("n", "1", "a:2 b:1"), by("p", "1 2", "positive")),
        {"n": (NODE_PRIORITIES,), "p": (RESOURCE_PRIORITIES,)},
    ),
    "together in two node rules": (
        (on("n1", "1", "a"), on("n2", "2", "b"), by("p", "1 2", "positive")),
        {"n1": (OTHER_NODE_RULE,), "n2": (OTHER_NODE_RULE,), "p": (MANY_NODE_RULES,)},
    ),
    "no room to be apart": (
        (on("n", "1 2", "a"), by("m", "1 2", "negative")),
        {"n": (NODE_CROWDED,), "m": (NEGATIVE_CROWDED,)},
    ),
    "just enough room": ((on("n", "1 2", "a b"), by("m", "1 2", "negative")), {}),
    "keeping off nodes leaves too few": (
        (NodeAffinity("n", sids("1 2"), {"a": 0, "b": 0}, affinity="negative"), by("m", "1 2", "negative")),
        {"n": (NODE_CROWDED,), "m": (NEGATIVE_CROWDED,)},
    ),
    "switched off": ((on("n1", "1", "a"), on("n2", "1", "b", disabled=True), by("p", "1", "positive", disabled=True)), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_dropped_rules(name: str) -> None:
    """Rules fall as they do for Proxmox VE, each with the manager's reason."""
    rules, expected = CASES[name]
    assert reasons(*rules) == expected


def test_log_lines() -> None:
    """A dropped rule can be found in the manager's log by its line."""
    (drop,) = feasibility([by("p", "1", "positive")], NODES)
    assert drop.log_lines() == ("Drop rule 'p', because rule is ineffective as there are less than two resources.",)


def test_reasons_do_not_depend_on_dropped_rules_first() -> None:
    """All checks look at the whole file: a rule that is dropped by one check still makes another fall in the next."""
    found = reasons(by("p", "1 2", "positive"), by("m", "1 2 3 4", "negative"))
    assert found == {"p": (POSITIVE_SHARED,), "m": (TOO_MANY, NEGATIVE_SHARED)}


def test_compiled() -> None:
    """What must be together is united over rules, takes over a node rule and keeps off what one of it keeps off."""
    found = compiled(
        [by("p1", "1 2", "positive"), by("p2", "2 3", "positive"), by("m", "3 4", "negative"), on("n", "1", "a", strict=True)], NODES
    )
    assert found.dropped == ()
    assert found.together["vm:1"] == sids("1 2 3")
    assert {sid: rule.id for sid, rule in found.node_rules.items()} == {"vm:1": "n", "vm:2": "n", "vm:3": "n"}
    assert found.apart == {"vm:1": sids("4"), "vm:2": sids("4"), "vm:3": sids("4"), "vm:4": sids("1 2 3")}


def test_dropped_rules_bind_nothing() -> None:
    """Neither of two rules for one resource holds."""
    assert compiled([on("n1", "1", "a"), on("n2", "1", "b")], NODES).node_rules == {}


_SIDS = st.frozensets(st.sampled_from([f"vm:{number}" for number in range(6)]), min_size=1, max_size=4)
_RULES = st.lists(
    st.builds(NodeAffinity, st.sampled_from("rstu"), _SIDS, st.dictionaries(st.sampled_from(NODES), st.integers(0, 1), min_size=1))
    | st.builds(ResourceAffinity, st.sampled_from("vwxyz"), _SIDS, st.sampled_from(["positive", "negative"])),
    max_size=6,
    unique_by=lambda rule: rule.id,
)


@given(_RULES)
def test_what_is_left_contradicts_itself_no_more(rules: list[Rule]) -> None:
    """The rules that hold are all held when judged again, and nothing is to be both together and apart."""
    gone = {drop.rule for drop in feasibility(rules, NODES)}
    left = [rule for rule in rules if rule.id not in gone]
    assert feasibility(left, NODES) == ()
    found = compiled(rules, NODES)
    assert all(not (group - {sid}) & found.apart.get(sid, frozenset()) for sid, group in found.together.items())
    assert all(sid in found.apart[other] for sid, others in found.apart.items() for other in others)


def test_many_rules_that_share_a_resource_take_no_time() -> None:
    """Thousands of rules about one resource are judged in less than a second."""
    rules: list[Rule] = [on(f"n{number}", "1", "a") for number in range(5000)]
    rules += [by(f"m{number}", "1 2", "negative") for number in range(5000)]
    rules += [by(f"p{number}", "1 3", "positive") for number in range(5000)]
    assert len(feasibility(rules, NODES)) == 10_000
