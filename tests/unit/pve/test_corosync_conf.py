import hashlib

from hypothesis import given
from hypothesis import strategies as st

from pve.corosync_conf import CorosyncNode, Qdevice, parse

CONF = b"""logging {
  debug: off
  to_syslog: yes
}

nodelist {
  node {
    name: pve1
    nodeid: 1
    quorum_votes: 1
    ring0_addr: 10.1.1.11
    ring1_addr: fd00::11
  }
  node {
    nodeid: 2
    quorum_votes: 2
    ring0_addr: pve2.example
  }
}

quorum {
  # two nodes and a device
  provider: corosync_votequorum
  device {
    model: net
    votes: 1
    net {
      algorithm: ffsplit
      host: 10.1.9.9
      tls: on
    }
  }
}

totem {
  cluster_name: office
  config_version: 7
  interface {
    linknumber: 0
    knet_link_priority: 10
  }
  interface {
    linknumber: 1
  }
  ip_version: ipv4-6
  key: c2VjcmV0
  link_mode: passive
  secauth: on
  version: 2
}
"""


def test_whole_file() -> None:
    """Cluster, nodes with all their links and votes, and the device are read."""
    conf = parse(CONF)
    assert (conf.cluster, conf.config_version, conf.transport, conf.two_node) == ("office", 7, "knet", False)
    assert conf.nodes[0] == CorosyncNode("pve1", 1, {0: "10.1.1.11", 1: "fd00::11"}, 1)
    assert conf.links == {0: {"knet_link_priority": "10"}, 1: {}}
    assert conf.qdevice == Qdevice("net", "10.1.9.9", "ffsplit", 1)
    assert conf.digest == hashlib.sha1(CONF, usedforsecurity=False).hexdigest()
    assert conf.notices == ()


def test_node_without_a_name() -> None:
    """A node without a name has that of its first address, as for Proxmox VE."""
    assert parse(CONF).nodes[1] == CorosyncNode("pve2.example", 2, {0: "pve2.example"}, 2)


def test_votes() -> None:
    """Quorum is more than half of all votes, the device's included; of two nodes with two_node one is enough."""
    conf = parse(CONF)
    assert (conf.total_votes, conf.needed_votes) == (4, 3)
    two = parse(b"quorum {\n two_node: 1\n}\nnodelist {\n node {\n ring0_addr: a\n }\n node {\n ring0_addr: b\n }\n}\n")
    assert (two.two_node, two.wait_for_all, two.total_votes, two.needed_votes) == (True, True, 2, 1)
    assert not parse(b"quorum {\n two_node: 1\n wait_for_all: 0\n}\n").wait_for_all


def test_secret_key_is_not_kept() -> None:
    """The secret that totem.key may hold appears nowhere."""
    assert "c2VjcmV0" not in repr(parse(CONF))


def test_wrong_lines_are_named_and_left_out() -> None:
    """A line without sense, a brace too many and one too few are noticed with their line; the rest is read."""
    conf = parse(b"}\nnonsense\ntotem {\n cluster_name: c\n config_version: soon\n")
    assert (conf.cluster, conf.config_version) == ("c", None)
    assert [notice.line for notice in conf.notices] == [1, 2, 6]


def test_deep_nesting() -> None:
    """Nesting beyond every real file is left out, and what follows is read."""
    deep = b"a {\n" * 50 + b"}\n" * 50 + b"totem {\n cluster_name: c\n}\n"
    assert parse(deep).cluster == "c"


@given(st.binary(max_size=200) | st.text("{}:#\n abc", max_size=200).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a value."""
    conf = parse(data)
    assert conf.needed_votes >= 1
