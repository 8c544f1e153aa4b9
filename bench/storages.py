"""What the agent takes on a node with ten storages and forty paths, all well, beside a shell loop that asks multipathd for its maps.

Measured in the laboratory (:mod:`tests.lab.cost`): a real kernel, real multipathd, NFS and iSCSI in emulated machines. An emulated core is
many times as slow as this one; how many times is measured too, at what an agent at rest does and at starting programs, and shares are
given as they would be here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.figures import Figure, shown
from bench.running import BenchError, NotHereError
from tests.lab import cost, image
from tests.lab.image import LabError

GROUP: Final = "storages"
HEADING: Final = (
    f"Agent on a node with {cost.STORAGES} storages and {cost.PATHS} paths, all well (emulated machines; shares as of this host's cores)"
)


def measure(place: Path, seconds: float) -> list[Figure]:
    """Return what the agent and the loop take over ``seconds`` each.

    :raises NotHereError: where no machines can be emulated.
    """
    if lacking := image.missing():
        raise NotHereError(f"it emulates machines, and that takes {', '.join(lacking)} (`make lab` installs it)")
    place.mkdir(parents=True)
    try:
        found = cost.measure(place, seconds)
    except LabError as error:
        raise BenchError(str(error)) from error
    emulated = f"{shown(found.agent)} % of an emulated one and {shown(found.children)} % for what it starts, over {seconds:.0f} s"
    factors = f"that is {found.slowness:.1f} times as slow as this host's, {found.starting:.0f} times at starting"
    return [
        Figure(GROUP, "agent, CPU", found.about, "% of a core", cost.CPU, "at most", f"{emulated}; {factors}"),
        Figure(
            GROUP, "agent, resident", found.memory, "MB", cost.MEMORY, "at most", f"without the mapped journal; {found.threads} threads"
        ),
        Figure(GROUP, f"`{cost.LOOP}` each 5 s", found.about_loop, "% of a core", note="shell loop, without multipathd's own share"),
        Figure(GROUP, "agent ÷ loop", found.about / found.about_loop, note="the agent asks multipathd, sysfs, servers, portals and mounts"),
    ]
