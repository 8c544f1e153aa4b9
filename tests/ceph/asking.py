"""One librados call in a process of its own, for :mod:`tests.ceph.refusals`: `python -m tests.ceph.asking CONF NAME CALL OPTIONS`.

Prints `ready` when connected, waits for a line, makes the call; one line of JSON about each phase: how long, and what was raised.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.sources.librados import load


def _command(prefix: str, **arguments: object) -> Callable[[Any], object]:
    return lambda cluster: cluster.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"")


CALLS: Final[Mapping[str, Callable[[Any], object]]] = {
    "health": _command("health", detail="detail"),
    "status": _command("status"),
    "quorum_status": _command("quorum_status"),
    "osd tree": _command("osd tree"),
    "osd dump": _command("osd dump"),
    "df": _command("df", detail="detail"),
    "pg stat": _command("pg stat"),
    "osd perf": _command("osd perf"),
    "osd pool ls": _command("osd pool ls", detail="detail"),
    "mgr_command": lambda cluster: cluster.mgr_command(json.dumps({"prefix": "pg stat", "format": "json"}), b""),
    "mon_command to mon.a": lambda cluster: cluster.mon_command(json.dumps({"prefix": "mon_status", "format": "json"}), b"", target="a"),
    "ping_monitor a": lambda cluster: cluster.ping_monitor("a"),
    "get_fsid": lambda cluster: cluster.get_fsid(),
    "get_cluster_stats": lambda cluster: cluster.get_cluster_stats(),
    "list_pools": lambda cluster: cluster.list_pools(),
    "monitor_log2": lambda cluster: cluster.monitor_log2("info", lambda *_: None, None),
    "shutdown": lambda cluster: cluster.shutdown(),
}
"""Calls that an agent might make, each made while monitors do not answer."""
_OTHERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "set noout": _command("osd set", key="noout"),
    "no such command": _command("no such command"),
    "pool write": lambda cluster: cluster.open_ioctx("rbd").write_full("object", b"text"),
}


def _phase(phase: str, call: Callable[[], object]) -> bool:
    """Do one thing, print what came of it; say whether nothing was raised."""
    begun = time.monotonic()
    told: dict[str, object] = {}
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 # which one is raised is what is measured
        told = {"raised": type(error).__name__, "errno": getattr(error, "errno", None), "words": str(error)}
    else:
        if isinstance(answer, tuple) and answer and isinstance(answer[0], int):
            told = {"code": answer[0], "words": str(answer[2]), "bytes": len(answer[1])}
    sys.stdout.write(json.dumps({"phase": phase, "seconds": round(time.monotonic() - begun, 2), "returned": True, **told}) + "\n")
    sys.stdout.flush()
    return "raised" not in told


def main() -> int:
    """Connect, wait, call."""
    conf, name, calls, options = sys.argv[1:]
    rados = load()
    opened: list[Any] = []
    if not _phase("open", lambda: opened.append(rados.Rados(name=name, conffile=conf, conf=json.loads(options)))):
        return 0
    cluster = opened[0]
    if not _phase("connect", cluster.connect):
        _phase("shutdown", cluster.shutdown)
        return 0
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for call in calls.split(", "):
        _phase(call, functools.partial({**CALLS, **_OTHERS}[call], cluster))
    return 0


if __name__ == "__main__":
    os._exit(main())  # closing the connection may take as long as the call did
