"""A verdict explained to somebody who was woken for it: scenarios' reports as ``--explain`` and ``--why`` print them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from controller.core.report import Change, IncidentReport
from faultline.explain import explained
from faultline.render import incident
from tests.sim.scenario import SCENARIOS, run
from tests.sim.script import read

_NAMES = (
    "nfs-server/",
    "iscsi-portal/",
    "iscsi-target/",
    "node/",
    "lun/",
    "vg/",
    "ceph/",
    "subnet/",
    "(reach)",
    "(session)",
    "nats",
    "(s)",
)
"""What people are not to be shown."""


def reports(name: str) -> list[IncidentReport]:
    """Return the reports of a scenario that are told with their reasons."""
    told = run(read(SCENARIOS / name)).told
    return [one for one in told if one.change in {Change.OPENED, Change.REVISED, Change.REOPENED}]


def printed(report: IncidentReport) -> str:
    """Return an explanation as it is printed, with single blanks."""
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(explained(report))
    return " ".join(capture.get().split())


def _sentences() -> Iterator[tuple[str, int, list[str]]]:
    """Yield scenarios, which of its reports is meant, and what must be said."""
    yield (
        "network-node",
        0,
        [
            "pve2 lost 10.1.1.1:3260, 10.1.2.1:3260, 10.1.3.1; pve1, pve3 still use them.",
            "It explains 2 further signs: cannot use storage nas-iso (pve2), cannot use storage san (pve2).",
            "2 guests (102, 103) stand still, 1 of them managed by HA; all of them could run on another node.",
            "It is this with a probability of 96%",
            "pve2 11:08:04 does not reach NFS server 10.1.3.1",
            "Nothing speaks against it.",
            "NFS server 10.1.3.1 does not answer: contradicted by pve1, pve3: still well there",
        ],
    )
    yield (
        "network-subnet",
        0,
        [
            "Against it: still well on pve1: NFS server nas2.example.org.",
            "What speaks against it pve1 11:06:40 still reaches NFS server nas2.example.org",
            "Node pve2 lost its storage network: explains only 1 of 4 signs",
        ],
    )
    yield (
        "login-one",
        0,
        ["is rejected at the login by iSCSI target iqn.2005-10.org.freenas.ctl:san", "managed by HA; it could run on another"],
    )
    yield (
        "agent-silent",
        0,
        ["Noticed by the controller itself.", "hears nothing from the agent of node pve2", "No other explanation covers"],
    )
    yield (
        "portal-silent",
        0,
        ["The target still answers on 10.1.2.1:3260.", "does not reach iSCSI portal 10.1.1.1:3260"],
    )
    yield ("ceph-mon-quorum", 0, ["gets no word from Ceph monitor mon.pve1", "1 of 3 monitors are left: without mon.pve1, mon.pve2."])
    yield ("portal-64", 0, ["and 41 further nodes"])


@pytest.mark.parametrize(("name", "number", "sentences"), list(_sentences()), ids=lambda one: one if isinstance(one, str) else "")
def test_verdicts_are_explained_in_sentences(name: str, number: int, sentences: list[str]) -> None:
    """Signs for and against by node, rivals with their reasons, and what a score means; no name of the vocabulary among them."""
    text = printed(reports(name)[number])

    for one in (*sentences, "One point more is 2.7 times likelier"):
        assert one in text
    assert [one for one in _NAMES if one in text] == []


def test_an_incident_whole_is_told_in_the_same_words() -> None:
    """``incidents ID`` lists what was set aside and the evidence as sentences."""
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(incident(reports("network-node")[0]))
    text = " ".join(capture.get().split())

    assert "Set aside iSCSI target iqn.2005-10.org.freenas.ctl:san is down on all its portals: contradicted by pve1, pve3" in text
    assert "pve2 11:08:04 does not reach NFS server 10.1.3.1" in text


def test_signs_that_are_over_are_told_as_what_they_were() -> None:
    """A resolved incident still says what was found, and that it is well again."""
    last = run(read(SCENARIOS / "network-node")).told[-1]

    assert last.change is Change.RESOLVED
    assert "pve2 11:08:04 does not reach NFS server 10.1.3.1, and is well again" in printed(last)
    assert "can use storage nas-vm again" in printed(last)


def test_room_is_kept_for_what_speaks_against() -> None:
    """Of a fault of 64 nodes that some nodes have not noticed yet, these are in the report as well."""
    report = reports("portal-64")[0]

    assert {one.speaks for one in report.evidence} >= {"for", "against"}
    assert len(report.evidence) == 64
