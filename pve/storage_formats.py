"""Formats of the values in storage.cfg, with Proxmox VE's own messages.

Source: pve-storage ``PVE/Storage/Plugin.pm``, ``ZFSPoolPlugin.pm``; pve-common ``PVE/JSONSchema.pm`` (``check_prop``,
``parse_property_string``), ``PVE/Tools.pm``, ``PVE/ParseUtils.pm``. Each function takes the text of a value and returns what Proxmox VE
keeps, or raises :class:`pve.section_config.ValueWrongError`. None takes more than linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final

from pve.release import Release
from pve.section_config import BLANKS, ValueWrongError

Read = Callable[[str], object]

_ID: Final = re.compile(r"[a-z][a-z0-9\-_.]*[a-z0-9]", re.ASCII | re.IGNORECASE)
_LVM_NAME: Final = re.compile(r"[a-z0-9][a-z0-9\-_.]*[a-z0-9]", re.ASCII | re.IGNORECASE)
_CONFIG_ID: Final = re.compile(r"[a-z][a-z0-9_-]+", re.ASCII | re.IGNORECASE)
_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?", re.ASCII)
_HOST: Final = re.compile(r"[a-zA-Z0-9\-.]+", re.ASCII)
_IPV4: Final = re.compile(r"(?:(?:25[0-5]|(?:2[0-4]|1[0-9]|[1-9])?[0-9])(?:\.(?!$)|$)){4}", re.ASCII)
_PORT: Final = re.compile(r"[0-9]+", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]+|[0-9]+\.|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_BLOCKSIZE: Final = re.compile(r"([1-9][0-9]*)([kmKM])?", re.ASCII)
_FINGERPRINT: Final = re.compile(r"(?:[A-Fa-f0-9]{2}:){31}[A-Fa-f0-9]{2}", re.ASCII)
_BREAKS: Final = {
    Release.PVE8: re.compile(f"[{BLANKS}]+"),
    # ParseUtils.pm of 9 asks for Perl 5.36, in which these two are blanks in bytes as well.
    Release.PVE9: re.compile(f"[{BLANKS}\x85\xa0]+"),
}
CONTENT: Final = frozenset({"images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"})


def wrong(text: str) -> ValueWrongError:
    """Return the error of a format: its message has a line end of its own."""
    return ValueWrongError(f"invalid format - {text}\n")


def text(value: str) -> str:
    """Take any text."""
    return value


def longest(most: int) -> Read:
    """Return what takes texts of at most so many characters."""

    def read(value: str) -> str:
        if len(value) > most:
            raise ValueWrongError(f"value may only be {most} characters long")
        return value

    return read


def split_list(value: str, release: Release) -> list[str]:
    """Split as Proxmox VE does: at NULs if there are any, else at commas, semicolons and blanks."""
    if "\0" in value:
        return value.rstrip("\0").split("\0") if value.strip("\0") else []
    return [word for word in _BREAKS[release].split(value.replace(",", " ").replace(";", " ")) if word]


def listed(check: Callable[[str], None], release: Release) -> Read:
    """Return what takes a list of which each item passes; the text stays as it is."""

    def read(value: str) -> str:
        for item in split_list(value, release):
            check(item)
        return value

    return read


def checked(check: Callable[[str], None]) -> Read:
    """Return what takes a text that passes."""

    def read(value: str) -> str:
        check(value)
        return value

    return read


def integer(least: int | None = None, most: int | None = None) -> Read:
    """Return what reads a whole number within bounds; one that is too large for 64 bits becomes a fraction, as in Perl."""

    def read(value: str) -> int | float:
        if not _INTEGER.fullmatch(value):
            raise ValueWrongError(f"type check ('integer') failed - got '{value}'")
        found = _number(value)
        if most is not None and found > most:
            raise ValueWrongError(f"value must have a maximum value of {most}")
        if least is not None and found < least:
            raise ValueWrongError(f"value must have a minimum value of {least}")
        return found

    return read


def _number(value: str) -> int | float:
    digits = value.lstrip("+-").lstrip("0")
    if len(digits) > 20 or not -(2**63) <= (found := int(f"{'-' if value[0] == '-' else ''}{digits or '0'}")) < 2**64:
        return float(f"{float(value):.15g}")  # the digits that Perl shows
    return found


def step(*allowed: str) -> Read:
    """Return what reads one of these numbers, written exactly so."""

    def read(value: str) -> int:
        if not _INTEGER.fullmatch(value):
            raise ValueWrongError(f"type check ('integer') failed - got '{value}'")
        if value not in allowed:
            raise ValueWrongError(f"value '{value}' does not have a value in the enumeration '{', '.join(allowed)}'")
        return int(value)

    return read


# Formats


def storage_id(value: str, release: Release) -> str:
    """Return why this is no storage id, empty when it is one."""
    if release is Release.PVE9 and len(value) < 2:
        return f"storage ID '{value}' cannot be shorter than 2 characters\n"
    return "" if _ID.fullmatch(value) else f"storage ID '{value}' contains illegal characters\n"


def path(value: str) -> None:
    """Take what begins like an absolute path."""
    if len(value) < 2 or value[0] != "/" or value[1] in ";()":
        raise wrong("value does not look like a valid absolute path")


def server(value: str) -> None:
    """Take an address or a DNS name. Perl holds the name ``0`` for none."""
    if value == "0" or not (_is_ip(value) or all(map(_LABEL.fullmatch, value.split(".")))):
        raise wrong("value does not look like a valid server name or IP address")


def portal(value: str) -> None:
    """Take an address or name with an optional port: ``host:port``, ``[host]:port``, or ``v6.port``."""
    if not (_is_host_port(value) or _is_bracketed(value) or _is_ipv6_port(value)):
        raise wrong("value does not look like a valid portal address")


def _is_ip(value: str) -> bool:
    return bool(_IPV4.fullmatch(value)) or _is_ipv6(value)


def _is_ipv6(value: str) -> bool:
    """Tell an IPv6 address without zone. Perl's expression and Python's parser agree on all others."""
    if "%" in value or len(value) > _LONGEST_IPV6:
        return False
    try:
        return isinstance(ip_address(value), IPv6Address)
    except ValueError:
        return False


_LONGEST_IPV6: Final = 45


def _is_host_port(value: str) -> bool:
    host, colon, port = value.partition(":")
    return bool(_HOST.fullmatch(host)) and (not colon or bool(_PORT.fullmatch(port)))


def _is_bracketed(value: str) -> bool:
    host, bracket, rest = value[1:].partition("]")
    if value[:1] != "[" or not bracket or not (_is_ipv6(host) or _HOST.fullmatch(host)):
        return False
    return not rest or (rest[0] == ":" and bool(_PORT.fullmatch(rest[1:])))


def _is_ipv6_port(value: str) -> bool:
    host, dot, port = value.rpartition(".")
    return _is_ipv6(value) or (bool(dot) and _is_ipv6(host) and bool(_PORT.fullmatch(port)))


def content(value: str) -> None:
    """Take a type of content that any storage could hold."""
    if value not in CONTENT:
        raise wrong(f"invalid content type '{value}'")


def node(value: str) -> None:
    """Take a node's name."""
    if not _LABEL.fullmatch(value):
        raise wrong("value does not look like a valid node name")


