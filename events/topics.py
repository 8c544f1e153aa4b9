"""Topics of the ZeroMQ streams: what a subscriber names to get only some records.

``event.<kind>.<node>`` for events and ``incident.<change>.<cause>`` for incidents. ZeroMQ matches prefixes of bytes, so
``event.iscsi.`` subscribes a family and ``incident.opened`` one kind of change.
"""

from __future__ import annotations


def event_topic(kind: str, node: str) -> bytes:
    """Return the topic of an event of this kind seen by this node."""
    return f"event.{kind}.{node}".encode()


def incident_topic(change: str, cause: str) -> bytes:
    """Return the topic of an incident's change."""
    return f"incident.{change}.{cause}".encode()
