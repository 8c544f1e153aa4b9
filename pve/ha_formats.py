"""Formats of the values in HA's section files.

Source: pve-common ``PVE/JSONSchema.pm``, pve-ha-manager ``PVE/HA/Tools.pm``, 9.2.1 and 5.2.0.
"""

from __future__ import annotations

import re
from typing import Final

from pve.section_config import ValueWrongError

_CONFIG_ID: Final = re.compile(r"[a-z][a-z0-9_-]+", re.ASCII | re.IGNORECASE)
_NODE: Final = re.compile(r"([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?::([0-9]+))?", re.ASCII)
_SEPARATORS: Final = re.compile("[,; \t\n\r\f\v\x85\xa0]+")
"""The last two are blanks for Perl where it takes bytes as Latin-1, as ``ParseUtils.pm`` of Proxmox VE 9 does."""
_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_MAX_COMMENT: Final = 4096
_MAX_NUMBER: Final = (1 << 63) - 1
"""Perl would go on with fractions beyond; no priority or count is that large."""


def count(text: str) -> int:
    """Read a whole number of 0 or more."""
    if not re.fullmatch("[+-]?[0-9]+", text, re.ASCII):
        raise ValueWrongError(f"type check ('integer') failed - got '{text}'")
    if text.startswith("-") and text.strip("-0"):
        raise ValueWrongError("value must have a minimum value of 0")
    return _bounded(text.lstrip("+-"))


def _bounded(digits: str) -> int:
    return min(int(digits[:40]), _MAX_NUMBER)


def config_id(text: str) -> str:
    """Read the id of a group or rule: a letter, then letters, digits, ``_`` and ``-``, two characters at least."""
    if not _CONFIG_ID.fullmatch(text):
        raise ValueWrongError(f"invalid format - invalid configuration ID '{text}'")
    return text


def skip_reason(text: str) -> str:
    """Return why a section with this id is skipped, empty when it is not."""
    return "" if _CONFIG_ID.fullmatch(text) else f"invalid configuration ID '{text}'"


def comment(text: str) -> str:
    """Read a comment as UTF-8."""
    if len(text) > _MAX_COMMENT:
        raise ValueWrongError(f"value may only be {_MAX_COMMENT} characters long")
    return text.encode("latin-1").decode("utf-8", "replace")


def encoded_comment(text: str) -> str:
    """Read a comment whose special characters stand as ``%XX``, as rules have them."""
    data = _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), comment(text).encode("utf-8", "replace"))
    return data.decode("utf-8", "replace")


def resources(text: str) -> frozenset[str]:
    """Read a list of resource ids as ``vm:100,ct:101``."""
    found = _split(text)
    if not all(re.fullmatch(r"[a-z]+:\S+", sid, re.ASCII) for sid in found):
        raise ValueWrongError("invalid format - value does not look like a valid ha resource id")
    return frozenset(found)


def priorities(text: str) -> dict[str, int]:
    """Read a list of nodes as ``pve1:2,pve2``: node to priority, 0 when there is none. Of a node named twice the last counts."""
    found = [_NODE.fullmatch(node) for node in _split(text)]
    if not all(found):
        raise ValueWrongError("invalid format - value does not look like a valid ha node")
    return {match[1]: _bounded(match[2] or "0") for match in found if match}


def _split(text: str) -> list[str]:
    """Split a list as Proxmox VE does: at NULs if there are any, else at commas, semicolons and blanks."""
    if "\0" in text:
        return text.rstrip("\0").split("\0") if text.strip("\0") else []
    return [word for word in _SEPARATORS.split(text) if word]