def lvm_name(value: str) -> None:
    """Take the name of a volume group or thin pool."""
    if not _LVM_NAME.fullmatch(value):
        raise wrong(f"lvm name '{value}' contains illegal characters")


def config_id(value: str) -> None:
    """Take a configuration id."""
    if not _CONFIG_ID.fullmatch(value):
        raise wrong(f"invalid configuration ID '{value}'")


def mount_options(value: str) -> None:
    """Take what has no blank in it."""
    if any(blank in value for blank in BLANKS):
        raise wrong(f"invalid options '{value}'")


def volume_id(value: str) -> None:
    """Take ``STORAGE:VOLUME``."""
    storage, colon, volume = value.partition(":")
    if not (colon and volume and _ID.fullmatch(storage)):
        raise wrong(f"unable to parse volume ID '{value}'")


def directory_override(value: str) -> None:
    """Take ``CONTENT=PATH``, the path without two dots in a row or one at its end."""
    name, equals, where = value.partition("=")
    is_form = equals and re.fullmatch("[a-z]+", name, re.ASCII) and where and not where.endswith(".") and ".." not in where
    if is_form:
        content(name)
        if len(where) < _LONGEST_PATH and all(len(part) < _LONGEST_PART for part in where.split("/")):
            return
    raise wrong(f"invalid override '{value}'")


