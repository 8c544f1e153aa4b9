"""Output formats of the commands."""

from __future__ import annotations

from enum import StrEnum


class ListFormat(StrEnum):
    """Of commands that print what is: text for people, one JSON document for machines."""

    TEXT = "text"
    JSON = "json"


class StreamFormat(StrEnum):
    """Of commands that print what happens: text for people, a JSON object per line for machines."""

    TEXT = "text"
    JSONL = "jsonl"
