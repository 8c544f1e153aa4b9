"""``python -m tests.lab.run``: break everything once on real machines, and print how soon it was seen, named and cleared.

``--short``: two machines and five faults; else three machines and every scenario. ``--only I3``: these rows. ``--record DIR``: journals,
NFS statistics, events and truth of the run, in the form of ``tests/samples``. Ends with 0 when every fault was seen in time, by every node
that it hit, and cleared after its repair.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from events.envelope import Envelope, UnknownEvent
from tests.lab import image
from tests.lab.agents import Faultline
from tests.lab.faults import do
from tests.lab.image import LabError
from tests.lab.scenarios import Scenario, scenarios
from tests.lab.site import Site
from tests.stored import Told

_SEEN_WITHIN: Final = 90.0
"""Seconds until a fault that has no limit must be seen."""
_NAMED_WITHIN: Final = 30.0
"""Seconds that the incident has after the last node saw the fault."""
_RESOLVED_WITHIN: Final = 60.0
"""Seconds that the incident has after the last node saw the repair."""
_QUIET: Final = 45.0
"""Seconds for which nothing may be said of what is no fault: mounts are looked at each 10 s, and twice before a denial is believed."""
_PAUSE: Final = 1.0
"""Seconds between two scenarios."""


@dataclass(slots=True)
class Outcome:
    """What came of a scenario. Seconds since the fault or since the repair."""

    scenario: Scenario
    seen: dict[str, float] = field(default_factory=dict)
    """By node."""
    cleared: dict[str, float] = field(default_factory=dict)
    incidents: dict[str, str] = field(default_factory=dict)
    """Cause and entity by id, as told last."""
    named: float | None = None
    """When the incident had the right cause and entity."""
    heard: set[str] = field(default_factory=set)
    """What was said although nothing should be."""
    begun: float = 0.0
    ended: float = 0.0

    def problems(self, *, timed: bool = True) -> list[str]:
        """Return what is wrong with it; ``timed``: also what came too late."""
        one, found = self.scenario, []
        if not one.cause:
            return [f"said {what}" for what in sorted(self.heard | set(self.incidents.values()))]
        for what, times in (("saw it", self.seen), ("saw the repair", self.cleared)):
            if lacking := set(one.nodes) - set(times):
                found.append(f"{', '.join(sorted(lacking))} never {what}")
        if timed and one.limit is not None and self.seen and max(self.seen.values()) > one.limit:
            found.append(f"seen after {max(self.seen.values()):.1f} s, limit {one.limit:g} s")
        return found


class Laboratory:
    """Runs scenarios on a site and keeps what happened."""

    def __init__(self, site: Site, faultline: Faultline, console: Console) -> None:
        self._site, self._faultline, self._console = site, faultline, console
        self.outcomes: list[Outcome] = []

    def run(self, wanted: Iterable[Scenario]) -> list[Outcome]:
        """Run scenarios one after the other, each on a site where all is well.

        :raises LabError: when the site does not come back.
        """
        for one in wanted:
            self._site.healthy()
            time.sleep(_PAUSE)
            outcome = self._run(one)
            self.outcomes.append(outcome)
            self._console.print(f"{one.row} {one.title}: {_line(outcome)}", highlight=False)
        return self.outcomes

    def _run(self, one: Scenario) -> Outcome:
        outcome, cursor = Outcome(one), self._faultline.cursor()
        do(self._site, one.fault.before)
        outcome.begun = time.time()
        do(self._site, one.fault.begin)
        if not one.cause:
            self._listen(outcome, cursor)
            do(self._site, one.fault.end)
            return outcome
        cursor = self._watch(outcome, cursor, outcome.seen, one.sign.bad, outcome.begun, one.limit or _SEEN_WITHIN, named=True)
        outcome.ended = time.time()
        do(self._site, one.fault.end)
        self._watch(outcome, cursor, outcome.cleared, one.sign.ok, outcome.ended, one.clears, named=False)
        return outcome

    def _listen(self, outcome: Outcome, cursor: int) -> None:
        """Hear what is said of something that is no fault."""
        sign, end = outcome.scenario.sign, time.time() + _QUIET
        while time.time() < end:
            arrived, told, cursor = self._faultline.since(cursor)
            outcome.heard |= {f"{one.node}: {one.kind}" for one in arrived if one.kind in sign.bad and one.subject in sign.subject}
            self._note(outcome, (one for one in told if one.report.change == "opened"))
            time.sleep(0.1)

    def _watch(
        self, outcome: Outcome, cursor: int, times: dict[str, float], kinds: tuple[str, ...], since: float, seconds: float, *, named: bool
    ) -> int:
        """Read what arrives until every node has said it and the incident stands, or is over; return the cursor behind it."""
        one, more = outcome.scenario, _NAMED_WITHIN if named else _RESOLVED_WITHIN
        end = time.time() + max(seconds, 3 * seconds if named else seconds)
        settled: float | None = None
        while time.time() < (settled + more if settled else end):
            arrived, told, cursor = self._faultline.since(cursor)
            for event in arrived:
                if event.kind in kinds and event.subject in one.sign.subject and event.node in one.nodes and event.at >= since:
                    times.setdefault(event.node, event.at - since)
            self._note(outcome, told)
            if settled is None and set(times) >= set(one.nodes):
                settled = time.time()
            if settled is not None and (
                outcome.named is not None if named else all("resolved" in text for text in outcome.incidents.values())
            ):
                break
            time.sleep(0.1)
        return cursor

    @staticmethod
    def _note(outcome: Outcome, told: Iterable[Told]) -> None:
        one = outcome.scenario
        for change in told:
            report = change.report
            outcome.incidents[report.id] = f"{report.cause} {report.entity}" + (" resolved" if report.state == "resolved" else "")
            if outcome.named is None and (report.cause, report.entity) == (one.cause, one.entity):
                outcome.named = change.at - outcome.begun


def _line(outcome: Outcome) -> str:
    problems = outcome.problems()
    if not outcome.scenario.cause:
        return "; ".join(problems) or f"nothing was said of it for {_QUIET:g} s, and nothing should be"
    named = f"named after {outcome.named:.1f} s" if outcome.named is not None else f"NOT NAMED, but {sorted(outcome.incidents.values())}"
    return f"seen {_seconds(outcome.seen)}, cleared {_seconds(outcome.cleared)}, {named}" + (f"; {'; '.join(problems)}" if problems else "")


def _seconds(times: dict[str, float]) -> str:
    return f"{min(times.values()):.1f}–{max(times.values()):.1f} s" if times else "never"


def table(outcomes: list[Outcome]) -> Table:
    """Return the table of all outcomes."""
    shown = Table(title="Seconds from the fault, or from its repair, to the controller", title_justify="left")
    for name in ("row", "fault", "seen, first–last node", "limit", "incident", "named", "cleared, first–last node", ""):
        shown.add_column(name)
    for one in outcomes:
        scenario = one.scenario
        limit = "" if scenario.limit is None else f"{scenario.limit:g}"
        named = "" if not scenario.cause else "no" if one.named is None else f"{one.named:.1f}"
        verdict = "; ".join(one.problems()) or "ok"
        seen, cleared = (_seconds(times) if scenario.cause else "" for times in (one.seen, one.cleared))
        shown.add_row(scenario.row, scenario.title, seen, limit, scenario.cause or "none", named, cleared, verdict)
    return shown


def record(to: Path, site: Site, laboratory: Laboratory, events: Iterable[tuple[int, Envelope]]) -> None:
    """Write journals, NFS statistics, truth, and all events with the time at which the controller had them, as in ``tests/samples``."""
    to.mkdir(parents=True)
    for name, guest in site.nodes.items():
        guest.check("journalctl -o export --boot > /tmp/journal.export", 300)
        guest.pull("/tmp/journal.export", to / f"{name}.export")
        guest.check("cat /proc/self/mountstats > /tmp/mountstats")
        guest.pull("/tmp/mountstats", to / f"{name}.mountstats")
    lines = [json.dumps(_truth(one)) for one in laboratory.outcomes if one.scenario.cause]
    (to / "truth.jsonl").write_text("\n".join(lines) + "\n")
    with lzma.open(to / "events.jsonl.xz", "wt", encoding="utf-8") as out:
        for stored_at, envelope in events:
            out.write(json.dumps(_line_of(stored_at, envelope)) + "\n")


def _line_of(stored_at: int, envelope: Envelope) -> dict[str, object]:
    event = envelope.event
    body = event.body if isinstance(event, UnknownEvent) else event.model_dump(mode="json", exclude_defaults=True)
    place = {name: getattr(envelope, name) for name in ("cluster", "node", "boot_id", "stream", "seq", "observed_at", "monotonic")}
    return {"stored_at": stored_at, **place, "kind": event.kind, "body": {name: value for name, value in body.items() if name != "kind"}}


def _truth(one: Outcome) -> dict[str, object]:
    scenario = one.scenario
    return {
        "start": _rfc3339(one.begun), "end": _rfc3339(one.ended), "cause": scenario.cause, "entity": scenario.entity,
        "nodes": list(scenario.nodes), "row": scenario.row, "note": scenario.title,
    }  # fmt: skip


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


def main() -> int:
    """Run the laboratory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="one node, the five faults of continuous integration")
    parser.add_argument("--nodes", type=int, help="nodes beside the NAS")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="only scenarios of this row; may be given again")
    parser.add_argument("--record", type=Path, metavar="DIR", help="write journals, events and truth there")
    parser.add_argument("--keep", action="store_true", help="keep the working directory with consoles and logs")
    chosen = parser.parse_args()
    console = Console(width=max(150, Console().width))
    place = Path(tempfile.mkdtemp(prefix="faultline-lab-"))
    try:
        disk = image.build()
        began = time.monotonic()
        with Site(disk, place, chosen.nodes or (1 if chosen.short else 2)) as site:
            console.print(f"{1 + len(site.nodes)} machines are up after {time.monotonic() - began:.0f} s")
            with Faultline(place, site.nodes) as faultline:
                console.print(f"agents report after {time.monotonic() - began:.0f} s")
                laboratory = Laboratory(site, faultline, console)
                wanted = [one for one in scenarios(site) if (one.short or not chosen.short) and (one.row in chosen.only or not chosen.only)]
                outcomes = laboratory.run(wanted)
                if chosen.record:
                    record(chosen.record, site, laboratory, faultline.envelopes())
        console.print(table(outcomes))
        console.print(f"{len(outcomes)} faults in {time.monotonic() - began:.0f} s, {os.cpu_count()} processors, emulated")
        return 1 if any(one.problems() for one in outcomes) else 0
    except LabError as error:
        console.print(f"lab: {error}", markup=False, highlight=False)
        return 1
    finally:
        if chosen.keep:
            console.print(f"kept: {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