_LONGEST_PATH, _LONGEST_PART = 1023, 255


def fingerprint(value: str) -> None:
    """Take a SHA-256 fingerprint."""
    if not _FINGERPRINT.fullmatch(value):
        raise ValueWrongError("value does not match the regex pattern")


def block_size(value: str) -> None:
    """Take a power of two between 512 and 16 MiB, with ``k`` or ``m``."""
    match = _BLOCKSIZE.fullmatch(value)
    if not match:
        raise wrong(f"invalid ZFS blocksize format '{value}'. Use a positive number (no leading zeros) with an optional 'k' or 'm' suffix.")
    unit = {"": 1, "k": 1024, "m": 1024 * 1024}[(match[2] or "").lower()]
    size = int(match[1]) * unit if len(match[1]) < _LONGEST_SIZE else 0
    if not 512 <= size <= 16 * 1024 * 1024 or size & (size - 1):
        raise wrong(
            f"value '{value}' is not a valid ZFS blocksize. Must be a power of 2 between 512B and 16MiB (e.g., 4k, 8k, 16k, 64k, 1m)."
        )


_LONGEST_SIZE: Final = 12


# Property strings

_PRUNE: Final = frozenset({"keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"})
_KEEP_ALL: Final = "keep-all"
_LIMITS: Final = frozenset({"default", "restore", "migration", "clone", "move"})
_TRUE, _FALSE = frozenset({"1", "on", "yes", "true"}), frozenset({"0", "off", "no", "false"})


_UNDEFINED: Final = "property is not defined in schema and the schema does not allow additional properties"


def _parts(value: str) -> dict[str, str]:
    """Split ``key=value,key=value`` into its parts, of which each key comes once."""
    found: dict[str, str] = {}
    for part in value.split(","):
        if not part.strip(BLANKS):
            continue
        key, equals, rest = part.partition("=")
        if not equals:
            raise wrong("value without key, but schema does not define a default key")
        if not key or not rest:
            raise wrong("missing key in comma-separated list property")
        if key in found:
            raise wrong(f"duplicate key in comma-separated list property: {key}")
        found[key] = rest
    return found


def _checked_parts(found: Mapping[str, str], check: Callable[[str, str], str]) -> None:
    # Perl holds the name 0 for none, and takes the value as a whole for what is wrong.
    errors = [f"{'_root' if key == '0' else key}: {message}\n" for key, rest in sorted(found.items()) if (message := check(key, rest))]
    if errors:
        raise wrong(f"format error\n{''.join(errors)}".removesuffix("\n"))


def prune(value: str) -> None:
    """Take a list of what backups to keep."""
    found = _parts(value)
    if (everything := found.get(_KEEP_ALL, "").lower()) in _TRUE | _FALSE and everything:
        found[_KEEP_ALL] = "1" if everything in _TRUE else "0"
    _checked_parts(found, _prune_error)
    kept = [rest for key, rest in found.items() if key != _KEEP_ALL and _number(rest) > 0]
    if kept and found.get(_KEEP_ALL) == "1":
        raise wrong("keep-all cannot be set together with other options.")


def _prune_error(key: str, value: str) -> str:
    if key == _KEEP_ALL:
        return "" if value in ("0", "1") else f"type check ('boolean') failed - got '{value}'"
    if key not in _PRUNE:
        return _UNDEFINED
    if not _INTEGER.fullmatch(value):
        return f"type check ('integer') failed - got '{value}'"
    return "value must have a minimum value of 0" if _number(value) < 0 else ""


def bandwidth(value: str) -> None:
    """Take bandwidth limits in KiB/s."""
    _checked_parts(_parts(value), _limit_error)


def _limit_error(key: str, value: str) -> str:
    if key not in _LIMITS:
        return _UNDEFINED
    if not _NUMBER.fullmatch(value):
        return f"type check ('number') failed - got '{value}'"
    return "value must have a minimum value of 0" if float(value) < 0 else ""
