"""The section files of HA: one grammar, and tables of which type has which properties.

Source: pve-common ``PVE/SectionConfig.pm`` (``parse_config``, ``check_value``, ``check_config``), ``PVE/JSONSchema.pm``, 9.2.1; the texts
of warnings are Proxmox VE's own. A section ends at a line that is empty or ``0``. Its first value of a property counts, and of two
sections with one id the last. A property with a wrong value is as good as not there; a section without one that is required is there and
has no content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

_PROPERTY: Final = re.compile(r"\s+(\S+)(?:\s+(\S.*))?", re.ASCII | re.DOTALL)
_COMMENT: Final = re.compile(r"\s*#", re.ASCII)
_CONFIG_ID: Final = re.compile(r"[a-z][a-z0-9_-]+", re.ASCII | re.IGNORECASE)
_NODE: Final = re.compile(r"([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?::([0-9]+))?", re.ASCII)
_SEPARATORS: Final = re.compile("[,; \t\n\r\f\v\x85\xa0]+")
"""The last two are blanks for Perl where it takes bytes as Latin-1, as ``ParseUtils.pm`` of Proxmox VE 9 does."""
_BLANKS: Final = " \t\n\r\f\v"
_BLANK_RUN: Final = re.compile(f"[{_BLANKS}]+")
MAX_WARNINGS: Final = 1000
"""A file that is something else altogether gives one per line; that many say enough."""
_MAX_COMMENT: Final = 4096
_MAX_NUMBER: Final = (1 << 63) - 1
"""Perl would go on with fractions beyond; no priority or count is that large."""


class ValueWrongError(Exception):
    """A property's value is not what its format allows; the message is Proxmox VE's."""


class Property(NamedTuple):
    """A property: what makes its value of the text, and whether a section cannot do without. A flag needs no value."""

    read: Callable[[str], Any]
    required: bool = False
    is_flag: bool = False


class Kind(NamedTuple):
    """A type of section: the properties that it takes, and those of the file's other types, which are told apart in warnings."""

    properties: Mapping[str, Property]
    unexpected: frozenset[str] = frozenset({"type"})


class Warned(NamedTuple):
    """A warning that Proxmox VE gives too, at a line that counts from 1."""

    line: int
    section: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section with the values of its properties, as its table's functions made them."""

    type: str
    id: str
    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sections:
    """All sections of a file, in the file's order. ``broken`` are those that are there without content, with the reason."""

    sections: Mapping[str, Section] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    warnings: tuple[Warned, ...] = ()


Header = Callable[[str, str], tuple[str, str]]
"""Takes a section's type and name; returns its id and why it is to be skipped ("" when it is not)."""


class _Parser:
    """One parse: where it is, and what it has found."""

    def __init__(self, text: str, filename: str, kinds: Mapping[str, Kind], header: Header) -> None:
        self._lines = _lines(text)
        self._filename = filename
        self._kinds = kinds
        self._header = header
        self._found: dict[str, Section | str] = {}
        self._warnings: list[Warned] = []

    def parsed(self, digest: str) -> Sections:
        for number, line in self._lines:
            if line in ("", "0"):
                continue
            if header := _header(line):
                self._section(number, header[0].lower(), header[1])
            else:
                self._warn(number, "", f"- ignore config line: {line}")
        sections = {name: found for name, found in self._found.items() if isinstance(found, Section)}
        broken = {name: found for name, found in self._found.items() if isinstance(found, str)}
        return Sections(sections, broken, digest, tuple(self._warnings))

    def _warn(self, number: int, section: str, text: str) -> None:
        if len(self._warnings) < MAX_WARNINGS:
            self._warnings.append(Warned(number, section, f"file {self._filename} line {number} {text}"))

    def _section(self, number: int, kind_name: str, name: str) -> None:
        identity, reason = self._header(kind_name, name)
        kind = None if reason else self._kinds.get(kind_name)
        if kind is None:
            reason = reason or f"unsupported type '{kind_name}'"
            self._warn(number, identity, f"(skip section '{identity}'): {reason}")
        section = Section(kind_name, identity, number, {})
        last = number
        for place, line in self._lines:
            if line in ("", "0"):
                break
            last = place
            if kind is not None:
                self._property(place, line, section, kind)
        if kind is not None:
            self._end(last, section, kind)

    def _property(self, number: int, line: str, section: Section, kind: Kind) -> None:
        if not (match := _PROPERTY.fullmatch(line.rstrip(_BLANKS))):
            self._warn(number, section.id, f"(section '{section.id}') - ignore config line: {line}")
            return
        try:
            section.values[match[1]] = _value(match[1], match[2], section, kind)
        except ValueWrongError as wrong:
            self._warn(number, section.id, f"(section '{section.id}') - unable to parse value of '{match[1]}': {wrong}")

    def _end(self, last: int, section: Section, kind: Kind) -> None:
        missing = [name for name, prop in kind.properties.items() if prop.required and name not in section.values]
        self._found.pop(section.id, None)  # of two sections with one id the last counts, at its place
        if missing:
            reason = f"missing value for required option '{missing[0]}'"
            self._warn(last, section.id, f"(skip section '{section.id}'): {reason}")
            self._found[section.id] = reason
        else:
            self._found[section.id] = section


def parse(data: bytes, filename: str, kinds: Mapping[str, Kind], header: Header) -> Sections:
    """Read a section file's bytes. Any bytes give a value; what Proxmox VE would warn of is in ``warnings``."""
    return _Parser(data.decode("latin-1"), filename, kinds, header).parsed(hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _header(line: str) -> tuple[str, str] | None:
    """Split ``type: name``, by hand: a regular expression takes quadratic time for a line of colons."""
    first, *others = _BLANK_RUN.split(line.rstrip(_BLANKS), maxsplit=2)
    if not others:
        kind, mark, rest = first[:-1].rpartition(":")
        name = rest + first[-1:]
    else:
        kind, mark, name = first[:-1], first[-1:], others[0]
    return (kind, name) if kind and mark == ":" and len(others) < 2 else None


def _value(name: str, text: str | None, section: Section, kind: Kind) -> Any:
    known = kind.properties.get(name)
    if known is None and name not in kind.unexpected:
        raise ValueWrongError("unknown property type")
    if name in section.values:
        raise ValueWrongError("duplicate attribute")
    if known is None:
        if name == "type" and text == section.type:
            return text  # Proxmox VE takes it, and it says nothing new
        raise ValueWrongError(f"unexpected property '{name}'")
    if text is None and not known.is_flag:
        raise ValueWrongError("got undefined value")
    if "\r" in (text := "1" if text is None else text):
        raise ValueWrongError("property contains a line feed")
    return known.read(text)


def flag(text: str) -> bool:
    """Read a boolean: ``0`` or ``1``, nothing else."""
    if text not in ("0", "1"):
        raise ValueWrongError(f"type check ('boolean') failed - got '{text}'")
    return text == "1"


def count(text: str) -> int:
    """Read a whole number of 0 or more."""
    if not re.fullmatch("[+-]?[0-9]+", text, re.ASCII):
        raise ValueWrongError(f"type check ('integer') failed - got '{text}'")
    if text.startswith("-") and text.strip("-0"):
        raise ValueWrongError("value must have a minimum value of 0")
    return _bounded(text.lstrip("+-"))


def _bounded(digits: str) -> int:
    return min(int(digits[:40]), _MAX_NUMBER)


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return what reads one of these words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueWrongError(f"value '{text}' does not have a value in the enumeration '{', '.join(allowed)}'")
        return text

    return read


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
    return unquote(comment(text), errors="replace")


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


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if not _COMMENT.match(line))
