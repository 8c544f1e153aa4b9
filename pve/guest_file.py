"""The lines and sections that the two kinds of guest configuration share, and the few rules in which they differ.

Sources: parse_vm_config (qemu-server ``QemuServer.pm``) and parse_pct_config (pve-container ``LXC/Config.pm``), PVE 8 and 9.
The bytes are read as Latin-1, so that a character class means to :mod:`re` what it means to Perl on bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar

from pve.errors import ValueFormatError
from pve.guest import WARNINGS_MAX, Guest, Kind, Role, Use
from pve.volume import BLANKS, base_of, boolean, split

_DNS_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_LOCK: Final = re.compile(r"[a-z][a-z-]{0,31}")
_SNAPSTATE: Final = re.compile(rf"snapstate:[{BLANKS}]*(?:prepare|delete)[{BLANKS}]*$")
_TAG_BREAKS: Final = re.compile(rf"[,;\0{BLANKS}]+")

T = TypeVar("T")


class Setting(NamedTuple):
    """One line ``key: value`` with its line number."""

    line: int
    value: str


Sections = dict[str, dict[str, list[Setting]]]
"""Section name -> key -> its lines in order. Which of several lines counts, differs between the two kinds."""


class Dialect(NamedTuple):
    """Where VMs and containers differ.

    ``pending`` is the name of the section of waiting changes, ``pending_header`` its header, ``special`` the headers of sections
    for Proxmox VE's own use (group 1 is the name); ``skip_unknown``: lines under a header of no known form are skipped (VMs), or
    belong to the section before (containers); ``key`` is a property's name; ``raw`` matches a line of LXC's own, its key group 1;
    ``last_wins``: a later wrong line hides an earlier right one.
    """

    pending: str
    pending_header: re.Pattern[str]
    special: re.Pattern[str] | None
    skip_unknown: bool
    key: re.Pattern[str]
    raw: re.Pattern[str] | None
    last_wins: bool


_SNAPSHOT: Final = re.compile(rf"\[([A-Za-z][A-Za-z0-9_-]+)\][{BLANKS}]*")
_ANY_HEADER: Final = re.compile(rf"\[[^\]]*\][{BLANKS}]*")


class Notes:
    """Collects the warnings about one file, and counts those that no one would read."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._more = 0

    def add(self, line: int, text: str, about: str = "") -> None:
        """Keep ``line N: text``, where ``{}`` in the text stands for the first 64 characters of ``about``."""
        if len(self._texts) < WARNINGS_MAX:
            self._texts.append(f"line {line}: {readable(text.replace('{}', about[:64], 1) if about else text)}")
        else:
            self._more += 1

    def all(self) -> tuple[str, ...]:
        """Return the warnings, and last how many more there were."""
        return (*self._texts, f"{self._more} more warnings") if self._more else tuple(self._texts)


def readable(text: str) -> str:
    """Turn text that was read as Latin-1 back into the characters that were meant; what is no UTF-8 becomes U+FFFD."""
    return text if text.isascii() else text.encode("latin-1", "replace").decode("utf-8", "replace")


def read(data: bytes, dialect: Dialect, notes: Notes) -> Sections:
    """Sort a file's lines into sections and keys. Never raises; a line that nobody understands becomes a warning.

    A section that comes twice starts anew (both kinds of Proxmox VE's parsers do so): its earlier lines are gone.
    """
    sections: Sections = {"": {}}
    current: dict[str, list[Setting]] | None = sections[""]
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        if not line:
            continue
        if line[:1] == "[" and (header := _header(line, dialect)) is not None:
            current = _open(sections, header, number, notes)
        elif current is not None and line[:1] != "#" and (setting := _setting(line, dialect, number, notes)):
            key, value = setting
            current.setdefault(key, []).append(Setting(number, value))
    return sections


def _header(line: str, dialect: Dialect) -> str | None:
    # "" stands for "an unknown section": the current one has no header.
    if dialect.pending_header.fullmatch(line):
        return dialect.pending
    if dialect.special and (match := dialect.special.fullmatch(line)):
        return f"special:{match[1]}"
    if match := _SNAPSHOT.fullmatch(line):
        return match[1]
    return "" if dialect.skip_unknown and _ANY_HEADER.fullmatch(line) else None


