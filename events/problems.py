"""What pydantic finds wrong, in words for the person who wrote it. Both programs' configuration uses it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError


def problems(error: ValidationError) -> list[str]:
    """Return one line for each problem: the field's path, and what to do about it."""
    return [f"{_path(item['loc'])}: {_advice(dict(item))}" for item in error.errors(include_url=False)]


def _path(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "file"


def _advice(item: dict[str, Any]) -> str:
    if item["type"] == "extra_forbidden":
        return "no such field: remove it or correct its name"
    if item["type"] == "missing":
        return "is required"
    if item["type"] == "value_error":
        # Our own sentence, which says all; of a check over several fields the input would be the whole table.
        return str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "tuple_type":
        return "expected a list: [[…]] for a table, [ … ] for values"
    if isinstance(item["input"], dict | list | tuple):
        return str(item["msg"])  # what is in it may be a secret in the wrong place
    return f"{item['msg']} (is {item['input']!r:.80})"
