"""A real Ceph cluster on 127.0.0.1, below one directory, from Debian's packages; as child processes that die with this one.

`python -m tests.ceph.cluster up --dir DIRECTORY` gives one to a person. Needs ceph-mon, ceph-mgr, ceph-osd, ceph-common and python3-rados.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

from agent.sources.librados import CephError, load
from tests.ceph.administration import Administration
from tests.ceph.cut import Cut
from tests.ceph.daemon import Daemon
from tests.ceph.layout import CLIENT, CUT_NODE, Layout, caps_of, ceph_conf, keyring, plan
from tests.ceph.librados import Connection
from tests.ceph.load import Load

PROGRAMS: Final = ("ceph-mon", "ceph-mgr", "ceph-osd", "ceph", "ceph-authtool", "rados", "monmaptool", "setpriv", "prlimit")
MODULES: Final = Path("/usr/share/ceph/mgr")
"""Where Debian keeps the manager's Python modules."""
BCRYPT: Final = (
    '"""Stands in for bcrypt, which hashes passwords of the dashboard and nothing else, and which Debian 13\'s manager cannot load."""\n'
)
PACKAGES: Final = "ceph-mon ceph-mgr ceph-osd ceph-common python3-rados"


def missing() -> str:
    """Return why no cluster can run here, in words for a person; an empty text when one can."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install --no-install-recommends {PACKAGES}"
    try:
        load()
    except CephError as error:
        return str(error)
    return ""


class CephCluster(Administration):
    """A cluster in ``directory``, which is made; whatever stands there of an earlier one is used no more.

    :param changes: fields of :class:`tests.ceph.layout.Layout`.
    """

    def __init__(self, directory: Path, **changes: object) -> None:
        self.layout: Layout = plan(directory, **changes)
        self.daemons = {
            name: Daemon(name, self.layout.conf, directory / "log" / f"{name}.out", {"PYTHONPATH": str(directory / "python")})
            for name in self.layout.daemons()
        }
        self._uuids = {number: str(uuid.uuid4()) for number in self.layout.osds}
        self._connection: Connection | None = None
        self._loads: list[Load] = []
        self._cut = Cut()

    # -- up and down

    def up(self, seconds: float = 180.0) -> Self:
        """Make and start everything; return when Ceph says HEALTH_OK: after 20 s on a machine with nothing else to do.

        :raises CephError: it did not within ``seconds``; says what Ceph's state is.
        """
        deadline = time.monotonic() + seconds
        self._make()
        self.start(*(name for name in self.daemons if name.startswith("mon.")))
        self._connection = Connection(self.layout.conf, "client.admin", connect=int(seconds) // 2)
        for number, identity in self._uuids.items():
            self.ask("osd new", uuid=identity, id=number)
        self.start(*(name for name in self.daemons if not name.startswith("mon.")))
        self.wait(lambda: self.osds("up") == set(self.layout.osds), "all OSDs up", deadline - time.monotonic())
        self.create_pool("rbd", size=3)
        self.wait(lambda: len(self.ask("osd pool ls")) == 2, "the manager's own pool", deadline - time.monotonic())
        self.wait_healthy(deadline - time.monotonic())
        return self

    def _make(self) -> None:
        """Write configuration and keys; format monitors and OSDs, all at once: they use different files."""
        layout = self.layout
        places = ("log", "run", "crash/posted")
        for place in (layout.directory, *(layout.directory / each for each in places), *map(layout.data, self.daemons)):
            place.mkdir(parents=True, exist_ok=True)
        layout.conf.write_text(ceph_conf(layout, (place.name for place in MODULES.glob("[a-z]*/"))))
        (layout.directory / "python").mkdir(exist_ok=True)
        (layout.directory / "python" / "bcrypt.py").write_text(BCRYPT)
        self._write_keys()
        monmap = str(layout.directory / "monmap")
        addresses = [word for name in layout.monitors for word in ("--addv", name, layout.address(name).replace("/0", ""))]
        _run(["monmaptool", "--create", "--clobber", "--fsid", layout.fsid, *addresses, monmap])
        seed = str(layout.directory / "seed.keyring")
        monitors = [
            ["ceph-mon", "--mkfs", "-i", name, "-c", str(layout.conf), "--monmap", monmap, "--keyring", seed] for name in layout.monitors
        ]
        _run(*monitors, *map(self._format, layout.osds))

    def _write_keys(self) -> None:
        layout, seed = self.layout, []
        for name in ("mon.", "client.admin", CLIENT, *(name for name in self.daemons if not name.startswith("mon."))):
            section = keyring(name, new_key(), caps_of(name))
            seed.append(section)
            path = layout.directory / f"ceph.{name}.keyring" if name.startswith("client.") else layout.data(name) / "keyring"
            if name != "mon.":
                path.write_text(section)
                path.chmod(0o600)
        (layout.directory / "seed.keyring").write_text("".join(seed))

    def _format(self, osd: int) -> list[str]:
        """Return the command that makes an OSD's store. It asks no monitor (`--no-mon-config`): at first there is none."""
        identity = ["--osd-uuid", self._uuids[osd], "--fsid", self.layout.fsid]
        return ["ceph-osd", "--mkfs", "-i", str(osd), "-c", str(self.layout.conf), "--no-mon-config", *identity]

    def down(self) -> None:
        """End everything, at once. The directory stays, for whoever wants to read the logs."""
        self._cut.mend()
        for load_ in self._loads:
            load_.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for daemon in self.daemons.values():
            daemon.kill()

    def __enter__(self) -> Self:
        """Start it."""
        try:
            return self.up()
        except BaseException:
            self.down()
            raise

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.down()

    # -- asking

    @property
    def admin(self) -> Connection:
        """The administrator's connection, made at its first use."""
        if self._connection is None:
            self._connection = Connection(self.layout.conf, "client.admin")
        return self._connection

    def ask(self, prefix: str, **arguments: object) -> Any:
        """Run a command as the administrator; return its JSON.

        :raises CephError: see :meth:`tests.ceph.librados.Connection.ask`.
        """
        return self.admin.ask(prefix, **arguments)

    # -- daemons

    def kill(self, *names: str) -> None:
        """End daemons as a crash does."""
        for name in names:
            self.daemons[name].kill()

    def kill_manager(self) -> None:
        """End the active manager as a crash does, and wait until another has taken over.

        :raises CephError: none does.
        """
        name = self.ask("mgr stat")["active_name"]
        self.kill(f"mgr.{name}")
        self.wait(lambda: (now := self.ask("mgr stat"))["available"] and now["active_name"] != name, f"another manager than {name}")

    def crash(self, *names: str) -> None:
        """End daemons as a failed assertion does, and hand their reports to the cluster, as Debian's `ceph-crash.service` does."""
        for name in names:
            self.daemons[name].abort()
        for report in (self.layout.directory / "crash").glob("*/meta"):
            if (report.parent / "done").exists():
                self.admin.give("crash post", report.read_bytes())
                report.parent.rename(self.layout.directory / "crash" / "posted" / report.parent.name)

    def stop(self, *names: str) -> None:
        """End daemons as systemd does at a planned stop: an OSD says goodbye to its monitor."""
        for name in names:
            self.daemons[name].terminate()

    def start(self, *names: str) -> None:
        """Start daemons. An OSD's store was memory and died with it: it is formatted again, and its peers fill it."""
        again = [int(name.partition(".")[2]) for name in names if name.startswith("osd.") and self.daemons[name].process is not None]
        for osd in again:
            shutil.rmtree(self.layout.data(f"osd.{osd}") / "current", ignore_errors=True)
            self._reformat(osd)
        for name in names:
            self.daemons[name].start()

    def start_ended(self) -> None:
        """Start all daemons that do not run."""
        self.start(*(name for name, daemon in self.daemons.items() if not daemon.running))

    def _reformat(self, osd: int) -> None:
        place = self.layout.data(f"osd.{osd}")
        key = (place / "keyring").read_bytes()
        shutil.rmtree(place)
        place.mkdir()
        (place / "keyring").write_bytes(key)
        _run(self._format(osd))

    def freeze(self, *names: str) -> None:
        """Freeze daemons (SIGSTOP)."""
        for name in names:
            self.daemons[name].freeze()

    def thaw(self, *names: str) -> None:
        """Let frozen daemons go on (SIGCONT)."""
        for name in names:
            self.daemons[name].thaw()

    def write(self, pool: str = "rbd", *, objects: int, object_bytes: int = 1 << 16, seconds: int = 30) -> Load:
        """Begin to write objects, until all are written or time is over; they stay."""
        self._loads.append(Load(self.layout, pool, objects, object_bytes, seconds))
        return self._loads[-1]

    def write_all(self, pool: str = "rbd", *, objects: int, object_bytes: int = 1 << 16, seconds: int = 30) -> None:
        """Write objects and wait until they are.

        :raises CephError: they were not in time.
        """
        if not self.write(pool, objects=objects, object_bytes=object_bytes, seconds=seconds).finished():
            raise CephError(f"{objects} objects of {object_bytes} bytes were not written to {pool} within {seconds} s")

    def stop_writing(self) -> None:
        """End all writing that goes on."""
        for load_ in self._loads:
            load_.stop()
        self._loads.clear()

    def purge(self, pool: str = "rbd") -> None:
        """Remove all objects of a pool, so that what one scenario wrote does not fill another's OSDs."""
        self.stop_writing()
        _run(["rados", "-c", str(self.layout.conf), "purge", pool, "--yes-i-really-really-mean-it"])

    def shorten(self, osd: int, pool: str = "rbd") -> None:
        """Shorten one OSD's copy of an object behind Ceph's back: what a scrub finds when a disk returns something else than was written.

        :raises CephError: the OSD is the primary of no object there is.
        """
        for name in self.admin.objects(pool):
            if (acting := self.ask("osd map", pool=pool, object=name)["acting"])[0] != osd and osd in acting:
                self.admin.ask_osd(osd, "truncobj", pool=pool, objname=name, len=1)
                return
        raise CephError(f"osd.{osd} holds no object of {pool} as a replica")

    def recover(self) -> None:
        """Undo what scenarios do, after one that failed half-way; return when the cluster is healthy.

        :raises CephError: it does not become so.
        """
        self.mend()
        for load_ in self._loads:
            load_.stop()
        self.thaw(*self.daemons)
        self.start_ended()
        self.reset(self.layout.osds, tuple(self.layout.hosts))
        self.wait_healthy(120)
        self.purge()

    # -- one node's way

    def cut(self, node: str = CUT_NODE) -> None:
        """Drop all packets between a node and the monitors.

        :raises CephError: nftables refuses: no root, no `nft`.
        """
        self._cut.make(node, [port for pair in self.layout.ports.values() for port in pair])

    def mend(self) -> None:
        """Let all packets pass again."""
        self._cut.mend()


