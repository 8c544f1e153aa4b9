"""Measure what librados says, and after how long, when a cluster does not answer or refuses.

`python -m tests.ceph.refusals --into DIRECTORY` writes `refusals.json`. Each call is made in a process of its own
(:mod:`tests.ceph.asking`), since some never return.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.ceph.asking import CALLS
from tests.ceph.cluster import CephCluster, missing, new_key
from tests.ceph.layout import CLIENT, CLIENT_CAPS, CUT_NODE, NODES, keyring

LIMIT: Final = 40
"""Seconds after which a call that has not returned is said not to return."""
SETTLED: Final = 20
"""Seconds between the beginning of a state and the calls: a monitor that has lost its quorum goes on answering for about ten."""
TIMED: Final = {"client_mount_timeout": "5", "rados_mon_op_timeout": "3", "rados_osd_op_timeout": "3"}
"""What the agent sets."""
READY: Final = "ready"


class Asking:
    """A process that connects, waits until it is told to go on, makes one call and says what came of it."""

    def __init__(self, conf: Path, name: str, call: str, options: Mapping[str, str]) -> None:
        self.call = call
        self.options = options
        command = [sys.executable, "-m", "tests.ceph.asking", str(conf), name, call, json.dumps(options)]
        self.lines: list[str] = []
        self.connected = False
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, group=NODES[CUT_NODE])

    def ready(self) -> bool:
        """Wait until it is connected, or has ended because it cannot be."""
        assert self.process.stdout is not None
        for line in iter(self.process.stdout.readline, ""):
            if line.strip() == READY:
                self.connected = True
                break
            self.lines.append(line)
        return self.connected

    def go(self) -> None:
        """Let it make its call."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def said(self) -> dict[str, Any]:
        """Return what came of the call; what has not returned within :data:`LIMIT` is ended."""
        try:
            words, errors = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            words, errors = self.process.communicate()
        lines = [*self.lines, *words.splitlines()]
        phases = [json.loads(line) for line in lines if line.startswith("{")]
        done = {phase["phase"] for phase in phases}
        if self.connected:
            phases += [{"phase": call, "returned": False} for call in self.call.split(", ") if call not in done]
        printed = "\n".join([*(line.strip() for line in lines if not line.startswith("{")), errors[-400:].strip()]).strip()
        return {"call": self.call, "options": dict(self.options), "phases": phases, **({"printed": printed} if printed else {})}


def connecting(cluster: CephCluster) -> Iterator[dict[str, Any]]:
    """Yield what connecting gives with wrong settings, from a cluster that is well."""
    place = cluster.layout.directory
    conf = cluster.layout.conf.read_text()
    wrong = keyring(CLIENT, new_key(), CLIENT_CAPS)
    files = {
        "wrong key": wrong,
        "keyring is empty": "",
        "keyring is no keyring": "key?\n",
        "keyring has another name": wrong.replace("faultline", "else"),
    }
    cases = {
        "nothing is wrong": conf,
        "keyring is not there": conf.replace("ceph.$name.keyring", "nowhere.keyring"),
        **{name: conf.replace("ceph.$name.keyring", f"{name}.keyring") for name in files},
        "wrong fsid": conf.replace(cluster.layout.fsid, "00000000-1111-2222-3333-444444444444"),
        "no mon_host": "".join(line for line in conf.splitlines(keepends=True) if not line.startswith(("mon_host", "mon_initial"))),
        "a monitor's name that does not resolve": _mon_host(conf, "nowhere.invalid"),
        "nobody listens": _mon_host(conf, "[v2:127.0.0.1:9/0,v1:127.0.0.1:10/0]"),
        "ceph.conf is empty": "",
        "ceph.conf is no ceph.conf": "\x00[global\nfsid",
    }
    for name, content in files.items():
        (place / f"{name}.keyring").write_text(content)
    for name, content in cases.items():
        path = place / f"{name}.conf"
        path.write_text(content)
        yield {"state": name, **_alone(path, "health")}
    yield {"state": "ceph.conf is not there", **_alone(place / "nowhere.conf", "health")}
    yield {"state": "the name has no key in the cluster", **_alone(cluster.layout.conf, "health", "client.nobody")}
    for call in ("set noout", "no such command", "pool write"):
        yield {"state": "the key may not", **_alone(cluster.layout.conf, call)}


