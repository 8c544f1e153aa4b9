"""The core's own rules: purity of results, stored form, transitions, late and repeated evidence."""

from __future__ import annotations

import msgpack
import pytest

from controller.core.causes import CAUSES, Cause
from controller.core.correlate import Heard, Joined, Tick, step
from controller.core.effects import Tell
from controller.core.evidence import SECOND, Answer
from controller.core.incident import SENTENCES, TRANSITIONS, IllegalTransitionError, IncidentState, Trigger, advance
from controller.core.inference.saying import DIRECT_CAUSES
from controller.core.report import Change, IncidentReport
from controller.core.state import SEPARATOR, CoreState
from controller.core.timings import Timings
from events.agent import AgentSourceFailed, AgentStarted
from events.base import Event, Seen, Source
from events.codec import LATEST
from events.envelope import Envelope, UnknownEvent
from events.iscsi import IscsiConnectionFailed, IscsiConnectionRecovered
from events.nfs import NfsServerReachable, NfsServerUnreachable, NfsSilence
from faultline.timeline import Timeline

SEEN = Seen(source=Source.JOURNALD, excerpt="seen")
T0 = 1_795_000_000 * SECOND
SERVER = "nfs-server/10.1.3.1"


def envelope(node: str, event: Event | UnknownEvent, at: int, seq: int = 1) -> Envelope:
    """Wrap an event seen by a node at ``at`` seconds."""
    return Envelope("c", node, "boot", "s", seq, T0 + at * SECOND, at * SECOND, event)


def down(how: NfsSilence = NfsSilence.STILL_TRYING) -> NfsServerUnreachable:
    """Return a report that the NFS server is silent."""
    return NfsServerUnreachable(subject=SERVER, seen=SEEN, how=how)


def up() -> NfsServerReachable:
    """Return a report that the NFS server answers."""
    return NfsServerReachable(subject=SERVER, seen=SEEN)


def play(timeline: Timeline, *envelopes: Envelope, until: int = 3600) -> list[IncidentReport]:
    """Feed envelopes and let time pass; return what is told."""
    told = [report for one in envelopes for report in timeline.feed(one)]
    return [*told, *timeline.advance(T0 + until * SECOND)]


def test_every_state_has_a_sentence_and_a_row() -> None:
    """The state table is complete: code, docs and tests read the same one."""
    assert set(SENTENCES) == set(TRANSITIONS) == set(IncidentState)


def test_illegal_transition_raises() -> None:
    """A trigger that a state does not know is an error, not a silent jump."""
    with pytest.raises(IllegalTransitionError, match="resolved cannot be recovered"):
        advance(IncidentState.RESOLVED, Trigger.RECOVERED)


def test_every_cause_can_be_told() -> None:
    """Each cause of the interface has a sentence, a severity and a remedy; each direct cause is one of them."""
    assert set(CAUSES) == set(Cause)
    assert all(info.remedies and "{entity}" in info.sentence for info in CAUSES.values())
    assert set(DIRECT_CAUSES.values()) <= set(Cause)


def test_repeated_evidence_tells_nothing_new() -> None:
    """The same report ten times is told once."""
    timeline = Timeline("c", ["a"])
    told = play(timeline, *(envelope("a", down(), at, at + 1) for at in range(10)), until=100)

    assert [report.change for report in told] == [Change.OPENED]


def test_a_started_agent_says_anew_what_it_cannot_see() -> None:
    """What a source of the agent before it did not see is over soon, unless it is said again: a restart is how that is mended."""
    failed = AgentSourceFailed(subject="node/a", seen=Seen(source=Source.AGENT), source="journald", reason="defect of the agent")
    started = AgentStarted(subject="node/a", seen=Seen(source=Source.AGENT), version="1")
    timeline = Timeline("c", ["a", "b"])
    told = play(timeline, envelope("a", failed, 0), envelope("a", started, 120, 2), until=600)
    assert [report.change for report in told] == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]
    for again in (envelope("b", started, 4120, 1), envelope("a", started, 4120, 4)):
        timeline = Timeline("c", ["a", "b"])
        told = play(timeline, envelope("a", failed, 4000, 3), again, envelope("a", failed, 4180, 5), until=8000)
        assert [report.change for report in told] == [Change.OPENED]