def new_key() -> str:
    """Return a new cephx key of the type that this Ceph wants: 20.2 refuses those that earlier releases make."""
    return subprocess.run(["ceph-authtool", "--gen-print-key"], capture_output=True, check=True, text=True).stdout.strip()


def _run(*commands: Iterable[str]) -> None:
    """Run commands side by side.

    :raises CephError: one failed; gives its words.
    """
    running = [subprocess.Popen([*command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for command in commands]
    for process in running:
        words, _ = process.communicate(timeout=60)
        if process.returncode:
            raise CephError(f"{process.args!r} ended with {process.returncode}: {words[-500:].decode(errors='replace')}")


def main(arguments: list[str] | None = None) -> int:
    """Give a cluster to a person, until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.cluster", description=__doc__)
    parser.add_argument("verb", choices=["up"])
    parser.add_argument("--dir", type=Path, required=True, help="a directory with a short path; is made")
    directory: Path = parser.parse_args(arguments).dir.absolute()
    if reason := missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    with CephCluster(directory) as cluster:
        conf = cluster.layout.conf
        sys.stdout.write(
            f"HEALTH_OK after {time.monotonic() - begun:.0f} s. In another shell:\n"
            f"  export CEPH_CONF={conf}\n  ceph -s; ceph osd tree; ceph -W cluster\n"
            f"  ceph -n {CLIENT} health detail   # with the agent's key\n"
            f"  kill -9 PID, kill -STOP PID      # {' '.join(f'{name}={_pid(cluster, name)}' for name in cluster.daemons)}\n"
            "Ctrl-C here ends all of it.\n"
        )
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return 0


def _pid(cluster: CephCluster, name: str) -> int:
    process = cluster.daemons[name].process
    return process.pid if process is not None else os.getpid()


if __name__ == "__main__":
    sys.exit(main())
