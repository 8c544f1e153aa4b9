"""``datacenter.cfg``: what the cluster has set for HA, for its scheduler and for migrations.

Source: pve-cluster ``PVE/DataCenterConfig.pm`` 9.1.6, pve-common ``PVE/JSONSchema.pm`` (``parse_config``, ``parse_property_string``).
Lines are ``key: value``, some values lists of ``name=value``. As in Proxmox VE a key whose value is wrong is as good as not there. Other
keys are left out: ``http_proxy`` may hold a password.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, TypeVar

from pve.notice import Notice, Notices

FILE: Final = "datacenter.cfg"
SHUTDOWN_POLICIES: Final = frozenset({"freeze", "failover", "conditional", "migrate"})
FENCING: Final = frozenset({"watchdog", "hardware", "both"})
_TRUE: Final = frozenset({"1", "on", "yes", "true"})
_FALSE: Final = frozenset({"0", "off", "no", "false"})
_LINE: Final = re.compile(r"([^\s:]+):\s*(.*)")


@dataclass(frozen=True, slots=True)
class Crs:
    """How the HA manager chooses nodes. The rebalancer (pve-ha-manager 5.2.0 and later) moves guests by itself, also back."""

    ha: str = "basic"
    """``basic``, ``static`` or ``dynamic``."""
    rebalance_on_start: bool = False
    auto_rebalance: bool = False
    threshold: float = 30.0
    """Imbalance from which guests are moved, percent; a fraction of 1 in pve-ha-manager 5.2.0."""
    method: str = "bruteforce"
    hold_duration: float = 3.0
    """Rounds of 10 s for which it must be exceeded."""
    margin: float = 10.0
    """Improvement that a move must bring, percent."""


@dataclass(frozen=True, slots=True)
class Migration:
    """Over which network guests move. An empty ``network`` is the one of the cluster's own addresses."""

    type: str = "secure"
    network: str = ""


@dataclass(frozen=True, slots=True)
class DatacenterCfg:
    """The settings that concern storage and HA, defaults filled in."""

    shutdown_policy: str = "conditional"
    """What HA does with a node's guests when the node is shut down."""
    fencing: str = "watchdog"
    crs: Crs = Crs()
    migration: Migration = Migration()
    replication: Migration = Migration()
    digest: str = ""
    """SHA-1 of the bytes."""
    notices: tuple[Notice, ...] = ()


class _WrongError(Exception):
    """A value is not what its key allows."""


_Value = TypeVar("_Value")


def parse(data: bytes) -> DatacenterCfg:
    """Read the file's bytes. Any bytes give a value; ``notices`` name the lines that Proxmox VE would not accept either."""
    notices = Notices()
    lines = dict(_lines(data.decode("utf-8", "replace"), notices))
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()

    def take(key: str, build: Callable[[str], _Value], default: _Value) -> _Value:
        number, text = lines.get(key, (0, ""))
        try:
            return build(text) if text else default
        except _WrongError as error:
            notices.add(number, f"{key}: {error}; the default holds")
            return default

    migration = Migration("insecure" if take("migration_unsecure", _boolean, default=False) else "secure")
    return DatacenterCfg(
        take("ha", _shutdown_policy, "conditional"),
        take("fencing", lambda text: _one_of(text, FENCING), "watchdog"),
        take("crs", _crs, Crs()),
        take("migration", _migration, migration),
        take("replication", _migration, Migration()),
        digest,
        notices.all(),
    )


def _lines(text: str, notices: Notices) -> Iterator[tuple[str, tuple[int, str]]]:
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if match := _LINE.fullmatch(line):
            yield match[1], (number, match[2])
        else:
            notices.add(number, "no 'key: value'")


def properties(text: str, default_key: str = "") -> dict[str, str]:
    """Split a property string ``name=value,…``; one value may stand alone when there is a ``default_key``.

    :raises _WrongError: when a name comes twice or a value has none.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        if not part.strip():
            continue
        name, mark, value = part.partition("=")
        if not mark:
            name, value = default_key, part
        if not name or not value or name in found:
            raise _WrongError("a name comes twice, or a part is no 'name=value'")
        found[name] = value
    return found


def _known(text: str, names: Mapping[str, str], default_key: str = "") -> dict[str, str]:
    found = properties(text, default_key)
    if not found.keys() <= names.keys():
        raise _WrongError("it has a name that is not known")
    return {names[name]: value for name, value in found.items()}


def _one_of(text: str, allowed: frozenset[str]) -> str:
    if text not in allowed:
        raise _WrongError(f"one of {', '.join(sorted(allowed))} is expected")
    return text


def _boolean(text: str) -> bool:
    if (folded := text.lower()) not in _TRUE | _FALSE:
        raise _WrongError("0 or 1 is expected")
    return folded in _TRUE


def _number(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text, re.ASCII):
        raise _WrongError("a number of 0 or more is expected")
    return float(text)


def _percent(text: str) -> float:
    if (value := _number(text)) > 100:
        raise _WrongError("at most 100 is expected")
    return value


def _network(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError as error:
        raise _WrongError("a network as 10.0.0.0/24 is expected") from error
    return text


def _shutdown_policy(text: str) -> str:
    return _one_of(_known(text, {"shutdown_policy": "policy"}).get("policy", ""), SHUTDOWN_POLICIES)


def _migration(text: str) -> Migration:
    found = _known(text, {"type": "type", "network": "network"}, "type")
    kind = _one_of(found.get("type", "secure"), frozenset({"secure", "insecure"}))
    return Migration(kind, _network(found["network"]) if "network" in found else "")


_CRS_FIELDS: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "ha": ("ha", lambda text: _one_of(text, frozenset({"basic", "static", "dynamic"}))),
    "ha-rebalance-on-start": ("rebalance_on_start", _boolean),
    "ha-auto-rebalance": ("auto_rebalance", _boolean),
    "ha-auto-rebalance-threshold": ("threshold", _percent),
    "ha-auto-rebalance-method": ("method", lambda text: _one_of(text, frozenset({"bruteforce", "topsis"}))),
    "ha-auto-rebalance-hold-duration": ("hold_duration", _number),
    "ha-auto-rebalance-margin": ("margin", _percent),
}


def _crs(text: str) -> Crs:
    found = _known(text, {name: name for name in _CRS_FIELDS})
    if any(name.startswith("ha-auto-rebalance-") for name in found) and "ha-auto-rebalance" not in found:
        raise _WrongError("its ha-auto-rebalance-… names need ha-auto-rebalance")
    values: dict[str, object] = {_CRS_FIELDS[name][0]: _CRS_FIELDS[name][1](value) for name, value in found.items()}
    return Crs(**values)  # type: ignore[arg-type]  # the table pairs each field with its type