@pytest.mark.parametrize(("clock", "at"), [(1, 0), (2**63 - 1, 0), (2**63 - 1, LATEST)])
def test_no_clock_is_too_far_off(clock: int, at: int) -> None:
    """Whatever an agent's clock says, now and in an event, what it saw becomes an incident with times that can be written."""
    state, timings, told = CoreState("c"), Timings(), []
    for number, node in enumerate("abc"):
        for given in (Heard(node, clock), envelope(node, down(), 0)._replace(observed_at=at)):
            step(state, given, T0 + number, timings)
    for second in range(1, 15):
        told += [one.report for one in step(state, Tick(), T0 + second * SECOND, timings)[1] if isinstance(one, Tell)]
    assert told
    assert all(report.opened_at for report in told)


def test_late_evidence_does_not_turn_back_time() -> None:
    """A report that arrives after a newer one about the same thing is history, not news."""
    timeline = Timeline("c", ["a"])
    list(timeline.feed(envelope("a", up(), 50)))
    told = [*timeline.feed(envelope("a", down(), 40), T0 + 51 * SECOND), *timeline.advance(T0 + 300 * SECOND)]

    assert told == []


def test_short_trouble_is_not_told() -> None:
    """What is well again before the verdict has settled was no incident."""
    timeline = Timeline("c", ["a"])

    assert play(timeline, envelope("a", down(), 0), envelope("a", up(), 1, 2)) == []


def test_soft_mount_without_closing_line_ends_by_itself() -> None:
    """A soft mount's time-out never gets an OK line: without renewal the incident ends, and says that nobody reported its end."""
    timeline = Timeline("c", ["a"])
    told = play(timeline, envelope("a", down(NfsSilence.TIMED_OUT), 0))

    assert [report.change for report in told] == [Change.OPENED, Change.RECOVERING, Change.RESOLVED]
    assert "nobody reported its end" in told[1].timeline[-1].text


def test_lease_timeout_does_not_weaken_a_hard_mount() -> None:
    """A time-out line after "still trying" must not make the hard mount's silence expire."""
    timeline = Timeline("c", ["a"])
    told = play(timeline, envelope("a", down(), 0), envelope("a", down(NfsSilence.TIMED_OUT), 58, 2), until=3000)

    assert [report.change for report in told] == [Change.OPENED]


def test_unknown_events_are_passed_over() -> None:
    """An event of a newer version neither opens nor breaks anything."""
    timeline = Timeline("c", ["a"])

    assert play(timeline, envelope("a", UnknownEvent("zfs.pool.suspended", {"subject": "x"}), 0)) == []


def test_two_targets_on_one_portal_tell_target_from_portal() -> None:
    """When one target on a portal dies and the other lives on the same portal, the target is named."""
    timeline = Timeline("c", ["a", "b"])
    portal = "iscsi-portal/10.0.0.1:3260"
    well = [
        envelope(node, IscsiConnectionRecovered(subject=portal, seen=SEEN, target=target, session=1), 0, seq)
        for node in "ab"
        for seq, target in enumerate(("iqn.x:one", "iqn.x:two"), 1)
    ]
    bad = [
        envelope(node, IscsiConnectionFailed(subject=portal, seen=SEEN, target="iqn.x:one", session=1, code=1020), 60, 3) for node in "ab"
    ]
    told = play(timeline, *well, *bad, until=100)

    assert [(report.cause, report.entity) for report in told] == [("iscsi-target-down", "iscsi-target/iqn.x:one")]


