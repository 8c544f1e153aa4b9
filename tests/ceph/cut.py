"""A cut between one node's address and some TCP ports, by nftables: packets vanish, as they do in a broken switch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable

from tests.ceph.librados import CephError


def no_cuts() -> str:
    """Return why no cut can be made here; an empty text when it can."""
    if shutil.which("nft") is None:
        return "no nft here: apt-get install nftables"
    tried = subprocess.run(["nft", "list", "tables"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"nft: {tried.stderr.decode(errors='replace').strip()}: needs root (or CAP_NET_ADMIN)"


class Cut:
    """At most one cut, in a table of its own that nothing else uses."""

    def __init__(self) -> None:
        self._table = f"faultline_ceph_{os.getpid()}"
        self._made = False

    def make(self, address: str, ports: Iterable[int]) -> None:
        """Drop what goes from ``address`` to the ports, and what comes back.

        :raises CephError: nftables refuses.
        """
        self.mend()
        if reason := no_cuts():
            raise CephError(reason)
        numbers = ", ".join(map(str, ports))
        drops = f"ip saddr {address} tcp dport {{ {numbers} }} drop\nip daddr {address} tcp sport {{ {numbers} }} drop\n"
        self._nft(f"table inet {self._table} {{\nchain out {{\ntype filter hook output priority 0\n{drops}}}\n}}\n")
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
