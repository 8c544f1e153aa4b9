from pve import ha_groups, ha_resources, ha_rules
from pve.ha import Ha, unite
from pve.ha_status import ManagerStatus

NODES = ("a", "b", "c")
RESOURCES = b"vm: 11\n\tgroup g1\n\nvm: 12\n\tgroup g2\n\nct: 13\n\tfailback 0\n\nvm: 14\n\tgroup nowhere\n"
GROUPS = b"group: g1\n\tnodes a:2,b:1\n\trestricted 1\n\tnofailback 1\n\ngroup: g2\n\tnodes c\n"
RULES = (
    b"node-affinity: r1\n\tresources vm:11\n\tnodes a:2,b:1,gone\n\tstrict 1\n\n"
    b"node-affinity: r2\n\tresources vm:12\n\tnodes c\n\n"
    b"node-affinity: r3\n\tresources ct:13\n\tnodes a\n\taffinity negative\n\n"
    b"resource-affinity: r4\n\tresources vm:14,vm:12\n\taffinity positive\n\n"
    b"resource-affinity: r5\n\tresources ct:13,vm:11\n\taffinity negative\n"
)


def ha(groups: bytes = b"", rules: bytes = b"", resources: bytes = RESOURCES) -> Ha:
    return unite(ha_resources.parse(resources), ha_groups.parse(groups), ha_rules.parse(rules), NODES, ManagerStatus("a"))


def names(nodes: frozenset[str]) -> str:
    return "".join(sorted(nodes))


def test_groups() -> None:
    """A restricted group allows its nodes only, another prefers them; the highest priority online is preferred."""
    found = ha(GROUPS)
    assert found.model == "groups"
    assert (names(found.allowed_nodes("vm:11")), names(found.preferred("vm:11"))) == ("ab", "a")
    assert (names(found.preferred("vm:11", {"b", "c"})), names(found.preferred("vm:11", {"c"}))) == ("b", "")
    assert (names(found.allowed_nodes("vm:12")), names(found.preferred("vm:12"))) == ("abc", "c")
    assert names(found.preferred("vm:12", {"a", "b"})) == "ab"
    assert [found.failback(sid) for sid in ("vm:11", "vm:12", "ct:13")] == [False, True, False]


def test_without_group_or_rule() -> None:
    """A resource that nothing binds, also one of a group that is not there, may be and is welcome anywhere."""
    for found in (ha(GROUPS), ha()):
        assert names(found.allowed_nodes("vm:14")) == names(found.preferred("vm:14")) == "abc"
    assert names(ha(GROUPS).allowed_nodes("vm:199")) == "abc"
    assert ha(GROUPS).resource("vm:199") is None


def test_rules() -> None:
    """A strict rule allows its nodes that exist, another prefers them; a negative one keeps off; together and apart follow."""
    found = ha(b"", RULES.replace(b"a:2,b:1", b"a,b"))
    assert (found.model, found.dropped) == ("rules", ())
    assert names(found.allowed_nodes("vm:11")) == "ab"
    assert (names(found.allowed_nodes("ct:13")), names(found.preferred("ct:13"))) == ("abc", "bc")
    assert names(found.preferred("ct:13", {"a"})) == "a"
    assert names(found.preferred("vm:14")) == "c", "it must be with vm:12"
    assert found.together("vm:14") == frozenset({"vm:12"})
    assert found.apart("vm:11") == frozenset({"ct:13"})
    assert not found.failback("ct:13")


def test_dropped_rules_do_not_count() -> None:
    """A rule that the manager drops binds nothing, and is named."""
    found = ha(b"", RULES)
    assert [drop.rule for drop in found.dropped] == ["r1", "r3", "r5"]
    assert names(found.allowed_nodes("vm:11")) == "abc"


def test_the_model_is_seen_in_the_files() -> None:
    """No group at all is a cluster with rules; a group, be it broken, is one that is not migrated, whatever rules there are."""
    assert ha().model == "rules"
    assert ha(b"# only a comment\n", RULES).model == "rules"
    assert ha(b"group: g1\n", RULES).model == "groups"


def test_groups_and_rules_at_once() -> None:
    """While groups are not migrated, rules that bind the same resource contradict them and both are dropped."""
    found = ha(GROUPS, b"node-affinity: r1\n\tresources vm:11\n\tnodes c\n")
    assert [drop.rule for drop in found.dropped] == ["ha-group-g1", "r1"]
    assert names(found.allowed_nodes("vm:11")) == "abc"
