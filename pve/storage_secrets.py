"""What of storage.cfg may be shown: properties and warnings without the secrets that people typed into the file.

Proxmox VE keeps secrets in /etc/pve/priv, but its parser takes them from storage.cfg as well, and its warnings repeat the lines that it
does not understand. Mount options that hold a password themselves: mount.cifs(8), mount.ceph(8).
"""

from __future__ import annotations

import re
from typing import Any, Final

from pve.section_config import BLANKS, Warned

MASK: Final = "***"
SECRETS: Final = frozenset({"password", "keyring", "encryption-key", "master-pubkey"})
"""Properties whose values go no further than the parser."""
_OPTION: Final = re.compile(r"(?i)\b(pass(?:word)?|password2|secret|cred(?:entials)?)=[^,]*")
_NAMED: Final = re.compile(
    rf"(?is)(?:pass(?:word|wd|phrase)?2?|cred(?:ential)?s?|secret|keyring|encryption[-_]?key|master[-_]?pubkey)(?=[{BLANKS}:='\"])(.*)"
)
_AROUND: Final = f"{BLANKS}:='\""
"""What stands between a name and its value, or around it."""
_REPEATED: Final = ("ignore config line:", "unable to parse value of", "(skip section")
"""Warnings that repeat something of their line, behind these words."""
_SILENT: Final = re.compile(
    r"file \S+ line [0-9]+ (?:\(skip section '[^']*'\): "
    r"(?:missing value for|illegal path for|unable to combine|storage does not support content)"
    rf"|\(section '[^']*'\) - unable to parse value of '(?:{'|'.join(sorted(SECRETS))})': )"
)
"""Warnings that repeat no value of the line that they name: those of a whole section, and those of a secret."""


def as_read(text: str) -> str:
    """Return a text of the file as people read it: what is Latin-1 to the parser is UTF-8 to them."""
    return text.encode("latin-1", "replace").decode("utf-8", "replace")


def public_value(name: str, value: Any) -> str:
    """Return a property's value as text: lists in alphabetical order, of a secret only that it is there."""
    if name in SECRETS:
        return MASK
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    if isinstance(value, dict):
        return ",".join(f"{key}={where}" for key, where in sorted(value.items()))
    text = as_read(str(int(value) if isinstance(value, bool) else value))
    return _OPTION.sub(rf"\1={MASK}", text) if name == "options" else text


def public_warning(warned: Warned, line: str) -> str:
    """Return a warning's text without what stands behind the name of a secret in ``line``, which it is about."""
    text, secret = warned.text, _secret(line)
    places = [place for words in _REPEATED if (place := text.find(words)) >= 0]
    if not secret or not places or _SILENT.match(text):
        return as_read(text)
    if text.endswith(line):
        return as_read(text[: -len(line)] + line[: line.index(secret)] + MASK)
    return as_read(text[: min(places)] + text[min(places) :].replace(secret, MASK))


def _secret(line: str) -> str:
    """Return what stands behind the first name of a secret in a line, without blanks and marks around it."""
    match = _NAMED.search(line)
    return match[1].strip(_AROUND) if match else ""
