"""storage.cfg as Proxmox VE reads it: ids, order, digest, warnings, and the sections that blind every node.

Source: ``parse_config``, ``decode_value`` and ``parse_section_header`` of pve-storage ``PVE/Storage/Plugin.pm``, ``check_config`` of its
``DirPlugin.pm`` and ``NFSPlugin.pm``, 9.1.7 and 8.3.8. A section without content stays registered: ``PVE::Storage::storage_info`` then dies
with `storage 'X' does not exist`, so that pvestatd tells no storage at all, on every node.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from pve.release import Release
from pve.section_config import Broken, Kind, Property, Section, ValueWrongError, Warn, Warned
from pve.section_config import parse as parse_sections
from pve.storage_formats import split_list, storage_id
from pve.storage_secrets import as_read, public_value, public_warning
from pve.storage_types import PROPERTIES, TYPES, StorageType

FILE: Final = "storage.cfg"
LOCAL: Final = "local"
_LOCAL_PATH: Final = "/var/lib/vz"
_LOCAL_CONTENT: Final = frozenset({"backup", "images", "iso", "rootdir", "snippets", "vztmpl"})
_DIRECTORY: Final = re.compile(r"/[-/a-zA-Z0-9_.@]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage. ``values`` is what Proxmox VE holds, secrets included: it is for comparing, never for telling."""

    id: str
    type: str
    content: frozenset[str]
    nodes: frozenset[str] | None
    """Nodes that may use it; None means all."""
    disabled: bool
    shared: bool
    line: int
    """Of its header, from 1; 0 for a `local` that Proxmox VE put in."""
    values: Mapping[str, Any] = field(repr=False)

    @property
    def public(self) -> dict[str, str]:
        """Return all properties but type, as text, in alphabetical order; of a secret only that it is there."""
        return {name: public_value(name, value) for name, value in sorted(self.values.items()) if name != "type"}


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The whole file. ``ids`` holds None for a section that is there without content."""

    ids: Mapping[str, Storage | None]
    order: Mapping[str, int]
    digest: str
    """SHA-1 of the bytes in hex, as Proxmox VE's API gives it."""
    warnings: tuple[Warned, ...] = field(repr=False)
    """As Proxmox VE gives them; ``public_warnings`` are for showing."""
    broken: tuple[Broken, ...]
    errors: int
    """Properties that were ignored for a wrong value."""
    source: str = field(repr=False, compare=False)
    """The file as Latin-1."""

    @property
    def storages(self) -> dict[str, Storage]:
        """Return the storages that Proxmox VE can use, in the order of its list."""
        found = {name: one for name, one in self.ids.items() if one is not None}
        return dict(sorted(found.items(), key=lambda item: (self.order.get(item[0], 0), item[0])))

    @property
    def public_warnings(self) -> tuple[str, ...]:
        """Return the warnings' texts without the secrets that stood in their lines."""
        if not self.warnings:
            return ()
        lines = self.source.split("\n")
        return tuple(public_warning(one, lines[one.line - 1]) for one in self.warnings)

    def vector(self) -> dict[str, Any]:
        """Return what Proxmox VE's own parser returns, as plain data. Secrets are in it as they are in the file."""
        undefined = [one.id for one in self.broken]
        fatal = f"storage_info() dies: storage '...' does not exist (undefined ids: {' '.join(sorted(undefined))})"
        return {
            "ids": {
                name: None if one is None else {key: _plain(value) for key, value in one.values.items()} for name, one in self.ids.items()
            },
            "order": dict(self.order),
            "digest": self.digest,
            "error_count": self.errors,
            "warnings": [one.text + one.ending for one in self.warnings],
            "died": None,
            "consequence": fatal if undefined else None,
        }


