"""``ceph.conf``, in Ceph's own dialect of ini files.

Sources: docs.ceph.com "Configuring Ceph" and ``src/common/ConfUtils.cc`` for the grammar, "Messenger v2" for addresses; pve-storage
``PVE/CephConfig.pm`` for what Proxmox VE makes of it. Names of keys may be written with blanks, underscores or dashes. ``#`` and ``;``
begin a comment unless a backslash stands before them; a backslash at the end of a line joins the next one. What could be a secret
is masked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pve.notice import Notice, Notices

FILE: Final = "ceph.conf"
GLOBAL: Final = "global"
MASK: Final = "***"
_SECRET_NAME: Final = re.compile(r"(^|_)(key|secret|password|passwd|token|secret_key|encryption_key)$")
_SECRET_VALUE: Final = re.compile(r"AQ[A-Za-z0-9+/]{36,38}==?")
"""A cephx key in its base64 form."""
_MAX_LIST: Final = 16384
"""Characters of a list that are looked at; 100 monitors need far fewer."""
_ADDRESS: Final = re.compile(
    r"(?:(v1|v2|any):)?"
    r"(?:(?:\[([0-9A-Fa-f:.%]{2,60})\]|([^\[\]:/]{1,255}))(?::([0-9]{1,5}))?|((?:[0-9A-Fa-f]{0,4}:){2,8}[0-9A-Fa-f.]{0,20}))"
    r"(?:/[0-9]{1,10})?"
)
"""Protocol, IPv6 in brackets or any other host with a port, bare IPv6, nonce."""


class MonAddress(NamedTuple):
    """An address of a monitor. ``protocol`` is ``v1``, ``v2``, ``any`` or empty, ``port`` None when it is the default."""

    host: str
    port: int | None = None
    protocol: str = ""


MonHost = tuple[MonAddress, ...]
"""One monitor: an address vector with one address per protocol, or a single address."""


@dataclass(frozen=True, slots=True)
class CephConf:
    """The configuration. A value that is not in the file is empty or None; Ceph's own defaults are not filled in."""

    sections: Mapping[str, Mapping[str, str]]
    """Per section its keys with underscores, secrets masked."""
    fsid: str = ""
    mon_host: tuple[MonHost, ...] = ()
    mon_initial_members: tuple[str, ...] = ()
    public_network: tuple[str, ...] = ()
    cluster_network: tuple[str, ...] = ()
    osd_pool_default_size: int | None = None
    osd_pool_default_min_size: int | None = None
    monitors: Mapping[str, str] = field(default_factory=dict)
    """Per section ``mon.NAME`` the monitor's ``public_addr``, ``host`` or nothing."""
    digest: str = ""
    """SHA-1 of the bytes."""
    notices: tuple[Notice, ...] = ()

    @property
    def mon_addresses(self) -> tuple[str, ...]:
        """Hosts or addresses of all monitors of ``mon_host``, each once, in the file's order."""
        return tuple(dict.fromkeys(address.host for host in self.mon_host for address in host))


def parse(data: bytes) -> CephConf:
    """Read the file's bytes. Any bytes give a value; ``notices`` name the lines that were left out."""
    notices = Notices()
    sections = _sections(data.decode("utf-8", "replace"), notices)
    common = sections.get(GLOBAL, {})
    return CephConf(
        {name: {key: _masked(key, value) for key, value in keys.items()} for name, keys in sections.items()},
        _masked("fsid", common.get("fsid", "")),
        mon_hosts(common.get("mon_host", "")),
        _list(common.get("mon_initial_members", "")),
        _list(common.get("public_network", "")),
        _list(common.get("cluster_network", "")),
        _number(common.get("osd_pool_default_size", "")),
        _number(common.get("osd_pool_default_min_size", "")),
        {name.partition(".")[2]: _monitor(keys) for name, keys in sections.items() if name.startswith("mon.")},
        hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        notices.all(),
    )


def key_name(text: str) -> str:
    """Return a key's one spelling: blanks and dashes are underscores, several are one."""
    return re.sub(r"[\s_-]+", "_", text.strip()).strip("_")


def mon_hosts(text: str) -> tuple[MonHost, ...]:
    """Read ``mon_host``: a list by commas, semicolons or blanks; ``[v2:A:3300/0,v1:A:6789/0]`` is one monitor.

    Brackets around a bare IPv6 address are no vector. What is no address is left out.
    """
    found = (tuple(_addresses(word)) for word in _words(text[:_MAX_LIST]))
    return tuple(host for host in found if host)


def _words(text: str) -> Iterator[str]:
    """Split at separators that are in no brackets."""
    depth = start = 0
    for place, character in enumerate(text):
        if character in "[]":
            depth = max(depth + (1 if character == "[" else -1), 0)
        elif not depth and (character in ",;" or character.isspace()):
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _addresses(word: str) -> Iterator[MonAddress]:
    inner = word[1:-1] if word.startswith("[") and word.endswith("]") else ""
    is_vector = "," in inner or re.match(r"(v1|v2|any):", inner)
    for text in _words(inner) if is_vector else (word,):
        if match := _ADDRESS.fullmatch(text):
            yield MonAddress(match[2] or match[3] or match[5], int(match[4]) if match[4] else None, match[1] or "")


def _list(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,;\s]+", text) if word)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _monitor(keys: Mapping[str, str]) -> str:
    return _masked("", keys.get("public_addr") or keys.get("mon_addr") or keys.get("host") or "")


def _masked(key: str, value: str) -> str:
    return MASK if _SECRET_NAME.search(key) else _SECRET_VALUE.sub(MASK, value)


def _sections(text: str, notices: Notices) -> dict[str, dict[str, str]]:
    sections: dict[str, dict[str, str]] = {}
    section: dict[str, str] | None = None
    for number, line in _joined(text):
        if not line or not (content := _uncommented(line).strip()):
            continue
        if content.startswith("["):
            section = sections.setdefault(content[1:-1].strip(), {}) if content.endswith("]") else None
            if section is None:
                notices.add(number, "a section's name without ']' at its end; what follows is left out")
        elif "=" not in content or section is None:
            notices.add(number, "a key before any section" if section is None else "no 'key = value'")
        else:
            key, _, value = content.partition("=")
            if (plain := _unquoted(value.strip())) is None:
                notices.add(number, "a quoted value without its second quote, or with a comment mark inside")
            else:
                section[key_name(key)] = plain
    return sections


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield lines with the number of their first line, continued ones joined."""
    parts: list[str] = []
    first = 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        first = first if parts else number
        if line.endswith("\\") and not _has_comment(line):
            parts.append(line[:-1])
            continue
        yield first, "".join((*parts, line))
        parts = []
    if parts:
        yield first, "".join(parts)


def _has_comment(line: str) -> bool:
    return any(piece in ("#", ";") for piece in re.split(r"(\\[#;]|[#;])", line))


def _uncommented(line: str) -> str:
    """Return the line up to its comment, with escaped comment marks as plain ones."""
    pieces = re.split(r"(\\[#;]|[#;])", line)
    end = next((place for place, piece in enumerate(pieces) if piece in ("#", ";")), len(pieces))
    return "".join(piece[1:] if piece in ("\\#", "\\;") else piece for piece in pieces[:end])


def _unquoted(value: str) -> str | None:
    if not value.startswith(("'", '"')):
        return value
    return value[1:-1] if len(value) > 1 and value[-1] == value[0] else None
