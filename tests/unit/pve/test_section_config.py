import hashlib
import time
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve import ha_groups, ha_resources, ha_rules
from pve.ha_groups import Group
from pve.ha_resources import Resource
from pve.ha_rules import NodeAffinity, ResourceAffinity

VM: Final = "file ha/resources.cfg line 2 (section 'vm:100') - "
VALUE: Final = VM + "unable to parse value of "
STATES: Final = "does not have a value in the enumeration 'started, stopped, enabled, disabled, ignored'"


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def test_resources() -> None:
    """Guests come with Proxmox VE's defaults for what is not set; enabled is started."""
    found = ha_resources.parse(
        b"vm: 100\n\ncT: 101\n\tstate enabled\n\tgroup g1\n\tfailback 0\n"
        b"\tmax_restart 3\n\tmax_relocate 0\n\tauto-rebalance 0\n\tcomment a b\n"
    )
    assert list(found.resources) == ["vm:100", "ct:101"]
    assert found.resources["vm:100"] == Resource("vm:100", "vm", 100, line=1)
    assert found.resources["ct:101"] == Resource("ct:101", "ct", 101, "started", "g1", False, 3, 0, False, "a b", 3)
    assert found.warnings == ()


def test_digest_is_that_of_proxmox_ve() -> None:
    """The digest is the SHA-1 of the bytes, of no bytes for a file that is not there."""
    data = b"vm: 100\n\n"
    assert {parse(data).digest for parse in (ha_resources.parse, ha_groups.parse, ha_rules.parse)} == {sha1(data)}
    assert ha_groups.parse(b"").digest == "da39a3ee5e6b4b0d3255bfef95601890afd80709"


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        (b"vm: 0\n", "file ha/resources.cfg line 1 (skip section 'vm:0'): invalid VMID"),
        (b"lxc: 100\n", "file ha/resources.cfg line 1 (skip section 'lxc:100'): no such resource type 'lxc'"),
        (b" vm: 100\n", "file ha/resources.cfg line 1 - ignore config line:  vm: 100"),
        (b"vm: 100\nstate stopped\n", VM + "ignore config line: state stopped"),
        (b"vm: 100\n\tfoo 1\n", VALUE + "'foo': unknown property type"),
        (b"vm: 100\n\tsid 1\n", VALUE + "'sid': unexpected property 'sid'"),
        (b"vm: 100\n\tmax_restart -1\n", VALUE + "'max_restart': value must have a minimum value of 0"),
        (b"vm: 100\n\tfailback yes\n", VALUE + "'failback': type check ('boolean') failed - got 'yes'"),
        (b"vm: 100\n\tstate up\n", VALUE + f"'state': value 'up' {STATES}"),
        (b"vm: 100\n\tgroup\n", VALUE + "'group': got undefined value"),
        (b"vm: 100\n\tgroup g1\n\tgroup g1\n", VALUE.replace("line 2", "line 3") + "'group': duplicate attribute"),
    ],
)
def test_warnings_are_those_of_proxmox_ve(body: bytes, warning: str) -> None:
    """What Proxmox VE warns of is warned of in its words, and the rest of the file is read."""
    found = ha_resources.parse(body + b"\nct: 200\n")
    assert [warned.text for warned in found.warnings] == [warning]
    assert found.resources["ct:200"].state == "started"


def test_quirks_of_the_grammar() -> None:
    """The first value of a property counts, the last section of an id; a missing blank line glues sections, a line that is 0 ends one."""
    assert ha_resources.parse(b"vm: 100\n\tmax_restart 2\n\tmax_restart 5\n").resources["vm:100"].max_restart == 2
    twice = ha_resources.parse(b"vm: 100\n\tgroup g1\n\nct: 101\n\nvm: 100\n\tmax_restart 5\n")
    assert list(twice.resources) == ["ct:101", "vm:100"]
    assert (twice.resources["vm:100"].group, twice.resources["vm:100"].max_restart) == ("", 5)
    assert list(ha_resources.parse(b"vm: 100\nvm: 101\n").resources) == ["vm:100"]
    assert list(ha_resources.parse(b"vm: 100\n0\nvm: 101\n").resources) == ["vm:100", "vm:101"]
    assert list(ha_resources.parse(b"vm: 100\n \nvm: 101\n").resources) == ["vm:100"]
    assert ha_resources.parse(b"vm: 100\n # no comment ends it\n\tgroup g1\n").resources["vm:100"].group == "g1"