def test_stored_form_is_the_state() -> None:
    """State that went through its stored form (as msgpack) goes on exactly like state that did not."""
    one, two = CoreState("c"), CoreState("c")
    timings = Timings()
    records: dict[tuple[str, str], bytes] = {}
    told_one, told_two = [], []
    for seq, (node, event, at) in enumerate([("a", down(), 0), ("b", down(), 1), ("a", up(), 200), ("b", up(), 201)], 1):
        for name in "ab":
            step(one, Joined(name), 0, timings)
        now = T0 + at * SECOND
        told_one += step(one, envelope(node, event, at, seq), now, timings)[1]
        told_one += step(one, Tick(), now + 30 * SECOND, timings)[1]
        step(two, Joined("a"), 0, timings)
        step(two, Joined("b"), 0, timings)
        told_two += step(two, envelope(node, event, at, seq), now, timings)[1]
        told_two += step(two, Tick(), now + 30 * SECOND, timings)[1]
        for table, key, record in two.take_changes():
            if record is None:
                records.pop((table, key), None)
            else:
                records[table, key] = msgpack.packb(record)
        look_at = two.look_at
        two = CoreState("c")
        two.load((table, key, msgpack.unpackb(data)) for (table, key), data in records.items())
        two.look_at = look_at

    assert told_one == told_two
    assert {key: cell.answer for key, cell in two.cells.items()} == {
        key: Answer.OK for key in one.cells if f"{SEPARATOR}reach{SEPARATOR}" in key or f"{SEPARATOR}state{SEPARATOR}" in key
    }


def test_after_a_restart_known_agents_are_awaited() -> None:
    """A restarted controller does not call one node's backlog a single node's fault while the others have still to report."""
    timeline = Timeline("c", ["a", "b"])
    timeline.state.awaited, timeline.state.awaited_until = {"b"}, T0 + 10 * SECOND
    early = [*timeline.feed(envelope("a", down(), 0)), *timeline.advance(T0 + 8 * SECOND)]
    late = [*timeline.give(Heard("b"), T0 + 8 * SECOND), *timeline.feed(envelope("b", down(), 9)), *timeline.advance(T0 + 25 * SECOND)]

    assert early == []
    assert [(report.cause, report.nodes) for report in late] == [("nfs-server-down", ("a", "b"))]


def test_history_of_a_flapping_incident_stays_bounded() -> None:
    """What flaps for ever does not grow its reports for ever; how it began stays."""
    timeline = Timeline("c", ["a"])
    told: list[IncidentReport] = []
    for number in range(200):
        told += timeline.feed(envelope("a", down(), number * 30, 2 * number + 1))
        told += timeline.feed(envelope("a", up(), number * 30 + 10, 2 * number + 2))
    told += timeline.advance(T0 + 10_000 * SECOND)

    assert len({report.id for report in told}) == 1
    assert len(told) > 300
    assert len(told[-1].timeline) == 100
    assert (told[-1].timeline[0].change, told[-1].timeline[-1].change) == ("opened", "resolved")


def test_same_input_same_incidents() -> None:
    """Two cores given the same inputs tell the same, ids included: nothing depends on chance or on a clock."""
    runs = [play(Timeline("c", ["a", "b"]), envelope("a", down(), 0), envelope("b", down(), 2)) for _ in range(2)]

    assert runs[0] == runs[1]
    assert runs[0][0].id.startswith("fl-")


@pytest.mark.parametrize("ahead", [-5, 4])
def test_clocks_that_are_off_make_no_difference(ahead: int) -> None:
    """A node whose clock is seconds off, either way, neither gets blamed for a server's fault nor hides it."""

    def happened(skew: int) -> list[tuple[str, str, tuple[str, ...]]]:
        timeline = Timeline("c", ["a", "b", "d"])
        for node, off in (("a", skew), ("b", 0), ("d", 0)):
            list(timeline.give(Heard(node, T0 + (100 + off) * SECOND), T0 + 100 * SECOND))
        told = []
        for node, off, at in (("a", skew, 110), ("b", 0, 111), ("d", 0, 111)):
            probed = down().model_copy(update={"seen": Seen(source=Source.NFS)})
            told += list(timeline.feed(envelope(node, probed, at + off, at), T0 + at * SECOND))
        told += list(timeline.advance(T0 + 115 * SECOND))
        return [(one.change.value, one.cause, one.nodes) for one in told]

    assert happened(ahead) == happened(0) == [("opened", "nfs-server-down", ("a", "b", "d"))]
