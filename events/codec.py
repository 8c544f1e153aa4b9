"""Envelope to msgpack bytes and back.

The envelope is one msgpack array ``[major, minor, cluster, node, boot id, stream, seq, observed-at, monotonic, kind, body, …]``;
the body is a map without ``kind``. What a newer minor version appends is kept. What cannot be read raises
:class:`events.errors.CodecError`, never anything else: bytes come from the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isfinite
from typing import Any, Final

import msgpack

from events.base import Event
from events.envelope import NOTHING, SCHEMA_MAJOR, SCHEMA_MINOR, Envelope, UnknownEvent
from events.errors import CodecError, MajorVersionError, OversizeError
from events.vocabulary import KINDS, build

MAX_BYTES: Final = 64 * 1024
"""Longest encoded envelope. The longest of ours is under 4 KiB; the rest is room for newer versions."""
MAX_DEPTH: Final = 8
"""Deepest nesting of maps and arrays within a body."""
MAX_ITEMS: Final = 4096
"""Most elements in one map or array."""
MAX_NAME: Final = 255
"""Longest cluster, node, boot id, stream or kind, characters."""

_FIELDS: Final = 11
_NUMBERS: Final = 2**63
"""Numbers are smaller: SQLite holds no larger ones."""
LATEST: Final = 253_402_300_799_999_999
"""Last time at which anything can be observed, UTC µs: the end of the year 9999, behind which :class:`datetime.datetime` ends."""
_made: Final = tuple.__new__
"""Makes an envelope of a tuple of all its fields in half the time: one is made of each event that arrives."""
_PLAIN: Final = frozenset({str, int, bool, type(None)})


def encode(envelope: Envelope) -> bytes:
    """Return the envelope's bytes.

    :raises OversizeError: when they would exceed :data:`MAX_BYTES`.
    """
    event = envelope.event
    body = event.body if isinstance(event, UnknownEvent) else _dump(event)
    if envelope.extra:
        body = {**body, **envelope.extra}
    packed: bytes = msgpack.packb(
        (
            SCHEMA_MAJOR,
            envelope.minor,
            envelope.cluster,
            envelope.node,
            envelope.boot_id,
            envelope.stream,
            envelope.seq,
            envelope.observed_at,
            envelope.monotonic,
            event.kind,
            body,
            *envelope.tail,
        )
    )
    if len(packed) > MAX_BYTES:
        raise OversizeError(f"event {event.kind} of {envelope.identity} takes {len(packed)} bytes, more than {MAX_BYTES}")
    return packed


def _dump(event: Event) -> dict[str, Any]:
    body: dict[str, Any] = event.__pydantic_serializer__.to_python(event, mode="json", exclude_defaults=True)
    body.pop("kind", None)
    return body


def decode(data: bytes | memoryview) -> Envelope:
    """Read one envelope.

    :raises OversizeError: when the bytes, a container or a name exceed this module's limits.
    :raises MajorVersionError: when the sender speaks another major version.
    :raises CodecError: for anything else that is not an envelope of ours; the message names the part.
    """
    if len(data) > MAX_BYTES:
        raise OversizeError(f"envelope of {len(data)} bytes, more than {MAX_BYTES}")
    return from_wire(_unpack(data))


def _unpack(data: bytes | memoryview) -> Any:
    try:
        return msgpack.unpackb(
            data,
            use_list=False,
            strict_map_key=True,
            max_str_len=MAX_BYTES,
            max_bin_len=MAX_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    # msgpack raises ValueError and its subclasses for broken input, and passes on what str() of a bad UTF-8 raises
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise CodecError(f"not msgpack: {type(error).__name__}: {error}") from error


def from_wire(fields: Any) -> Envelope:
    """Read one envelope from its unpacked array. Raises as :func:`decode`."""
    if not isinstance(fields, tuple) or not fields:
        raise CodecError(f"envelope is {type(fields).__name__}, not an array")
    major = fields[0]
    if type(major) is not int or major != SCHEMA_MAJOR:
        shown = major if type(major) is int else f"of type {type(major).__name__}"
        raise MajorVersionError(f"envelope has major version {shown}, this Faultline reads {SCHEMA_MAJOR}: update the older side")
    tail: tuple[Any, ...] = ()
    if len(fields) != _FIELDS:
        if len(fields) < _FIELDS:
            raise CodecError(f"envelope has {len(fields)} elements, expected {_FIELDS}")
        fields, tail = fields[:_FIELDS], fields[_FIELDS:]
    _, minor, cluster, node, boot_id, stream, seq, observed_at, monotonic, kind, body = fields
    if not (
        type(minor) is type(seq) is type(observed_at) is type(monotonic) is int
        and 0 <= minor < _NUMBERS
        and 0 < seq < _NUMBERS
        and 0 <= observed_at <= LATEST
        and 0 <= monotonic < _NUMBERS
        and type(cluster) is type(node) is type(boot_id) is type(stream) is type(kind) is str
        and _are_names(cluster, node, boot_id, stream, kind)
    ):
        _explain(fields)
    if type(body) is not dict:
        raise CodecError("envelope's body is not a map")
    event: Event | UnknownEvent
    extra = NOTHING
    if kind in KINDS and minor <= SCHEMA_MINOR and not tail:
        event = build(kind, body)
    else:
        # What is only passed on must be checked here; of our own kinds the model checks every field.
        _check((body, *tail), MAX_DEPTH)
        event, extra = _newer(kind, body, minor)
    return _made(Envelope, (cluster, node, boot_id, stream, seq, observed_at, monotonic, event, minor, extra, tail))


@lru_cache(maxsize=1024)
def _are_names(*texts: str) -> bool:
    """Remembered, for thousands of envelopes come from one stream of one node."""
    return all(0 < len(text) <= MAX_NAME for text in texts)


def _explain(fields: tuple[Any, ...]) -> None:
    """Say which part of the header is wrong: apart from the check, which every envelope passes through."""
    _, minor, cluster, node, boot_id, stream, seq, observed_at, monotonic, kind = fields[: _FIELDS - 1]
    for name, text in (("cluster", cluster), ("node", node), ("boot id", boot_id), ("stream", stream), ("kind", kind)):
        if type(text) is not str or not text:
            raise CodecError(f"envelope's {name} is not a text")
        if len(text) > MAX_NAME:
            raise OversizeError(f"envelope's {name} has {len(text)} characters, more than {MAX_NAME}")
    for name, number, least, most in (
        ("minor version", minor, 0, _NUMBERS - 1),
        ("sequence", seq, 1, _NUMBERS - 1),
        ("observed-at", observed_at, 0, LATEST),
        ("monotonic", monotonic, 0, _NUMBERS - 1),
    ):
        if type(number) is not int or not least <= number <= most:
            raise CodecError(f"envelope's {name} is not a number from {least} to {most}")


def _newer(kind: str, body: dict[str, Any], minor: int) -> tuple[Event | UnknownEvent, Mapping[str, Any]]:
    model = KINDS.get(kind)
    if model is None:
        return UnknownEvent(kind, body), NOTHING
    if minor <= SCHEMA_MINOR:
        return build(kind, body), NOTHING
    fields = model.model_fields
    known = {name: value for name, value in body.items() if name in fields}
    try:
        return build(kind, known), {name: value for name, value in body.items() if name not in fields}
    except CodecError:
        # A newer version may have widened a field's values: what we cannot judge we still keep.
        return UnknownEvent(kind, body), NOTHING


def _check(items: Iterable[Any], left: int) -> None:
    """Refuse what JSON could not carry on (streams and reports are JSON), and containers nested deeper than ``left``."""
    for value in items:
        kind = type(value)
        if kind in _PLAIN:
            continue
        if kind is float:
            if not isfinite(value):
                raise CodecError(f"event body holds the number {value}, which JSON does not have")
        elif kind is not dict and kind is not tuple:
            raise CodecError(f"event body holds a value of type {kind.__name__}, which JSON does not have")
        elif not left:
            raise OversizeError(f"event body is nested deeper than {MAX_DEPTH}")
        elif kind is tuple:
            _check(value, left - 1)
        else:
            for key in value:
                if type(key) is not str:
                    raise CodecError("event body has a key that is not a text")
            _check(value.values(), left - 1)
