"""Another Debian release in a directory, with its Ceph, and a command run inside it against this checkout.

`python -m tests.ceph.root trixie -- python3 -m pytest -q tests/ceph` runs Ceph's tests against Debian 13's Ceph and Python;
without a command it builds the root and says where it lies. Takes root, debootstrap and unshare; two minutes and 1.5 GB the first time.

Inside, the checkout is `/faultline`, and everything else that a command sees is its own: processes (they end with it), network
(a loopback interface and nothing more), `/tmp`, `/run`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.lab.image import LabError, default_cache

SUITES: Final = ("bookworm", "trixie", "sid")
"""Debian releases whose Ceph was recorded: 16.2, 18.2, and whichever is newest (20.2 in November 2026)."""
PACKAGES: Final = (
    "ceph-mon", "ceph-mgr", "ceph-osd", "ceph-common", "python3-rados",
    # what the harness takes: a loopback interface that is up, cuts, signs of processes
    "iproute2", "nftables", "procps",
    # the agent's libraries, the command line's, and what runs tests
    "python3", "python3-zmq", "python3-msgpack", "python3-systemd", "python3-pyinotify", "python3-pydantic", "python3-structlog",
    "python3-httpx", "python3-rich", "python3-typer", "python3-pytest", "python3-pytest-asyncio", "python3-pytest-timeout",
    "python3-aiosmtpd", "python3-hypothesis",
    # what `python -m bench.run --only ceph` takes beside that
    "python3-psutil", "systemd-journal-remote",
)  # fmt: skip
ASYNCORE: Final = "python3-pyasyncore"
"""What pyinotify imports, where Python has it no more: in every release after Debian 12."""
TOOLS: Final = {"debootstrap": "debootstrap", "unshare": "util-linux"}
"""Programs of this machine that are needed, and the Debian packages that have them."""
INSIDE: Final = "/faultline"
"""Where a command finds the checkout."""
_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_RECIPE: Final = r"""#!/bin/sh
set -eu
export DEBIAN_FRONTEND=noninteractive
mount -t proc proc /proc
# The age of a mirror's index is no concern of tests: sid's expires within ten days.
printf 'APT::Install-Recommends "false";\nAcquire::Check-Valid-Until "false";\n' > /etc/apt/apt.conf.d/faultline
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get update -q
apt-get install -y -q @PACKAGES@
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/*
mkdir -p /faultline
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
"""
_ENTER: Final = r"""set -eu
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
mount --bind "$2" "$1/faultline"
ip link set lo up
root=$1; shift 2
exec chroot "$root" sh -c 'cd /faultline && exec "$@"' sh "$@"
"""


def packages(suite: str) -> tuple[str, ...]:
    """Return the Debian packages that a root of this release has."""
    return PACKAGES if suite == "bookworm" else (*PACKAGES, ASYNCORE)


def missing() -> list[str]:
    """Return what this machine lacks to build or enter a root: Debian packages, root."""
    absent = sorted(package for tool, package in TOOLS.items() if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{_PATH}") is None)
    return absent if os.geteuid() == 0 else [*absent, "root"]


def build(suite: str, cache: Path | None = None) -> Path:
    """Return the directory of a root, built when there is none yet or the recipe changed.

    :raises LabError: without root or the tools, or when a step fails; the text names the log.
    """
    cache = cache or default_cache()
    recipe = hashlib.sha256("\n".join((suite, _RECIPE, *packages(suite))).encode()).hexdigest()[:16]
    root = cache / f"ceph-{suite}-{recipe}"
    if root.exists():
        return root
    if lacking := missing():
        raise LabError(f"a root of Debian's {suite} takes {', '.join(lacking)}")
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f"ceph-{suite}-{recipe}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    log = cache / f"ceph-{suite}-{recipe}.log"
    mirror = [one] if (one := os.environ.get("FAULTLINE_LAB_MIRROR")) else []
    with log.open("wb") as out:
        for command in (
            ["debootstrap", "--variant=minbase", suite, str(partial), *mirror],
            # A mount namespace of its own: whatever is mounted inside is gone when the step ends.
            ["unshare", "--mount", "chroot", str(partial), "sh", "-c", _RECIPE.replace("@PACKAGES@", " ".join(packages(suite)))],
        ):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False, env=_environment())
            if done.returncode:
                raise LabError(f"{command[0]} failed with {done.returncode}; see {log}")
    partial.rename(root)  # last: a root that is there is whole
    return root


def run(suite: str, command: list[str]) -> int:
    """Run a command inside the root, in the checkout; return its exit code. What it leaves running ends with it.

    :raises LabError: see :func:`build`.
    """
    root = build(suite)
    # Whoever ends this process, by whatever signal, ends unshare, and that ends all inside.
    apart = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts"]
    enter = ["sh", "-c", _ENTER, "sh", str(root), str(_CHECKOUT), *command]
    return subprocess.run([*apart, *enter], check=False, env=_environment()).returncode


def _environment() -> dict[str, str]:
    """Return what a command in a root sees of this process's environment: what names how to run tests, and no path of this machine."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("FAULTLINE_") or name in {"CI", "TERM", "PYTEST_ADDOPTS"}}
    return {**kept, "PATH": _PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


def main(arguments: list[str] | None = None) -> int:
    """Build a root, or run a command in it."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceph.root", description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after `--`; its working directory is the checkout")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    try:
        if command:
            return run(options.suite, command)
        sys.stdout.write(f"{build(options.suite)}\n")
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
