from __future__ import annotations

import asyncio
import time

from agent.pulse import Pulse


async def test_what_blocks_the_loop_shows() -> None:
    """A loop that stands still for a moment is late by that moment, and one that turns is not."""
    pulse = Pulse(interval=0.01)
    assert pulse.p99 == 0.0
    beating = asyncio.create_task(pulse.run())
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # noqa: ASYNC251 - this is what it is to find
    await asyncio.sleep(0.02)
    beating.cancel()

    assert 0.25 < pulse.p99 < 5
