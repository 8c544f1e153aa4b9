"""What looks at iSCSI mean: sessions, portals, names, targets without a session."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from agent.classify.changes import REPEAT_BAD
from agent.classify.iscsi_probe import IscsiClassifier
from agent.record import RawRecord
from events.base import Source

SECOND = 1_000_000
TARGET = "iqn.2005-10.org.example:one"
PORTAL = "10.0.1.1:3260"


def record(look: str, found: Any, at: float) -> RawRecord:
    """Return a record of a look at a second."""
    return RawRecord(Source.ISCSI, int(at * SECOND), int(at * SECOND), "boot", {"look": look, "found": json.dumps(found)})


def session(state: str, number: int = 1, target: str = TARGET) -> dict[str, str]:
    """Return a session's row."""
    address, port = PORTAL.split(":")
    return {"session": str(number), "target": target, "address": address, "port": port, "state": state, "recovery": "5", "what": "session"}


def sessions(*rows: dict[str, str], at: float, wanted: tuple[str, ...] = ()) -> RawRecord:
    """Return a look at sessions."""
    return record("sessions", {"sessions": rows, "wanted": wanted}, at)


def portal(outcome: str, number: int, at: float, **fields: Any) -> RawRecord:
    """Return a look at the one portal."""
    row = {"host": "10.0.1.1", "trouble": "", "number": number, "outcome": outcome, "detail": "", "rtt": 0.001, **fields}
    return record("portals", {PORTAL: row}, at)


def kinds(classifier: IscsiClassifier, *records: RawRecord) -> list[str]:
    """Return the kinds of all events."""
    return [event.kind for one in records for event in classifier.classify(one)]


def test_the_life_of_a_session() -> None:
    """Logged in, failed, given up, back, gone: each step is said once, with portal, target and number."""
    classifier = IscsiClassifier("pve1")
    steps = ("LOGGED_IN", "LOGGED_IN", "FAILED", "FAILED", "FREE", "LOGGED_IN")
    said = kinds(classifier, *(sessions(session(state), at=at) for at, state in enumerate(steps)))
    (closed,) = classifier.classify(sessions(at=10))

    assert said == ["iscsi.session.established", "iscsi.connection.failed", "iscsi.session.expired", "iscsi.connection.recovered"]
    assert (closed.kind, str(closed.subject), closed.model_dump()["target"]) == ("iscsi.session.closed", f"iscsi-portal/{PORTAL}", TARGET)


def test_sessions_over_several_interfaces_are_one() -> None:
    """Two to one portal and target: one that fails is said while it lasts and never contradicted, and the last one's end is the end."""
    classifier = IscsiClassifier("pve1")
    both = kinds(classifier, sessions(session("LOGGED_IN", 1), session("LOGGED_IN", 2), at=0))
    failed = kinds(classifier, *(sessions(session("FAILED", 1), session("LOGGED_IN", 2), at=at) for at in range(1, 700)))
    lost = kinds(classifier, sessions(session("FREE", 1), session("FAILED", 2), at=700))
    one = kinds(classifier, sessions(session("LOGGED_IN", 2), at=701))
    none = kinds(classifier, sessions(at=702))

    assert both == ["iscsi.session.established"]
    assert failed == ["iscsi.connection.failed"] * 12
    assert (lost, one, none) == (["iscsi.session.expired"], ["iscsi.connection.recovered"], ["iscsi.session.closed"])


def test_a_session_that_another_stays_beside_is_no_end() -> None:
    """One of two is logged out: the other is said to be there, for iscsid's own line on it may have made a controller forget both."""
    classifier = IscsiClassifier("pve1")
    kinds(classifier, sessions(session("LOGGED_IN", 1), session("LOGGED_IN", 2), at=0))

    assert kinds(classifier, sessions(session("LOGGED_IN", 1), at=1)) == ["iscsi.session.established"]
    assert kinds(classifier, sessions(session("LOGGED_IN", 1), at=2)) == []


