"""Shows one trial: the faults, what was told, and on demand all that arrived.

python -m bench.localize.one CLUSTER.TRIAL [--condition clean] [-v]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from bench.localize.conditions import BY_NAME
from bench.localize.told import from_reports, mark
from bench.localize.trials import draw
from controller.core.correlate import Heard
from events.base import State
from tests.sim.generate import generate
from tests.sim.stage import START
from tests.sim.trial import Engine, Ground, Trial


def main() -> int:
    """Play the trial and print it; return 0, or 1 when there is no such trial."""
    parser = argparse.ArgumentParser(prog="bench.localize.one", description="Shows one trial of bench.localize.")
    parser.add_argument("seed", metavar="CLUSTER.TRIAL")
    parser.add_argument("--condition", choices=list(BY_NAME), default="clean")
    parser.add_argument("--verbs", nargs="+", default=[], metavar="VERB", help="as the bench was given")
    parser.add_argument("--nodes", nargs=2, type=int, default=[3, 64], metavar=("LEAST", "MOST"))
    parser.add_argument("-v", "--verbose", action="store_true", help="all bad events, and all events once well again")
    chosen = parser.parse_args()
    condition = replace(BY_NAME[chosen.condition], verbs=tuple(chosen.verbs), sizes=tuple(chosen.nodes))
    ground = Ground(generate(int(chosen.seed.partition(".")[0]), condition.sizes))
    trial = draw(ground, condition, chosen.seed)
    if trial is None:
        print("no such trial: this cluster has nothing that can break so", file=sys.stderr)
        return 1
    _describe(trial)
    engine = Engine(ground.fresh())
    for arrival in trial.arrivals:
        engine.take(arrival)
        if chosen.verbose and not isinstance(arrival.what, Heard) and arrival.what.event.state is not State.INFO:
            event = arrival.what.event
            if event.state is State.BAD or arrival.at >= trial.strikes[0].end:
                print(f"{_at(arrival.at)}    {arrival.what.node} {event.kind} {getattr(event, 'subject', '')} {_source(event)}")
        _print(engine)
    engine.until(trial.until)
    _print(engine)
    marks = mark(trial, from_reports(engine.history))
    print(f"top-1 {marks.top1}, with cause {marks.cause}, top-3 {marks.top3} of {marks.faults}; {marks.problem or 'all right'}")
    return 0


def _source(event: object) -> str:
    seen = getattr(event, "seen", None)
    return "" if seen is None else str(seen.source)


def _describe(trial: Trial) -> None:
    plan = trial.plan
    print(f"{len(plan.nodes)} nodes, networks {', '.join(plan.subnets)}")
    for one in plan.storages:
        where = one.server.name if one.server else " ".join(portal.key for portal in one.target.portals) if one.target else one.pool
        print(f"  {one.type} {one.id} {where} {one.path or one.vg} {'' if one.nodes is None else ','.join(one.nodes)}")
    for strike in trial.strikes:
        print(f"{_at(strike.begin)} to {_at(strike.end)} {strike.fault.verb}: {strike.fault.marks[:6]}")
        for truth in strike.fault.truths:
            print(f"    truth: {' = '.join('/'.join(name) for name in truth.names)}")


def _print(engine: Engine) -> None:
    for one in engine.new():
        text = one.timeline[-1].text[:90]
        what = f"{one.id} {one.change.value} {one.cause} {one.entity} {one.confidence:.2f} {','.join(one.nodes[:8])}"
        print(f"{_at(_micros(one.at))}  {what} ({text})")


def _micros(text: str) -> int:
    from bench.localize.told import micros

    return micros(text)


def _at(at: int) -> str:
    return f"{(at - START) / 1e6:8.2f}"


if __name__ == "__main__":
    sys.exit(main())
