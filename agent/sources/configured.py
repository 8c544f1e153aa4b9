"""The storages that /etc/pve/storage.cfg configures for this node, for sources that watch what lies behind them.

The file lies on pmxcfs, which may hang: it is read in a thread that may be abandoned, and until it can be read again what
was read last holds. Nobody who asks is kept waiting. All sources share one of these.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from agent.sources.background import Background
from pve.storage_cfg import Storage, parse

_EVERY: Final = 5.0
"""Seconds between two looks at the file."""
_LARGEST: Final = 4 * 1024 * 1024
"""Bytes. pmxcfs itself refuses files over 1 MiB."""


class Configured:
    """Storages of ``root``/storage.cfg that are enabled for ``node``. Callable from any thread."""

    def __init__(self, root: Path, node: str, every: float = _EVERY) -> None:
        self._path, self._node, self._every = root / "storage.cfg", node, every
        self._background = Background("storage-cfg")
        self._lock = threading.Lock()
        self._due = 0.0
        self._bytes: bytes | None = None
        self._storages: tuple[Storage, ...] = ()
        self._of_types: dict[tuple[str, ...], tuple[Storage, ...]] = {}

    def storages(self, *types: str) -> tuple[Storage, ...]:
        """Return what is known now, of these types only: the same object as before while the file is the same. Never blocks."""
        with self._lock:
            for ended in self._background.collect():
                if ended.error is None and ended.value != self._bytes:
                    self._bytes = ended.value
                    self._storages = tuple(one for one in parse(ended.value).storages.values() if self._is_ours(one))
                    self._of_types.clear()
            if time.monotonic() >= self._due and self._background.start("read", self._read):
                self._due = time.monotonic() + self._every
            if types not in self._of_types:
                self._of_types[types] = tuple(one for one in self._storages if one.type in types)
            return self._of_types[types]

    def wait(self, seconds: float) -> None:
        """Wait until the file was read once, at most so long: a first look should know what to look at."""
        end = time.monotonic() + seconds
        while self._bytes is None and time.monotonic() < end:
            self.storages()
            time.sleep(0.01)

    def _is_ours(self, storage: Storage) -> bool:
        return not storage.disabled and (storage.nodes is None or self._node in storage.nodes)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                return file.read(_LARGEST)
        except FileNotFoundError:
            if self._bytes is None and not self._path.parent.exists():
                return b""
            raise  # pmxcfs restarts, or somebody replaces the file: what was there holds
