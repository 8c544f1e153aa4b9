"""What any source yields: raw records, with the place to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from events.base import Source


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One thing that a source saw, uninterpreted.

    ``at`` is UTC in microseconds since 1970, ``monotonic`` microseconds since the boot ``boot_id``. For journald the
    fields are the entry's (``MESSAGE``, ``SYSLOG_IDENTIFIER``, …), as text.
    """

    source: Source
    at: int
    monotonic: int
    boot_id: str
    fields: Mapping[str, str]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one source in order, and the cursor after the last of them (also of those that were filtered away)."""

    source: Source
    records: tuple[RawRecord, ...]
    cursor: str | None = None
    losses: tuple[str, ...] = field(default=())
    """Reasons why records may be missing before these (rotation, vacuum, corruption), one sentence each."""
