"""Names that resolve, fail and hang, and what they cost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from agent.sources.names import Names


def test_names_are_remembered_while_they_fail() -> None:
    """An address needs no look-up; localhost resolves; who asks is never kept waiting."""
    names = Names()
    end = time.monotonic() + 30
    while not names.ask("localhost").addresses and time.monotonic() < end:
        time.sleep(0.01)

    assert {"127.0.0.1", "::1"} & set(names.ask("localhost").addresses)
    assert names.ask("[fd00::1]").addresses == ("fd00::1",)
    assert names.ask("x" * 300).addresses == ()


def test_a_name_that_resolves_no_more_keeps_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of a name that stops resolving are remembered: its server may be well."""
    names = Names(every=0.0, soon=0.0)
    end = time.monotonic() + 30
    while not names.ask("localhost").addresses and time.monotonic() < end:
        time.sleep(0.01)
    monkeypatch.setattr(socket, "getaddrinfo", _fails)
    while not names.ask("localhost").trouble and time.monotonic() < end:
        time.sleep(0.01)

    assert names.ask("localhost").addresses
    assert names.ask("localhost").trouble == "Temporary failure in name resolution"


SILENT_RESOLVER = """
import socket, sys, threading, time
sys.path[:0] = sys.argv[1].split(":")
from agent.sources.names import Names
heard = socket.socket(type=socket.SOCK_DGRAM)
heard.bind(("127.0.0.1", 53))
names, longest, end = Names(deadline=0.5), 0.0, time.monotonic() + 20
while not (known := names.ask("nas.lan")).trouble and time.monotonic() < end:
    names.keep({"nas.lan"})
    time.sleep(0.01)
print(bool(heard.recv(512)), threading.active_count(), known.addresses, known.trouble)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of its own take root")
def test_a_silent_name_server_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A resolver that waits for a name server which never answers is told after the deadline, and costs one thread."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    script = (
        f"set -e\nip link set lo up\nmount --bind {tmp_path}/resolv.conf /etc/resolv.conf\n"
        f"mount --bind {tmp_path}/nsswitch.conf /etc/nsswitch.conf\n"
        f"exec {sys.executable} -c '{SILENT_RESOLVER}' {':'.join(path for path in sys.path if path) + ':' + str(Path.cwd())}"
    )
    done = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)

    assert done.stdout.strip() == "True 2 () no answer from the resolver within 0.5 s", done.stderr


def test_names_that_nobody_needs_any_more_cost_nothing() -> None:
    """However many servers come and go in storage.cfg, no thread is left of those that went."""
    before, names = threading.active_count(), Names()
    end = time.monotonic() + 30
    for number in range(5):
        host = f"localhost{'.' * (number % 2)}" if number < 2 else f"no-such-host-{number}.invalid"
        while not ((known := names.ask(host)).addresses or known.trouble) and time.monotonic() < end:
            time.sleep(0.01)
    names.keep(set())
    while threading.active_count() > before and time.monotonic() < end:
        names.keep(set())
        time.sleep(0.01)

    assert threading.active_count() <= before


def _fails(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
