"""Proxmox VE's section files: storage.cfg and the files of HA. One grammar; tables say which type has which properties.

Source: pve-common ``PVE/SectionConfig.pm`` (``parse_config``, ``check_value``, ``check_config``), ``PVE/JSONSchema.pm``, 9.2.1 and 8.3.8;
the texts of warnings are Proxmox VE's own. A section ends at a line that is empty or ``0``. Its first value of a property counts, and
of two sections with one id the last. A property with a wrong value is as good as not there; a section without one that is required is
there and has no content. Bytes are read as Latin-1, so that a character class means to :mod:`re` what it means to Perl on bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

BLANKS: Final = " \t\n\r\f\v"
"""What Perl takes for blank in bytes."""
_BLANK_RUN: Final = re.compile(rf"[{BLANKS}]+")
_PROPERTY: Final = re.compile(rf"[{BLANKS}]+([^{BLANKS}]+)(?:[{BLANKS}]+([^{BLANKS}].*))?", re.DOTALL)
_COMMENT: Final = re.compile(rf"[{BLANKS}]*#")
_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
"""Perl's ``lc`` of bytes knows ASCII only, unlike Python's of Latin-1."""


class ValueWrongError(Exception):
    """A property's value, or a section, is not what it may be. The message is Proxmox VE's without its last line end."""


class Property(NamedTuple):
    """A property: what makes its value of the text, and whether a section cannot do without. A flag needs no value."""

    read: Callable[[str], Any]
    required: bool = False
    is_flag: bool = False


class Warned(NamedTuple):
    """A warning that Proxmox VE gives too, at a line that counts from 1."""

    line: int
    section: str
    text: str
    ending: str = "\n"
    """Line ends that Proxmox VE puts behind it: messages of formats bring one of their own."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section with the values of its properties, as its table's functions made them; ``lines`` says where each stands."""

    type: str
    id: str
    line: int
    values: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)


Warn = Callable[[str], None]


def _nothing(_section: Section, _warn: Warn) -> None:
    """Leave a section as it is."""


class Kind(NamedTuple):
    """A type of section: the properties that it takes, and those of the file's other types, which are told apart in warnings.

    ``decode`` runs when all lines are read and before the required properties are looked for, ``finish`` after that. Both may change
    values, warn without naming a place, and raise :class:`ValueWrongError` for a section that is to have no content.
    """

    properties: Mapping[str, Property]
    unexpected: frozenset[str] = frozenset({"type"})
    decode: Callable[[Section, Warn], None] = _nothing
    finish: Callable[[Section, Warn], None] = _nothing


@dataclass(frozen=True, slots=True)
class Broken:
    """A section that is there without content: its id, where it begins and where Proxmox VE gave it up, and why."""

    id: str
    line: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Sections:
    """All sections of a file, in the file's order. ``broken`` are those that are there without content, with the reason."""

    sections: Mapping[str, Section] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    warnings: tuple[Warned, ...] = ()
    gone: tuple[Broken, ...] = ()
    """``broken`` with their places."""
    order: Mapping[str, int] = field(default_factory=dict)
    """Id to its number among the sections that were not skipped, broken ones included; the later of two with one id."""
    errors: int = 0
    """Properties that were there and wrong."""


Header = Callable[[str, str], tuple[str, str]]
"""Takes a section's type and name; returns its id and why it is to be skipped ("" when it is not)."""


