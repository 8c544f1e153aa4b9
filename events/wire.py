"""What agent (DEALER) and controller (ROUTER) say to each other: one msgpack array in one frame each.

``[protocol version, message type, fields…]``. The agent opens with ``Hello``; ``Welcome`` tells from where to go on. Batches follow
each other without waiting, several in flight; an ``Ack`` covers everything up to its sequence and is only sent for what is durable.
``Rewind`` asks to go back, after a batch was lost on the way. Sequences that the agent's spool had to drop show as a ``previous``
that is lower than the first sequence less one: only the spool knows that nothing was lost on the way, so only it can say so.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any, ClassVar, Final

import msgpack

from events.codec import MAX_BYTES, MAX_NAME
from events.errors import CodecError, MajorVersionError, OversizeError

PROTOCOL: Final = 1
"""Version of these messages; another one is refused with :class:`events.errors.MajorVersionError`."""
MAX_FRAME: Final = 1024 * 1024
"""Longest frame, bytes. A batch is filled to at most half of it, so that one more envelope always fits."""
MAX_BATCH: Final = 1000
"""Most envelopes in a batch."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Agent: this is my stream; ``first`` and ``last`` are what the spool still holds (first = last + 1: nothing)."""

    type: ClassVar[int] = 1
    node: str
    stream: str
    boot_id: str
    version: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """Controller: I have everything of this stream up to ``acked``."""

    type: ClassVar[int] = 2
    stream: str
    acked: int


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Agent: envelopes with the sequences ``first``, first + 1, …; ``previous`` is the sequence sent before them.

    ``previous`` < ``first`` - 1 declares that the spool dropped what lies between.
    """

    type: ClassVar[int] = 3
    stream: str
    previous: int
    first: int
    envelopes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Controller: everything of this stream up to ``seq`` is durable here."""

    type: ClassVar[int] = 4
    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class Rewind:
    """Controller: something is missing; go on behind ``seq``."""

    type: ClassVar[int] = 5
    stream: str
    seq: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Agent: I live; ``sources`` says of each source whether it sees (empty text) or why not."""

    type: ClassVar[int] = 6
    node: str
    stream: str
    last: int
    at: int
    sources: dict[str, str]


@dataclass(frozen=True, slots=True)
class Refused:
    """Controller: I cannot take that; the reason is for the agent's log."""

    type: ClassVar[int] = 7
    reason: str


Message = Hello | Welcome | EventBatch | Ack | Rewind | Heartbeat | Refused
_TYPES: Final[dict[int, type[Message]]] = {kind.type: kind for kind in (Hello, Welcome, EventBatch, Ack, Rewind, Heartbeat, Refused)}


def pack(message: Message) -> bytes:
    """Return a message's frame.

    :raises OversizeError: when it would exceed :data:`MAX_FRAME`.
    """
    # astuple copies deeply, which a batch of a thousand envelopes need not pay for
    values = (message.stream, message.previous, message.first, message.envelopes) if isinstance(message, EventBatch) else astuple(message)
    frame: bytes = msgpack.packb((PROTOCOL, message.type, *values))
    if len(frame) > MAX_FRAME:
        raise OversizeError(f"{type(message).__name__} of {len(frame)} bytes, more than {MAX_FRAME}")
    return frame


def unpack(frame: bytes | memoryview) -> Message:
    """Read a frame. Fields that a newer version appends are ignored.

    :raises OversizeError: when the frame, a batch or a name is too long.
    :raises MajorVersionError: when the other side speaks another protocol version.
    :raises CodecError: for anything else that is no message.
    """
    if len(frame) > MAX_FRAME:
        raise OversizeError(f"frame of {len(frame)} bytes, more than {MAX_FRAME}")
    try:
        values = msgpack.unpackb(
            frame, use_list=False, max_str_len=4096, max_bin_len=MAX_BYTES, max_array_len=MAX_BATCH, max_map_len=64, max_ext_len=0
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise CodecError(f"not msgpack: {type(error).__name__}: {error}") from error
    if not isinstance(values, tuple) or len(values) < 2:
        raise CodecError("frame is no message")
    if type(values[0]) is not int or values[0] != PROTOCOL:
        raise MajorVersionError(f"protocol version {_shown(values[0])}, this Faultline speaks {PROTOCOL}: update the older side")
    kind = _TYPES.get(values[1]) if type(values[1]) is int else None
    if kind is None:
        raise CodecError(f"unknown message type {_shown(values[1])}")
    return _build(kind, values[2:])


def _shown(value: Any) -> str:
    """Show a number; of anything else only its type: showing what is nested a thousand deep would exhaust the stack."""
    return str(value) if type(value) is int else f"of type {type(value).__name__}"


def _build(kind: type[Message], values: tuple[Any, ...]) -> Message:
    wanted = fields(kind)
    if len(values) < len(wanted):
        raise CodecError(f"{kind.__name__} has {len(values)} fields, expected {len(wanted)}")
    for one, value in zip(wanted, values, strict=False):
        _check(kind.__name__, one.name, str(one.type), value)
    message = kind(*values[: len(wanted)])
    if isinstance(message, EventBatch) and not message.previous < message.first < 2**63 - len(message.envelopes):
        raise CodecError(f"EventBatch's sequences are in no order: {message.first} after {message.previous}")
    return message


def _check(message: str, name: str, wanted: str, value: Any) -> None:
    match wanted:
        case "str":
            right = isinstance(value, str) and len(value) <= (4096 if name == "reason" else MAX_NAME)
        case "int":
            right = type(value) is int and 0 <= value < 2**63
        case "tuple[bytes, ...]":
            right = isinstance(value, tuple) and len(value) > 0 and all(type(one) is bytes for one in value)
        case _:
            right = isinstance(value, dict) and all(isinstance(key, str) and isinstance(text, str) for key, text in value.items())
    if not right:
        raise CodecError(f"{message}'s {name} is not {wanted}")