def parse(data: bytes, release: Release = Release.PVE9, filename: str = FILE) -> StorageConfig:
    """Read the file's bytes, none for a file that is not there. Any bytes give a value, as they do for Proxmox VE."""
    found = parse_sections(data, filename, _KINDS[release], lambda _, name: (name, storage_id(name, release)))
    ids = {name: _storage(section, release) for name, section in found.sections.items()}
    broken = tuple(replace(one, reason=as_read(one.reason)) for one in found.gone if one.id != LOCAL)
    local = ids.get(LOCAL)
    if local is None or local.type != "dir" or local.values["path"] != _LOCAL_PATH:
        ids[LOCAL] = _FORCED
    else:
        kept = {name: value for name, value in local.values.items() if name != "nodes"}
        ids[LOCAL] = Storage(LOCAL, "dir", local.content, None, local.disabled, local.shared, local.line, MappingProxyType(kept))
    everything: dict[str, Storage | None] = {**ids, **{one.id: None for one in broken}}
    return StorageConfig(everything, found.order, found.digest, found.warnings, broken, found.errors, data.decode("latin-1"))


def _storage(section: Section, release: Release) -> Storage:
    known = TYPES[release][section.type]
    values = {**section.values, "type": section.type}
    values.setdefault("content", known.default)
    if known.shared:
        values["shared"] = True
    return Storage(
        section.id,
        section.type,
        values["content"],
        values.get("nodes"),
        bool(values.get("disable", False)),
        bool(values.get("shared", False)),
        section.line,
        MappingProxyType(values),
    )


_FORCED: Final = Storage(
    LOCAL,
    "dir",
    _LOCAL_CONTENT,
    None,
    False,
    False,
    0,
    MappingProxyType({"type": "dir", "priority": 0, "path": _LOCAL_PATH, "prune-backups": "keep-all=1", "content": _LOCAL_CONTENT}),
)
"""What Proxmox VE puts in the place of a `local` that is missing, broken, or another thing than /var/lib/vz."""


def _decode(section: Section, warn: Warn, known: StorageType, release: Release) -> None:
    """Turn lists into what they mean for this type. Only the first wrong one is told: Proxmox VE then gives the section up."""
    values = section.values
    if known.mounted:
        values.setdefault("path", f"/mnt/pve/{section.id}")
    for name in list(values):
        match name:
            case "content":
                values[name] = _content(values[name], warn, known, release)
            case "nodes":
                values[name] = frozenset(split_list(values[name], release)) - {"0"}  # a name that Perl holds for none
            case "content-dirs":
                values[name] = _directories(values[name], warn, known, release)
            case "format" if values[name] not in known.formats:
                warn(f"storage does not support format '{values[name]}'")
                del values[name]
            case _:
                pass


def _content(value: str, warn: Warn, known: StorageType, release: Release) -> frozenset[str]:
    found = set()
    for one in split_list(value, release):
        if one in known.content:
            found.add(one)
        else:
            warn(f"storage does not support content type '{one}'")
    if "none" in found and len(found) > 1:
        raise ValueWrongError("unable to combine 'none' with other content types")
    if not found and "none" not in known.content:
        raise ValueWrongError("storage does not support content type 'none'")
    return frozenset(found)


def _directories(value: str, warn: Warn, known: StorageType, release: Release) -> dict[str, str]:
    found = {}
    for one in split_list(value, release):
        name, _, where = one.partition("=")
        if name in known.content:
            found[name] = where
        else:
            warn(f"storage does not support content type '{name}'")
    return found


def _finish(section: Section, _warn: Warn) -> None:
    path = section.values["path"]
    if not _DIRECTORY.fullmatch(path):
        raise ValueWrongError(f"illegal path for directory storage: {path}")
    section.values["path"] = _canonical(path)


def _canonical(path: str) -> str:
    """Clean a path as File::Spec::Unix does: no empty or ``.`` parts, no ``..`` above the root, no slash at the end."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    while parts and parts[0] == "..":
        del parts[0]
    return f"/{'/'.join(parts)}"


def _kind(known: StorageType, release: Release) -> Kind:
    readers = PROPERTIES[release]
    taken = known.required | known.optional
    properties = {name: Property(readers[name].read, name in known.required, readers[name].is_flag) for name in taken}
    decode = partial(_decode, known=known, release=release)
    others = frozenset({*readers, "type", "storage"}) - taken
    return Kind(properties, others, decode, _finish) if known.checks_path else Kind(properties, others, decode)


_KINDS: Final = {release: {name: _kind(one, release) for name, one in types.items()} for release, types in TYPES.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return dict.fromkeys(sorted(value), 1)
    if value == math.inf:
        return "Inf"  # Perl's word for a number of more than 308 digits; JSON has none
    return int(value) if isinstance(value, bool) else value
