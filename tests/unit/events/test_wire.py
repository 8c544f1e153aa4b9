from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink import BATCH, BATCH_BYTES
from events.codec import MAX_BYTES
from events.errors import CodecError, MajorVersionError, OversizeError
from events.wire import (
    MAX_BATCH,
    MAX_FRAME,
    PROTOCOL,
    Ack,
    EventBatch,
    Heartbeat,
    Hello,
    Message,
    Refused,
    Rewind,
    Welcome,
    pack,
    unpack,
)

NAME = st.text(max_size=255)
NUMBER = st.integers(0, 2**63 - 1)
SOME = [
    Hello("pve1", "5eed", "b007", "0.1.0", 1, 2),
    Welcome("5eed", 7),
    EventBatch("5eed", 0, 1, (b"x",)),
    Ack("5eed", 7),
    Rewind("5eed", 7),
    Heartbeat("pve1", "5eed", 7, 8, {"journald": "", "pmxcfs": "hangs"}),
    Refused("no"),
]


def batches() -> st.SearchStrategy[EventBatch]:
    """Return batches in order: previous < first, and the last sequence is still a number."""
    first = st.integers(1, 2**63 - 1 - MAX_BATCH)
    envelopes = st.lists(st.binary(max_size=100), min_size=1, max_size=20).map(tuple)
    return first.flatmap(lambda number: st.builds(EventBatch, NAME, st.integers(0, number - 1), st.just(number), envelopes))


def messages() -> st.SearchStrategy[Message]:
    """Return any message."""
    return st.one_of(
        st.builds(Hello, NAME, NAME, NAME, NAME, NUMBER, NUMBER),
        st.builds(Welcome, NAME, NUMBER),
        batches(),
        st.builds(Ack, NAME, NUMBER),
        st.builds(Rewind, NAME, NUMBER),
        st.builds(Heartbeat, NAME, NAME, NUMBER, NUMBER, st.dictionaries(NAME, NAME, max_size=8)),
        st.builds(Refused, st.text(max_size=1000)),
    )


def frame(*values: Any) -> bytes:
    """Return the frame of an array."""
    packed: bytes = msgpack.packb(values)
    return packed


@given(messages())
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    """What is packed on one side is what is unpacked on the other."""
    assert unpack(pack(message)) == message


@pytest.mark.parametrize("message", SOME, ids=lambda message: type(message).__name__)
def test_fields_of_a_newer_version_are_ignored(message: Message) -> None:
    """A newer minor version may append fields: an older side reads what it knows."""
    values = msgpack.unpackb(pack(message), use_list=False)

    assert unpack(frame(*values, "new", {"more": 1})) == message


@pytest.mark.parametrize("message", SOME, ids=lambda message: type(message).__name__)
def test_every_field_is_checked(message: Message) -> None:
    """A missing field, or a value of another type in any field, is refused by the name of the message."""
    values = msgpack.unpackb(pack(message), use_list=False)

    with pytest.raises(CodecError, match=type(message).__name__):
        unpack(frame(*values[:-1]))
    for place in range(2, len(values)):
        for wrong in (None, 1.5, -1, 2**64 - 1, True, (1,), {1.5: 1} if values[place] == {} else [b"", 1]):
            with pytest.raises(CodecError):
                unpack(frame(*values[:place], wrong, *values[place + 1 :]))


@given(st.binary(max_size=300))
def test_garbage_is_an_error_of_ours(garbage: bytes) -> None:
    """Any bytes are either a message that can be sent on or a CodecError, never another exception."""
    try:
        message = unpack(garbage)
    except CodecError:
        return
    assert unpack(pack(message)) == message


@given(messages(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_never_crashes(message: Message, where: int, flip: int) -> None:
    """A message with one byte changed is another message or a CodecError."""
    changed = bytearray(pack(message))
    changed[where % len(changed)] ^= flip
    try:
        other = unpack(bytes(changed))
    except CodecError:
        return
    assert unpack(pack(other)) == other


@pytest.mark.parametrize("version", [PROTOCOL + 1, 0, -1])
def test_another_protocol_version_says_to_update(version: int) -> None:
    """A side of another version is told so, and which side to update."""
    with pytest.raises(MajorVersionError, match=f"version {version}, this Faultline speaks {PROTOCOL}: update the older side"):
        unpack(frame(version, 1, "pve1"))


@pytest.mark.parametrize("values", [(), (PROTOCOL,), (PROTOCOL, 99), (PROTOCOL, "1"), (True, 1), ([[]], 1)])
def test_what_is_no_message_is_refused(values: tuple[Any, ...]) -> None:
    """Arrays without a version and a known type are no messages."""
    with pytest.raises(CodecError):
        unpack(frame(*values))


def test_deep_nesting_is_refused() -> None:
    """A frame that is nested thousands deep is an error, not an exhausted stack."""
    with pytest.raises(CodecError):
        unpack(b"\x91" * 100_000)


def test_long_frames_are_refused_on_both_sides() -> None:
    """A frame longer than the limit is neither made nor read, whatever is in it."""
    longest = EventBatch("5eed", 0, 1, (b"x" * MAX_BYTES,) * (MAX_FRAME // MAX_BYTES))

    with pytest.raises(OversizeError):
        pack(longest)
    with pytest.raises(OversizeError):
        unpack(bytes(MAX_FRAME + 1))


def test_long_batches_are_refused() -> None:
    """A batch may have so many envelopes and not one more."""
    most = EventBatch("5eed", 0, 1, (b"x",) * MAX_BATCH)

    assert unpack(pack(most)) == most
    with pytest.raises(CodecError):
        unpack(pack(EventBatch("5eed", 0, 1, (b"x",) * (MAX_BATCH + 1))))


def test_long_envelopes_are_refused() -> None:
    """An envelope in a batch may be as long as the codec allows and not one byte longer."""
    longest = EventBatch("5eed", 0, 1, (b"x" * MAX_BYTES,))

    assert unpack(pack(longest)) == longest
    with pytest.raises(CodecError):
        unpack(pack(EventBatch("5eed", 0, 1, (b"x" * (MAX_BYTES + 1),))))


def test_what_the_agent_sends_always_fits() -> None:
    """The largest batch that an agent fills, with one largest envelope beyond its bytes, is within the limits."""
    small = BATCH_BYTES // (BATCH - 1)

    assert BATCH <= MAX_BATCH
    assert unpack(pack(EventBatch("5" * 255, 2**62, 2**62 + 1, (*(b"x" * small,) * (BATCH - 1), b"x" * MAX_BYTES))))


@pytest.mark.parametrize(
    ("previous", "first", "count"), [(1, 1, 1), (5, 3, 1), (0, 0, 1), (0, 2**63 - 1, 1), (0, 2**63 - 2, 2), (2**63 - 1, 1, 1)]
)
def test_sequences_in_no_order_are_refused(previous: int, first: int, count: int) -> None:
    """Each batch goes forward, and its last sequence is a number that can be stored."""
    with pytest.raises(CodecError, match="order"):
        unpack(pack(EventBatch("5eed", previous, first, (b"x",) * count)))
