"""Records of :mod:`agent.sources.nfs_servers` and :mod:`agent.sources.nfs_mounts` to events."""

from __future__ import annotations

import json
from typing import Any

from agent.classify.nfs_mounts import NfsMounts
from agent.classify.nfs_servers import NfsServers
from agent.record import RawRecord
from events.base import Event


class NfsClassifier:
    """Turns one node's NFS records, in order, into events. Keeps nothing over a restart: then everything is said once."""

    def __init__(self, node: str, memory: dict[str, Any] | None = None, *, limit: float = 0.020) -> None:
        del node, memory
        self._servers, self._mounts = NfsServers(), NfsMounts(limit)

    def memory(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def repeat(self) -> None:
        """Say everything again at its next sight: a controller does not know it."""
        self._servers.repeat()
        self._mounts.repeat()

    def classify(self, record: RawRecord) -> list[Event]:
        """Return the events that a record stands for."""
        if "found" not in record.fields:
            return []  # a look that hangs or fails says nothing of the far end
        found = json.loads(record.fields["found"])
        match record.fields.get("look"):
            case "servers":
                return self._servers.classify(found, record)
            case "mounts":
                return self._mounts.mounts(found, record)
            case "statistics":
                return self._mounts.statistics(found, record)
            case _:
                return []
