import pytest

from pve.errors import FormatError, TornError
from pve.members import ClusterInfo, Member, parse

BODY = b"""{
"nodename": "pve1",
"version": 8,
"cluster": { "name": "c1", "version": 3, "nodes": 3, "quorate": 1 },
"nodelist": {
  "pve1": { "id": 1, "online": 1, "ip": "10.1.1.11"},
  "pve2": { "id": 2, "online": 1, "ip": "fd00::12"},
  "pve3": { "id": 3, "online": 0}
  }
}
"""


def test_cluster() -> None:
    """Nodes come with number, presence and address; one that has not told its address has none."""
    members = parse(BODY)
    assert (members.nodename, members.version) == ("pve1", 8)
    assert members.cluster == ClusterInfo("c1", 3, 3, quorate=True)
    assert members.nodes == {
        "pve1": Member(1, online=True, address="10.1.1.11"),
        "pve2": Member(2, online=True, address="fd00::12"),
        "pve3": Member(3, online=False, address=None),
    }


def test_quorum_lost() -> None:
    """Quorum is a field of the cluster."""
    cluster = parse(BODY.replace(b'"quorate": 1', b'"quorate": 0')).cluster
    assert cluster is not None
    assert not cluster.quorate


def test_node_alone() -> None:
    """A node in no cluster has neither cluster nor nodes, and that is no error."""
    members = parse(b'{\n"nodename": "pve1",\n"version": 2\n}\n')
    assert (members.cluster, members.nodes) == (None, {})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"version": 1}', "nodename"),
        (b'{"nodename": "a"}', "version"),
        (b'{"nodename": "a", "version": 1, "nodelist": []}', "nodelist"),
        (b'{"nodename": "a", "version": 1, "nodelist": {"b": {"online": 1}}}', "nodelist/b/id"),
        (b'{"nodename": "a", "version": 1, "cluster": 3}', "cluster"),
    ],
)
def test_wrong_fields_are_named(body: bytes, field: str) -> None:
    """A field that is missing or of another type is an error that names the path to it."""
    with pytest.raises(FormatError) as wrong:
        parse(body)
    assert wrong.value.field == field
    assert not isinstance(wrong.value, TornError)


def test_cut_body() -> None:
    """Half a body is to be read again."""
    with pytest.raises(TornError):
        parse(BODY[:60])
