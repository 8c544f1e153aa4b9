"""The kernel's statistics of NFS mounts (/proc/self/mountstats), summed up. Pure: who reads the file hands its text over.

Form: Linux ``net/sunrpc/stats.c`` (rpc_clnt_show_stats) and ``fs/nfs/super.c`` (nfs_show_stats), statvers 1.0 and 1.1; a line per
operation has name, requests, transmissions, major timeouts, bytes sent and received, and milliseconds of queueing, of the round trip,
and in all; since 5.3 also errors. A line per connection (``net/sunrpc/xprtsock.c``, xs_tcp_print_stats; ``xprtrdma/transport.c``) has port,
binds, connects, their time, idle time, sends, receives, strange answers, and two sums of a queue's length at each send: of requests in
all, and of those that waited for a free slot (the backlog). Fields that later kernels add are ignored. A source is escaped as in the table
of mounts (``fs/nfs/super.c``, nfs_show_devname).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from agent.mountinfo import plain

_WAITING: Final = frozenset({"NULL", "LOCK", "LOCKT", "LOCKU", "NLM_LOCK", "GETLK", "SETLK"})
"""Operations that may take long by their nature (somebody else holds the lock) or that no file waits for."""


_CONNECTION: Final = re.compile(r"^\txprt:(.*)$", re.MULTILINE)
_OPERATION: Final = re.compile(r"^[ \t]*([^\s:]+):[ \t]+([1-9][0-9]*(?: [0-9]+){7})(?= |$)", re.MULTILINE)
"""An operation that was asked for at least once, as most never were."""
_CONNECTIONS: Final = frozenset({"tcp", "rdma"})
_SENDS, _BACKLOG = 6, 10
"""Places in a connection's line, behind its kind."""


class Totals(NamedTuple):
    """What one mount did since it was mounted: counts, and milliseconds summed over all requests.

    ``backlog`` is the sum over all ``sends`` of how many requests waited for a slot. Mounts that share a connection share both.
    """

    requests: int = 0
    transmissions: int = 0
    timeouts: int = 0
    queue: int = 0
    round_trip: int = 0
    execute: int = 0
    sends: int = 0
    backlog: int = 0

    def __sub__(self, before: Totals) -> Totals:
        """Return what was done since ``before``."""
        return Totals(*(now - then for now, then in zip(self, before, strict=True)))


def totals(text: str) -> dict[str, Totals]:
    """Return the totals of each NFS mount by its source, ``server:/export``.

    Several mounts of one source may share their counters or have some of their own: the busiest stands for all.
    """
    found: dict[str, Totals] = {}
    for source, sums in _devices(text):
        if sums.requests >= found.get(source, Totals()).requests:
            found[source] = sums
    return found


def _devices(text: str) -> Iterator[tuple[str, Totals]]:
    for block in ("\n" + text).split("\ndevice ")[1:]:
        first, _, rest = block.partition("\n")
        head, _, kind = first.rpartition(" with fstype ")
        if kind.startswith("nfs") and not kind.startswith("nfsd"):
            yield plain(head.partition(" mounted on ")[0]), _sums(rest)


def _sums(text: str) -> Totals:
    connections, _, operations = text.partition("per-op statistics\n")
    rows = [_connection(match[1]) for match in _CONNECTION.finditer(connections)]
    rows += [_operation(match[2]) for match in _OPERATION.finditer(operations) if match[1] not in _WAITING]
    return Totals(*map(sum, zip(Totals(), *rows, strict=True)))


def _connection(line: str) -> Totals:
    kind, *fields = line.split() or [""]
    if kind not in _CONNECTIONS or len(fields) < _BACKLOG or not all(fields[place - 1].isdecimal() for place in (_SENDS, _BACKLOG)):
        return Totals()
    return Totals(sends=int(fields[_SENDS - 1]), backlog=int(fields[_BACKLOG - 1]))


def _operation(numbers: str) -> Totals:
    requests, transmissions, timeouts, _, _, queue, round_trip, execute = map(int, numbers.split()[:8])
    return Totals(requests, transmissions, timeouts, queue, round_trip, execute)