def _open(sections: Sections, name: str, number: int, notes: Notes) -> dict[str, list[Setting]] | None:
    if not name:
        notes.add(number, "unknown section, its lines are skipped; Proxmox VE skips them too")
        return None
    if name in sections:
        notes.add(number, "section [{}] comes twice; Proxmox VE reads only the last one", name)
    sections[name] = {}
    return sections[name]


def _setting(line: str, dialect: Dialect, number: int, notes: Notes) -> tuple[str, str] | None:
    if dialect.raw and line.startswith("lxc.") and (match := dialect.raw.match(line)):
        return match[1], line[match.end() :].strip(BLANKS)
    if "snapstate:" in line and _SNAPSTATE.search(line):  # anywhere in the line, as in Perl
        return None
    key, colon, rest = line.partition(":")
    value = rest.strip(BLANKS) or rest[-1:]  # a value of blanks only is one blank, as in Perl
    if colon and value and dialect.key.fullmatch(key):
        return key, value
    if line.strip(BLANKS):
        notes.add(number, "'{}' is no 'key: value'; Proxmox VE ignores it", line)
    return None


def first_valid(settings: list[Setting], parse: Callable[[str], T], dialect: Dialect, key: str, notes: Notes) -> T | None:
    """Parse the line that counts: the last right one (VMs), or the last one if it is right (containers); None when none is."""
    for setting in reversed(settings):
        try:
            return parse(setting.value)
        except ValueFormatError as error:
            notes.add(setting.line, f"{key[:64]}: {error}; Proxmox VE ignores it")
        if dialect.last_wins:
            return None
    return None


def volume_use(volid: str, key: str, section: str, role: Role, *, shared: bool = False) -> Use:
    """Make the use of a volume id. Raises ValueFormatError when it is none."""
    if (parts := split(volid)) is None:
        raise ValueFormatError(f"'{volid[:64]}' is no volume id; write STORAGE:VOLUME")
    volume = readable(parts.volume)
    return Use(parts.storage, volume, key, section, role, base_of(volume), shared)


def path_use(path: str, key: str, section: str, role: Role, *, shared: bool = False) -> Use:
    """Make the use of a path of the host's."""
    return Use("", "", key, section, role, shared=shared, path=readable(path))


def guest(
    data: bytes, vmid: int, kind: Kind, name_key: str, sections: Sections, dialect: Dialect, uses: Iterable[Use], notes: Notes
) -> Guest:
    """Put a guest together from its current section and its uses."""

    def current(key: str, parse: Callable[[str], T], default: T) -> T:
        settings = sections[""].get(key)
        found = first_valid(settings, parse, dialect, key, notes) if settings else None
        return default if found is None else found

    return Guest(
        vmid,
        kind,
        current(name_key, _name, ""),
        current("template", _flag, default=False),
        current("onboot", _flag, default=False),
        current("tags", _tags, ()),
        current("lock", _lock, ""),
        hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        tuple(uses),
        notes.all(),
    )


def _name(value: str) -> str:
    if len(value) > 255 or not all(map(_DNS_LABEL.fullmatch, value.split("."))):
        raise ValueFormatError(f"'{value[:64]}' is no DNS name")
    return value


def _flag(value: str) -> bool:
    if (flag := boolean(value)) is None:
        raise ValueFormatError(f"'{value[:64]}' is no boolean; write 0 or 1")
    return flag


def _tags(value: str) -> tuple[str, ...]:
    return tuple(_each_tag(value))


def _each_tag(value: str) -> Iterator[str]:
    for tag in _TAG_BREAKS.split(value):
        if _TAG.fullmatch(tag):
            yield tag


def _lock(value: str) -> str:
    word = value.strip('"')
    if not _LOCK.fullmatch(word):
        raise ValueFormatError(f"'{value[:64]}' is no lock")
    return word
