"""The agent's side of the flow, from the first append to the last acknowledgement, with its own spool and uplink.

As the pipeline does, it appends a batch with its cursor and memory, and the next when that is durable. Started by
:mod:`bench.flow`:

    python -m bench.flow_agent PLACE ENDPOINT N

Prints the number of events of a round, at least N. For each line that it reads it sends them, appended as in a storm ("full") or
at the recordings' density ("recorded"), and prints the seconds until all were acknowledged and the CPU seconds of this process.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path

import zmq.auth

from agent.logs import configure
from agent.spool import Limits, Spool
from agent.uplink import Identity, Peer, Uplink
from bench.recorded_events import CLUSTER, NODE, Append, filled, later, repeated

_LOOK = 0.005
"""Seconds between two looks at what is acknowledged."""


async def main(place: Path, endpoint: str, events: int) -> None:
    """Serve rounds until standard input ends."""
    appends = repeated(events)
    keys = place / "keys"
    mine = zmq.auth.load_certificate(keys / f"{NODE}.key_secret")
    spool = await Spool.open(place / "spool.db", (CLUSTER, NODE), Limits(1 << 30, 10**12), _utc, ["bench"])
    assert mine[1] is not None
    peer = Peer("bench", endpoint, zmq.auth.load_certificate(keys / "controller.key")[0])
    uplink = Uplink(spool, peer, Identity(NODE, "bench", "bench", mine[0], mine[1]), 5.0, _utc, dict)
    running = asyncio.create_task(uplink.run())
    while not uplink.connected:  # noqa: ASYNC110 - seen from outside, as a measurement should
        await asyncio.sleep(_LOOK)
    print(sum(len(one.events) for one in appends), flush=True)
    while kind := (await asyncio.to_thread(sys.stdin.readline)).strip():
        now = list(filled(appends)) if kind == "full" else appends
        began, used = time.monotonic(), time.process_time()
        await _round(spool, uplink, now)
        print(time.monotonic() - began, time.process_time() - used, flush=True)
        appends = later(appends)
    running.cancel()
    await asyncio.wait((running,))
    await spool.close()


async def _round(spool: Spool, uplink: Uplink, appends: list[Append]) -> None:
    last = 0
    for one in appends:
        last = await spool.append("journald", one.events, one.cursor, one.memory)
    while uplink.acked < last:  # noqa: ASYNC110 - same
        await asyncio.sleep(_LOOK)


def _utc() -> int:
    return time.time_ns() // 1000


if __name__ == "__main__":
    gc.set_threshold(50_000, 20, 50)  # as the agent does
    configure()  # the log to standard error: standard output is ours
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
