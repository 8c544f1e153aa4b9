"""All kinds of events, by family, in one registry: the closed vocabulary of this schema version."""

from __future__ import annotations

from functools import reduce
from operator import or_
from types import ModuleType
from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter, ValidationError

from events import agent, block, ceph, cluster, definitions, host, iscsi, multipath, nfs
from events.base import Event, Frozen
from events.errors import CodecError

FAMILIES: dict[str, ModuleType] = {
    "NFS": nfs,
    "iSCSI": iscsi,
    "Multipath": multipath,
    "SCSI and LVM": block,
    "Ceph": ceph,
    "Proxmox VE: pmxcfs, cluster, HA": cluster,
    "What the cluster is made of": definitions,
    "What a node is made of": host,
    "Agent": agent,
}
"""Module of each family, in the order in which `docs/events.md` prints them."""


def kinds_of(module: ModuleType) -> list[type[Event]]:
    """Return a family's kinds in order of definition."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event) and value.__module__ == module.__name__
    ]


def parts() -> list[type[Frozen]]:
    """Return the values that fields of events are made of, in order of definition."""
    return [
        value
        for module in FAMILIES.values()
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Frozen) and not issubclass(value, Event) and value.__module__ == module.__name__
    ]


def kind_name(model: type[Event]) -> str:
    """Return the wire name of a kind, e.g. ``nfs.server.unreachable``."""
    return str(model.model_fields["kind"].default)


KINDS: dict[str, type[Event]] = {kind_name(model): model for module in FAMILIES.values() for model in kinds_of(module)}
"""Wire name to model."""


def build(kind: str, body: dict[str, Any]) -> Event:
    """Validate the fields of a known kind.

    :raises KeyError: when the kind is not in this vocabulary.
    :raises CodecError: when a field is missing, unknown or of a wrong type; the message names it.
    """
    model = KINDS[kind]
    try:
        # Straight to the validator: model_validate() does the same and costs a third more. It is made on first use (defer_build).
        return cast("Event", model.__pydantic_validator__.validate_python(body))
    except ValidationError as error:
        raise CodecError(f"event {kind}: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """Say in one line which fields are wrong and why, without repeating their (unbounded) values."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'event'}: {item['msg']}" for item in error.errors(include_url=False, include_input=False)[:5]
    )


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of all kinds as one discriminated union."""
    union: Any = Annotated[reduce(or_, KINDS.values()), Field(discriminator="kind")]
    schema = TypeAdapter(union).json_schema()
    for definition in schema["$defs"].values():
        if "kind" in definition.get("properties", {}):  # it has a default in code, but only it tells a reader what it reads
            definition["required"] = ["kind", *definition["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Faultline event", **schema}
