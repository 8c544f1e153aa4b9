"""A row of the log as the JSON object that streams carry. Pure."""

from __future__ import annotations

import json
from typing import Any

from controller.core.describe import rfc3339
from controller.store.reading import LogRow
from events.base import Event
from events.codec import decode
from events.errors import CodecError
from events.topics import event_topic, incident_topic


def record(row: LogRow, cluster: str) -> dict[str, Any]:
    """Return a row's object. All have ``type`` and ``cursor``; cursors only grow, so a jump back is a repeat."""
    if row.type == "event":
        return _event(row, cluster)
    if row.type == "incident":
        return {**json.loads(row.data), "cursor": row.cursor}
    if row.type == "gap":
        return {"type": "gap", "cursor": row.cursor, "cluster": cluster, "node": row.node, "at": rfc3339(row.at), **json.loads(row.data)}
    return _unreadable(row, cluster, row.kind)


def _event(row: LogRow, cluster: str) -> dict[str, Any]:
    try:
        envelope = decode(row.data)
    except CodecError as error:
        return _unreadable(row, cluster, str(error))
    event = envelope.event
    body = event.model_dump(mode="json") if isinstance(event, Event) else {"kind": event.kind, **event.body}
    return {
        "type": "event",
        "cursor": row.cursor,
        "cluster": envelope.cluster,
        "node": envelope.node,
        "kind": event.kind,
        "state": event.state.value,
        "subject": body.get("subject", ""),
        "observed_at": rfc3339(envelope.observed_at),
        "stream": envelope.stream,
        "seq": envelope.seq,
        "event": {**body, **envelope.extra},
    }


def _unreadable(row: LogRow, cluster: str, reason: str) -> dict[str, Any]:
    facts = {"type": "reject", "cursor": row.cursor, "cluster": cluster, "node": row.node, "at": rfc3339(row.at)}
    return {**facts, "reason": reason, "data": row.data.hex()}


def line(row: LogRow, cluster: str) -> bytes:
    """Return a row as one line of JSON with its newline."""
    return json.dumps(record(row, cluster), separators=(",", ":"), ensure_ascii=False, default=str).encode() + b"\n"


def topic(row: LogRow) -> bytes:
    """Return a row's topic (see :mod:`events.topics`)."""
    if row.type == "event":
        return event_topic(row.kind, row.node)
    if row.type == "incident":
        return incident_topic(row.kind, json.loads(row.data)["cause"])
    return f"{row.type}.{row.node}".encode()
