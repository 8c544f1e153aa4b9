"""A cut between one node and some TCP ports, by nftables: packets vanish both ways, as they do in a broken switch.

All nodes of a test share one loopback interface, and librados binds to no address. What tells a node's packets from another's is the
group of the process or thread that opened the socket.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from agent.sources.librados import CephError
from tests.ceph.layout import NODES


def no_cuts() -> str:
    """Return why no cut can be made here; an empty text when it can."""
    if shutil.which("nft") is None:
        return "no nft here: apt-get install nftables"
    tried = subprocess.run(["nft", "list", "tables"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"nft: {tried.stderr.decode(errors='replace').strip()}: needs root (or CAP_NET_ADMIN)"


@contextmanager
def on_node(node: str) -> Iterator[None]:
    """Let sockets that this thread opens meanwhile, and threads that it starts, be a node's. Needs root.

    A process is the node's altogether when it is started with ``group=NODES[node]``.
    """
    libc = ctypes.CDLL(None, use_errno=True)  # the group for file access, which a thread has for itself; Python has no name for it
    before = libc.setfsgid(NODES[node])
    try:
        yield
    finally:
        libc.setfsgid(before)


class Cut:
    """At most one cut, in a table of its own that nothing else uses."""

    def __init__(self) -> None:
        self._table = f"faultline_ceph_{os.getpid()}"
        self._made = False

    def make(self, node: str, ports: Iterable[int]) -> None:
        """Drop what goes from a node's sockets to the ports, and what comes back.

        :raises CephError: nftables refuses.
        """
        self.mend()
        if reason := no_cuts():
            raise CephError(reason)
        group = NODES[node]
        numbers = ", ".join(map(str, ports))
        # An answer's packet carries no group of the one who asked: the connection is marked instead.
        marking = f"type filter hook output priority -150\nmeta skgid {group} tcp dport {{ {numbers} }} ct mark set {group}\n"
        dropping = f"type filter hook output priority 0\nct mark {group} drop\n"
        self._nft(f"table inet {self._table} {{\nchain marking {{\n{marking}}}\nchain dropping {{\n{dropping}}}\n}}\n")
        self._made = True

    def mend(self) -> None:
        """Remove the cut, if there is one."""
        if self._made:
            self._nft(f"delete table inet {self._table}")
            self._made = False

    def _nft(self, rules: str) -> None:
        done = subprocess.run(["nft", "-f", "-"], input=rules.encode(), capture_output=True, check=False)
        if done.returncode:
            raise CephError(f"nft: {done.stderr.decode(errors='replace').strip()}")
