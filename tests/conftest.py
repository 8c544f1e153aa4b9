"""What all tests share: how hard the property tests try, and how to make any entity, event and envelope.

``st.from_type(Entity)``, ``st.from_type(Event)`` (any kind), ``st.from_type(<a kind>)`` and ``st.from_type(Envelope)``
work in every test; they are made from the models themselves, so a new kind is covered the day it is added.
"""

from __future__ import annotations

import os
import types
import typing
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from events.base import Event, Seen
from events.entity import Entity, EntityKind
from events.envelope import SCHEMA_MINOR, Envelope
from events.vocabulary import KINDS, parts

settings.register_profile("short", max_examples=40, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("long" if os.environ.get("FAULTLINE_LONG") else "short")

_COMPUTE = (
    "tests/ceph/test_replays.py",
    "tests/fuzz/",
    "tests/test_campaign.py",
    "tests/test_clusters.py",
    "tests/test_lab_recordings.py",
    "tests/test_localize.py",
    "tests/test_replay.py",
    "tests/test_scenarios.py",
    "tests/unit/pve/",
)
"""Tests that start no process, bind no port and wait for nothing."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With two workers (``make test``), all that start processes or wait run one after the other in one of them, as they do alone."""
    for item in items:
        if not item.nodeid.startswith(_COMPUTE):
            item.add_marker(pytest.mark.xdist_group("processes"))


KEY = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs"]), min_size=1, max_size=200)
NUMBER = st.integers(0, 2**63 - 1)


def field_strategy(annotation: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Return values for a field of an event model, within the bounds that its metadata states."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return field_strategy(arguments[0], (*metadata, *arguments[1:]))
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(field_strategy(arm) for arm in arguments))
    if origin is tuple:
        return st.lists(field_strategy(arguments[0]), max_size=5).map(tuple)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if annotation in (str, int, float):
        return bounded_strategy(annotation, dict(bound for item in metadata for bound in bounds_of(item)))
    return st.from_type(annotation)


def bounded_strategy(annotation: Any, bounds: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return texts or numbers within bounds; a field without the bounds that it must have is a KeyError."""
    if annotation is int:
        return st.integers(bounds["ge"], bounds.get("le", 2**63 - 1))
    if annotation is float:
        return st.floats(bounds["ge"], bounds.get("le"), allow_nan=False, allow_infinity=False)
    if pattern := bounds.get("pattern"):
        return st.from_regex(pattern, fullmatch=True).map(str.strip)
    return st.text(min_size=bounds.get("min_length", 0), max_size=bounds["max_length"])


def bounds_of(item: Any) -> list[tuple[str, Any]]:
    """Return (name, value) for each bound that a piece of field metadata states, whatever class of whatever library states it."""
    nested = getattr(item, "metadata", None)
    if isinstance(nested, list):
        return [bound for part in nested for bound in bounds_of(part)]
    names = ("min_length", "max_length", "pattern", "ge", "le")
    return [(name, getattr(item, name)) for name in names if getattr(item, name, None) is not None]


def model_strategy(model: type[Any]) -> st.SearchStrategy[Any]:
    """Return instances of an event model; optional fields are there or not."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, info in model.model_fields.items():
        if not (issubclass(model, Event) and name in ("kind", "state")):
            (required if info.is_required() else optional)[name] = field_strategy(info.annotation, tuple(info.metadata))
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: model(**fields))


def entities() -> st.SearchStrategy[Entity]:
    """Return any entity."""
    return st.builds(Entity, st.sampled_from(EntityKind), KEY)


def envelopes() -> st.SearchStrategy[Envelope]:
    """Return envelopes of this schema version, with an event of any kind."""
    name = st.text(min_size=1, max_size=255)
    return st.builds(
        Envelope,
        cluster=name,
        node=name,
        boot_id=name,
        stream=name,
        seq=NUMBER.filter(bool),
        observed_at=NUMBER,
        monotonic=NUMBER,
        event=st.from_type(Event),
        minor=st.just(SCHEMA_MINOR),
        extra=st.just({}),
        tail=st.just(()),
    )


st.register_type_strategy(Entity, entities())
st.register_type_strategy(Seen, lambda _: model_strategy(Seen))
for _model in (*KINDS.values(), *parts()):
    st.register_type_strategy(_model, model_strategy)
st.register_type_strategy(Event, lambda _: st.sampled_from(sorted(KINDS)).flatmap(lambda kind: model_strategy(KINDS[kind])))
st.register_type_strategy(Envelope, envelopes())