def silent(cluster: CephCluster) -> Iterator[dict[str, Any]]:
    """Yield what connecting and each call give while monitors do not answer."""
    monitors = [name for name in cluster.daemons if name.startswith("mon.")]
    managers = [name for name in cluster.daemons if name.startswith("mgr.")]
    conf = cluster.layout.conf
    states: tuple[tuple[str, Callable[[], None], Callable[[], None]], ...] = (
        ("all monitors frozen", lambda: cluster.freeze(*monitors), lambda: cluster.thaw(*monitors)),
        ("all monitors ended", lambda: cluster.kill(*monitors), lambda: cluster.start(*monitors)),
        ("two of three monitors ended", lambda: cluster.kill(*monitors[1:]), lambda: cluster.start(*monitors[1:])),
        ("both managers ended", lambda: cluster.kill(*managers), lambda: cluster.start(*managers)),
    )
    for state, begin, end in states:
        asking = [Asking(conf, CLIENT, call, TIMED) for call in CALLS]
        asking += [Asking(conf, CLIENT, "health", {}), Asking(conf, CLIENT, "health, shutdown", TIMED)]
        yield from _during(asking, begin, state)
        yield {"state": f"{state}, connecting", **_alone(conf, "health")}
        end()
        cluster.wait_healthy(120)
    asking = [Asking(conf, CLIENT, call, TIMED) for call in CALLS]
    yield from _during(asking, cluster.cut, "packets to the monitors dropped")
    yield {"state": "packets to the monitors dropped, connecting", **_alone(conf, "health")}
    cluster.mend()
    cluster.wait_healthy(120)


def revoked(cluster: CephCluster) -> Iterator[dict[str, Any]]:
    """Yield what a connection gives after its key was taken away. Last: the key does not come back."""
    asking = [Asking(cluster.layout.conf, CLIENT, call, TIMED) for call in ("health", "osd tree")]
    yield from _during(asking, lambda: cluster.ask("auth rm", entity=CLIENT), "the key was removed from the cluster")
    yield {"state": "the key was removed from the cluster, connecting", **_alone(cluster.layout.conf, "health")}


def _mon_host(conf: str, hosts: str) -> str:
    return "".join(f"mon_host = {hosts}\n" if line.startswith("mon_host") else f"{line}\n" for line in conf.splitlines())


def _alone(conf: Path, call: str, name: str = CLIENT) -> dict[str, Any]:
    asking = Asking(conf, name, call, TIMED)
    if asking.ready():
        asking.go()
    return asking.said()


def _during(asking: Iterable[Asking], begin: Callable[[], object], state: str) -> Iterator[dict[str, Any]]:
    ready = [each for each in asking if each.ready()]
    begin()
    time.sleep(SETTLED)
    for each in ready:
        each.go()
    for each in ready:
        yield {"state": state, **each.said()}


def main(arguments: list[str] | None = None) -> int:
    """Measure everything."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.refusals", description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    into: Path = parser.parse_args(arguments).into
    if reason := missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="flc") as directory, CephCluster(Path(directory)) as cluster:
        found = []
        for part in (connecting, silent, revoked):
            for each in part(cluster):
                each["options"] = "none" if not each["options"] else "timed"
                found.append(each)
                sys.stdout.write(f"{json.dumps(each)}\n")
                sys.stdout.flush()
    lines = ",\n ".join(json.dumps(each) for each in found)
    (into / "refusals.json").write_text(f'{{"options": {json.dumps(TIMED)}, "limit": {LIMIT}, "said": [\n {lines}\n]}}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
