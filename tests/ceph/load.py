"""Writing to a pool from a process of its own: a write to a full or inactive pool waits for ever, and must not do so in a test."""

from __future__ import annotations

import subprocess
import time

from tests.ceph.layout import Layout


class Load:
    """`rados bench` writing ``objects`` objects of ``object_bytes`` each to ``pool``, for ``seconds`` at most."""

    def __init__(self, layout: Layout, pool: str, objects: int, object_bytes: int, seconds: int) -> None:
        bounds = ["-b", str(object_bytes), "-O", str(object_bytes), "--max-objects", str(objects), "-t", "8", "--no-cleanup"]
        name = ["--run-name", f"load-{time.monotonic_ns()}"]
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "rados",
            "-c",
            str(layout.conf),
            "-p",
            pool,
            "bench",
            str(seconds),
            "write",
            *bounds,
            *name,
        ]
        with (layout.directory / "log" / "load.out").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.seconds = seconds

    def finished(self) -> bool:
        """Wait until all is written; say whether it was within its time. What blocks is ended."""
        try:
            return self.process.wait(self.seconds + 10) == 0
        except subprocess.TimeoutExpired:
            self.stop()
            return False

    def stop(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