class _Parser:
    """One parse: where it is, and what it has found."""

    def __init__(self, text: str, filename: str, kinds: Mapping[str, Kind], header: Header) -> None:
        self._lines = _lines(text)
        self._filename = filename
        self._kinds = kinds
        self._header = header
        self._found: dict[str, Section | Broken] = {}
        self._order: dict[str, int] = {}
        self._number = 0
        self._warnings: list[Warned] = []
        self._errors = 0

    def parsed(self, digest: str) -> Sections:
        for number, line in self._lines:
            if line in ("", "0"):
                continue
            if ":" in line and (parts := _header(line)):
                self._section(number, parts[0].translate(_LOWER), parts[1])
            else:
                self._warn(number, "", f"- ignore config line: {line}")
        sections = {name: found for name, found in self._found.items() if isinstance(found, Section)}
        gone = tuple(found for found in self._found.values() if isinstance(found, Broken))
        broken = {one.id: one.reason for one in gone}
        return Sections(sections, broken, digest, tuple(self._warnings), gone, dict(self._order), self._errors)

    def _warn(self, number: int, section: str, text: str) -> None:
        self._say(number, section, f"file {self._filename} line {number} {text}")

    def _say(self, number: int, section: str, text: str) -> None:
        if text.endswith("\n"):
            shown = text.rstrip("\n")
            self._warnings.append(Warned(number, section, shown, text[len(shown) :] + "\n"))
        else:
            self._warnings.append(Warned(number, section, text))

    def _section(self, number: int, kind_name: str, name: str) -> None:
        identity, reason = self._header(kind_name, name)
        kind = None if reason else self._kinds.get(kind_name)
        if kind is None:
            reason = reason or ("missing type - internal error" if kind_name == "0" else f"unsupported type '{kind_name}'")
            self._warn(number, identity, f"(skip section '{identity}'): {reason}")
        section = Section(kind_name, identity, number, {})
        last = number
        for place, line in self._lines:
            if line in ("", "0"):
                break
            if kind is not None:
                last = place
                self._property(place, line, section, kind)
        if kind is not None:
            self._end(last, section, kind)

    def _property(self, number: int, line: str, section: Section, kind: Kind) -> None:
        if not (match := _PROPERTY.fullmatch(line.rstrip(BLANKS))):
            self._warn(number, section.id, f"(section '{section.id}') - ignore config line: {line}")
            return
        try:
            section.values[match[1]] = _value(match[1], match[2], section, kind)
            section.lines[match[1]] = number
        except ValueWrongError as wrong:
            self._errors += 1
            self._warn(number, section.id, f"(section '{section.id}') - unable to parse value of '{match[1]}': {wrong}")

    def _end(self, last: int, section: Section, kind: Kind) -> None:
        self._found.pop(section.id, None)  # of two sections with one id the last counts, at its place
        self._order.pop(section.id, None)
        self._number += 1
        self._order[section.id] = self._number
        try:
            kind.decode(section, lambda text: self._say(last, section.id, text))
            _complete(section, kind)
            kind.finish(section, lambda text: self._say(last, section.id, text))
        except ValueWrongError as wrong:
            self._warn(last, section.id, f"(skip section '{section.id}'): {wrong}")
            self._found[section.id] = Broken(section.id, section.line, last, str(wrong))
        else:
            self._found[section.id] = section


def _complete(section: Section, kind: Kind) -> None:
    # Of several that are missing Proxmox VE names any: its table has no order.
    for name in sorted(name for name, prop in kind.properties.items() if prop.required):
        if name not in section.values:
            raise ValueWrongError(f"missing value for required option '{name}'")


def parse(data: bytes, filename: str, kinds: Mapping[str, Kind], header: Header) -> Sections:
    """Read a section file's bytes. Any bytes give a value; what Proxmox VE would warn of is in ``warnings``."""
    return _Parser(data.decode("latin-1"), filename, kinds, header).parsed(hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if not _COMMENT.match(line))


def _header(line: str) -> tuple[str, str] | None:
    """Split ``type: name``, by hand: a regular expression takes quadratic time for a line of colons."""
    first, *others = _BLANK_RUN.split(line.rstrip(BLANKS), maxsplit=2)
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


def one_of(*allowed: str) -> Callable[[str], str]:
    """Return what reads one of these words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise ValueWrongError(f"value '{text}' does not have a value in the enumeration '{', '.join(allowed)}'")
        return text

    return read
