from __future__ import annotations

import string
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.check.catalog import BY_ID, CHECKS
from controller.check.finding import Finding, Severity
from controller.check.run import check
from controller.check.suppress import SuppressError, Suppression, apply, parse
from events.definitions import GuestDefined
from tests import checks
from tests.checks import NODES, mounts, nfs
from tests.sim import facts as make
from tests.unit.controller import test_check_ha, test_check_networks, test_check_san, test_check_storages

TODAY = date(2026, 11, 23)
CASES = {**test_check_storages.CASES, **test_check_san.CASES, **test_check_ha.CASES, **test_check_networks.CASES}


def test_each_check_has_a_case_and_a_near_miss() -> None:
    """No check is in the table that no test has seen find and not find."""
    assert CASES.keys() == BY_ID.keys()
    assert len(BY_ID) == len(CHECKS)


@pytest.mark.parametrize("one", CHECKS, ids=lambda one: one.id)
def test_each_check_says_why_and_what_to_do(one: object) -> None:
    """Ids are kebab-case; reason and remedy are whole sentences, and a remedy leaves no field open where it is found."""
    check_ = BY_ID[getattr(one, "id", "")]
    assert set(check_.id) <= {*string.ascii_lowercase, *string.digits, "-"}
    assert len(check_.why) > 40
    assert check_.why.endswith(".")
    case = CASES[check_.id]
    state = make.core(*case.bad)
    finding = check(state.facts, state.topology, case.states, [check_]).findings[0]
    assert "{" not in finding.remedy
    given_ = {name for _, name, _, _ in string.Formatter().parse(check_.remedy) if name}
    assert not any(name.upper() in finding.remedy.split() for name in given_ - {"name", "node"}), finding.remedy


def test_what_could_not_be_looked_at_is_told() -> None:
    """A check whose facts a node did not tell is listed for that node, with what would be needed; never passed in silence."""
    state = make.core(NODES, nfs(), mounts("pve1", ("10.0.1.100:/srv", "/mnt/pve/nas", "nfs4", "rw")))
    report = check(state.facts, state.topology)
    gaps = {(gap.id, gap.node): gap.reason for gap in report.not_checked}
    assert ("storage-not-mounted", "pve1") not in gaps
    assert gaps["storage-not-mounted", "pve2"] == "no agent on pve2 told its mounts"
    assert "controller" in gaps["storage-inactive", ""]
    assert ("corosync-single-link", "") in gaps
    assert not any(one.id == "node-unwatched" for one in report.findings)


def test_live_states_that_nobody_told_are_told() -> None:
    """A storage of which a node's state is unknown is not taken for active."""
    state = make.core(make.nodes("pve1", "pve2"), nfs())
    report = check(state.facts, state.topology, {("pve1", "storage/nas", "active"): "ok"})
    assert [gap.node for gap in report.not_checked if gap.id == "storage-inactive"] == ["pve2"]


def test_guests_with_more_volumes_than_were_told_are_told() -> None:
    """What an agent had to leave out of a guest is a gap of the guests' checks."""
    guest = make.guest(100, "pve1", "nas", omitted=3)
    assert isinstance(guest, GuestDefined)
    state = make.core(NODES, nfs(), guest)
    assert any(gap.id == "guest-iso-attached" and "100" in gap.reason for gap in check(state.facts, state.topology).not_checked)


def test_nothing_known_is_nothing_passed() -> None:
    """Without any facts there are no findings, and every check that needs storage.cfg says so."""
    state = make.core()
    report = check(state.facts, state.topology)
    assert report.findings == ()
    assert {gap.id for gap in report.not_checked} >= {one.id for one in CHECKS if "storage.cfg" in one.needs}


def test_what_is_the_same_on_several_nodes_is_one_finding() -> None:
    """A finding names all nodes on which it is so."""
    by_hand = ("10.0.1.100:/iso", "/srv/iso", "nfs4", "rw")
    state = make.core(NODES, checks.directory("iso", "/srv/iso", "iso"), *(mounts(node, by_hand) for node in ("pve1", "pve2", "pve3")))
    found = check(state.facts, state.topology, None, [BY_ID["mount-not-at-boot"]]).findings
    assert [one.nodes for one in found] == [("pve1", "pve2", "pve3")]


def finding(identity: str = "nfs-soft", entity: str = "storage/nas", *nodes: str) -> Finding:
    """Return a finding without words."""
    return Finding(identity, Severity.ERROR, entity, "", "", "", nodes)


ENTRY = '[[suppress]]\nid = "nfs-soft"\nreason = "scratch only"\n'


def test_a_suppression_hides_what_it_names_and_nothing_else() -> None:
    """Id must be equal, object matches as a pattern; hidden findings stay known with their entry."""
    entries = parse(ENTRY + 'object = "storage/n*"\n', "f")
    result = apply([finding(), finding("nfs-soft", "storage/other"), finding("nfs-udp")], entries, TODAY)
    assert [one.object for one, _ in result.hidden] == ["storage/nas"]
    assert len(result.standing) == 2
    assert result.unused == ()


def test_a_suppression_for_one_node_does_not_hide_another() -> None:
    """A finding on two nodes stands when only one of them is accepted."""
    entry = Suppression("nfs-soft", "x", node="pve1")
    assert not apply([finding("nfs-soft", "storage/nas", "pve1")], [entry], TODAY).standing
    assert apply([finding("nfs-soft", "storage/nas", "pve1", "pve2")], [entry], TODAY).standing


def test_a_suppression_ends() -> None:
    """It holds through its last day; after that the finding stands again and the entry is told."""
    entries = parse(ENTRY + "until = 2026-11-23\n", "f")
    assert not apply([finding()], entries, TODAY).standing
    after = apply([finding()], entries, date(2026, 11, 24))
    assert after.standing
    assert after.ended == entries


def test_a_suppression_that_hides_nothing_is_told() -> None:
    """What an entry was for may be gone: then it is to be removed."""
    entries = parse(ENTRY, "f")
    assert apply([], entries, TODAY).unused == entries


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[[suppress]]\nid = "nfs-soft"\n', "reason"),
        ('[[suppress]]\nid = "nfs-soft"\nreason = " "\n', "reason"),
        ('[[suppress]]\nid = "no-such"\nreason = "x"\n', "no-such"),
        (ENTRY + 'untill = "2027-01-01"\n', "untill"),
        (ENTRY + 'until = "soon"\n', "until"),
        (ENTRY + "object = 5\n", "object"),
        ("[suppress]\n", "double brackets"),
        ("[[supress]]\n", "supress"),
        ("[[suppress", "TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(text: str, what: str) -> None:
    """An error names file and entry; a suppression without reason is one."""
    with pytest.raises(SuppressError, match=what) as error:
        parse(text, "accepted.toml")
    assert "accepted.toml" in str(error.value)


@given(st.text(max_size=200))
def test_any_text_gives_entries_or_an_error(text: str) -> None:
    """No text makes the reader fail in another way."""
    try:
        assert all(one.reason for one in parse(text, "f"))
    except SuppressError as error:
        assert str(error).startswith("f:")
