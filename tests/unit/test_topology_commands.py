"""`what-if`, `domains` and `topology` on a copy of /etc/pve: what people and machines read."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from faultline.__main__ import app
from faultline.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PVE = ROOT / "demo" / "pve"
HOST = f"pve1={ROOT}/tests/samples/hosts/good"


def run(*arguments: str) -> Result:
    """Run a command on the demo's cluster."""
    return CliRunner().invoke(app, [*arguments, "--pve", str(PVE)])


def test_what_if_for_machines() -> None:
    """JSON says of each guest what happens to it, because of which storage, and where it could run."""
    found = json.loads(run("what-if", "--fail", "nfs-server/10.1.3.1", "--format", "json").stdout)

    assert {one["vmid"]: one["effect"] for one in found["guests"]} == {"101": "frozen", "103": "frozen", "105": "frozen"}
    assert [one["storage"] for one in found["storages"]] == ["nas-iso", "nas-vm"]
    assert not found["ha_can_help"]


def test_what_if_for_people() -> None:
    """Text counts who stands still and who notices nothing; HA restarts what it manages when a node is gone."""
    text = " ".join(run("what-if", "--fail", "node/pve1").stdout.split())

    assert "1 guest(s) stand still, 1 restart elsewhere, 0 run without redundancy, 4 notice nothing." in text


def test_several_things_fail_together() -> None:
    """--fail can be given several times: two portals are not the sum of two single ones."""
    both = ("--fail", "iscsi-portal/10.1.1.1:3260", "--fail", "iscsi-portal/10.1.2.1:3260")
    one = json.loads(run("what-if", *both[:2], "--node", HOST, "--format", "json").stdout)
    two = json.loads(run("what-if", *both, "--node", HOST, "--format", "json").stdout)

    assert {guest["effect"] for guest in one["guests"] if guest["node"] == "pve1"} == {"at_risk"}
    assert {guest["effect"] for guest in two["guests"] if guest["node"] == "pve1"} == {"frozen"}


def test_storage_network_of_a_node() -> None:
    """A node's storage network fails by one name, and only with the node's addresses known."""
    arguments = ("what-if", "--fail", "storage-network/pve1")
    found = json.loads(run(*arguments, "--node", HOST, "--format", "json").stdout)

    assert {one["vmid"] for one in found["guests"] if one["effect"] == "frozen"} == {"100", "101"}
    assert isinstance(run(*arguments).exception, InputError)


@pytest.mark.parametrize("name", ["nfs-server/10.1.3.2", "nonsense", "guest/1"])
def test_what_does_not_exist_is_an_input_error(name: str) -> None:
    """A name that this cluster does not have is refused; near ones are proposed."""
    error = run("what-if", "--fail", name).exception

    assert isinstance(error, InputError)
    assert name in str(error)
    assert name != "nfs-server/10.1.3.2" or "nfs-server/10.1.3.1" in str(error)


def test_domains_worst_first() -> None:
    """The list is sorted by guests that stand still, and says which are single points of failure."""
    found = json.loads(run("domains", "--format", "json").stdout)

    assert [one["stand_still"] for one in found] == sorted((one["stand_still"] for one in found), reverse=True)
    assert {one["domain"]: one["single_point_of_failure"] for one in found}["nfs-server/10.1.3.1"] is True


def test_topology_for_people() -> None:
    """The tree counts the guests of each storage and shows what each needs."""
    text = run("topology").stdout

    assert "storage/nas-vm (nfs; all nodes; shared), 3 guest(s)" in text
    assert "nfs-server/10.1.3.1" in text


def test_topology_for_machines() -> None:
    """JSON has each edge once."""
    found = json.loads(run("topology", "--node", HOST, "--format", "json").stdout)
    edges = [(one["from"], one["to"]) for one in found["edges"]]

    assert len(edges) == len(set(edges))
    assert ("iscsi-portal/10.1.1.1:3260", "subnet/10.1.1.0/24") in edges


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_topology_as_a_picture(tmp_path: Path) -> None:
    """What is drawn is a picture that Graphviz made without complaint."""
    file = tmp_path / "cluster.svg"
    result = run("topology", "--format", "svg", "--output", str(file))

    assert result.exit_code == 0
    assert ET.parse(file).getroot().tag.endswith("svg")  # noqa: S314 - our own file


def test_directory_that_is_no_copy(tmp_path: Path) -> None:
    """A directory without a file of /etc/pve is named, not taken for an empty cluster."""
    error = CliRunner().invoke(app, ["domains", "--pve", str(tmp_path)]).exception

    assert isinstance(error, InputError)
    assert str(tmp_path) in str(error)


def test_names_with_brackets_show_as_they_are(tmp_path: Path) -> None:
    """IPv6 portals and exports whose names hold brackets show whole in the tree and in the list of domains."""
    pve = tmp_path / "pve"
    shutil.copytree(PVE, pve)
    nfs = "nfs: odd\n\tserver 10.1.3.9\n\texport /srv/[/old]\n\tcontent images\n\n"
    (pve / "storage.cfg").write_text(f"{nfs}iscsi: six\n\tportal [fd00::1]:3260\n\ttarget iqn.2003-01.org:100:x\n\tcontent none\n")
    for command in ("topology", "domains"):
        result = CliRunner().invoke(app, [command, "--pve", str(pve)])
        assert result.exit_code == 0, result.exception
        assert "iscsi-portal/[fd00::1]:3260" in result.stdout
        assert "/srv/[/old]" in result.stdout