@pytest.mark.parametrize("line", [b":" * 400_000 + b" x y", b"a: " * 150_000, b"\t" + b" x" * 200_000, b" " * 400_000 + b"x"])
def test_long_lines_take_no_time(line: bytes) -> None:
    """Whatever stands in a long line, outside and inside a section, it is read at once; a quadratic search would take minutes."""
    began = time.perf_counter()
    ha_resources.parse(line + b"\nvm: 100\n" + line)
    assert time.perf_counter() - began < 20


def test_groups() -> None:
    """A group has nodes with priorities; one without nodes binds nothing and is a group all the same."""
    found = ha_groups.parse(b"group: g1\n\tnodes a:2,b;c\n\trestricted\n\tnofailback 1\n\ngroup: g2\n\trestricted 1\n")
    assert found.groups == {"g1": Group("g1", {"a": 2, "b": 0, "c": 0}, restricted=True, nofailback=True, line=1)}
    assert found.broken == {"g2": "missing value for required option 'nodes'"}
    assert found.names == {"g1", "g2"}


def test_rules() -> None:
    """Both kinds of rules are read, comments decoded."""
    found = ha_rules.parse(
        b"node-affinity: r1\n\tresources vm:100, ct:101\n\tnodes a:2,b\n\tstrict 1\n\tcomment a%3A b%C3%A4\n\n"
        b"resource-affinity: r2\n\tresources vm:1,vm:2\n\taffinity negative\n"
    )
    assert found.rules == {
        "r1": NodeAffinity("r1", frozenset({"vm:100", "ct:101"}), {"a": 2, "b": 0}, strict=True, comment="a: bä", line=1),
        "r2": ResourceAffinity("r2", frozenset({"vm:1", "vm:2"}), "negative", line=7),
    }


def test_a_rule_with_disable_0_is_switched_off() -> None:
    """The manager looks whether "disable" is there, not at its value."""
    found = ha_rules.parse(b"node-affinity: r1\n\tresources vm:100\n\tnodes a\n\tdisable 0\n")
    assert found.rules["r1"].disabled


def test_negative_node_rule() -> None:
    """Proxmox VE 9.2 knows rules to keep off nodes; before, the line is warned of and the rule means the opposite."""
    body = b"node-affinity: r1\n\tresources vm:100\n\tnodes a\n\taffinity negative\n"
    new, old = ha_rules.parse(body), ha_rules.parse(body, negative_nodes=False)
    assert new.rules["r1"].affinity == "negative"
    assert old.rules["r1"].affinity == "positive"
    assert [warned.text for warned in old.warnings] == [
        "file ha/rules.cfg line 4 (section 'r1') - unable to parse value of 'affinity': unknown property type"
    ]


def test_rule_without_what_it_needs() -> None:
    """A rule that lacks something is there without content."""
    found = ha_rules.parse(b"resource-affinity: r1\n\tresources vm:1,vm:2\n\nnode-affinity: r2\n\tresources 100\n\tnodes a\n")
    assert found.rules == {}
    assert list(found.broken) == ["r1", "r2"]


@given(st.binary(max_size=300) | st.text("vm: 10\n\tnodesa,0#\r\0", max_size=300).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a value with their digest."""
    for parse in (ha_resources.parse, ha_groups.parse, ha_rules.parse):
        assert parse(data).digest == sha1(data)