def test_one_refused_connection_is_an_accident() -> None:
    """A refusal is believed at the second try, not at the second sight of the first; one success ends it."""
    classifier = IscsiClassifier("pve1")

    assert kinds(classifier, portal("accepted", 1, 0), portal("refused", 2, 2), portal("refused", 2, 2.5)) == ["iscsi.portal.reachable"]
    assert kinds(classifier, portal("refused", 3, 3)) == ["iscsi.portal.unreachable"]
    assert kinds(classifier, portal("refused", 4, 4), portal("accepted", 5, 5)) == ["iscsi.portal.reachable"]


def test_what_says_nothing_is_not_said() -> None:
    """A try that could not be made says nothing of the portal, and looks that hang or fail say nothing of anything."""
    classifier = IscsiClassifier("pve1")
    hung = RawRecord(Source.ISCSI, 0, 0, "boot", {"look": "portals", "hung": "4.0"})

    assert kinds(classifier, *(portal("blind", number, number) for number in range(5)), hung) == []


def test_bad_news_is_repeated() -> None:
    """What is broken is said again each minute."""
    classifier = IscsiClassifier("pve1")
    first = kinds(classifier, sessions(session("FAILED"), at=0))
    later = kinds(classifier, sessions(session("FAILED"), at=REPEAT_BAD / SECOND))

    assert first == later == ["iscsi.connection.failed"]


def test_a_full_picture_on_request() -> None:
    """After ``repeat`` everything is said again."""
    classifier = IscsiClassifier("pve1")
    said = [kinds(classifier, sessions(session("LOGGED_IN"), at=0), portal("accepted", 1, 1)) for _ in range(2)]
    classifier.repeat()
    again = kinds(classifier, sessions(session("LOGGED_IN"), at=2), portal("accepted", 1, 3))

    assert said == [["iscsi.session.established", "iscsi.portal.reachable"], []]
    assert again == said[0]


def test_a_wanted_target_without_a_session() -> None:
    """A target of storage.cfg without a session is said after a minute, and its first session ends it."""
    classifier = IscsiClassifier("pve1")
    early = kinds(classifier, *(sessions(at=at, wanted=(TARGET,)) for at in (0, 30, 59)))
    late = kinds(classifier, sessions(at=61, wanted=(TARGET,)))
    back = kinds(classifier, sessions(session("LOGGED_IN"), at=70, wanted=(TARGET,)))

    assert (early, late) == ([], ["iscsi.session.missing"])
    assert set(back) == {"iscsi.session.established", "iscsi.session.present"}


def test_a_clock_that_is_set_is_no_patience() -> None:
    """A node boots, and its clock is put right by a day: the target has the rest of its minute."""
    classifier = IscsiClassifier("pve1")
    looks = [dataclasses.replace(sessions(at=at + 86_400, wanted=(TARGET,)), monotonic=at * SECOND) for at in (1, 60, 61)]

    assert kinds(classifier, sessions(at=0, wanted=(TARGET,)), *looks[:1]) == []
    assert kinds(classifier, *looks[1:]) == ["iscsi.session.missing"]


def test_names_are_a_question_of_their_own() -> None:
    """A name that does not resolve is said beside what its last address answers; an address has no such question."""
    classifier = IscsiClassifier("pve1")
    row = {"host": "san.example", "trouble": "Name or service not known", "number": 1, "outcome": "accepted", "detail": "", "rtt": 0.1}
    said = kinds(
        classifier, record("portals", {"san.example:3260": row}, 0), record("portals", {"san.example:3260": {**row, "trouble": ""}}, 1)
    )

    assert said == ["iscsi.name.unresolved", "iscsi.portal.reachable", "iscsi.name.resolved"]
    assert kinds(classifier, portal("accepted", 1, 0)) == ["iscsi.portal.reachable"]


def test_names_that_are_none_are_left_out() -> None:
    """Whatever sysfs or storage.cfg hold that can be no name makes no event and no failure."""
    classifier = IscsiClassifier("pve1")
    strange = {**session("LOGGED_IN"), "address": " ", "port": ""}

    assert (
        kinds(
            classifier,
            sessions(strange, at=0, wanted=("a\x01b",)),
            record("portals", {"a\x01b:1": {"host": "a\x01b", "trouble": "", "number": 0}}, 1),
        )
        == []
    )
