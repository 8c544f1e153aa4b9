from __future__ import annotations

import os
import random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.base import Event, State
from events.codec import LATEST, MAX_BYTES, MAX_DEPTH, MAX_ITEMS, MAX_NAME, decode, encode
from events.envelope import SCHEMA_MAJOR, SCHEMA_MINOR, Envelope, Identity, UnknownEvent
from events.errors import CodecError, MajorVersionError, OversizeError, VocabularyError
from events.vocabulary import KINDS

LONG = bool(os.environ.get("FAULTLINE_LONG"))
KIND_AT, BODY_AT, MINOR_AT = 9, 10, 1


def wire(**changes: Any) -> list[Any]:
    """Return the array of a valid envelope, with elements replaced by name."""
    fields: dict[str, Any] = {
        "major": SCHEMA_MAJOR,
        "minor": SCHEMA_MINOR,
        "cluster": "prod",
        "node": "pve1",
        "boot_id": "691e5d2f535a417a8906fdb7a61a246e",
        "stream": "s1",
        "seq": 1,
        "observed_at": 1_795_401_980_757_863,
        "monotonic": 59_269_253,
        "kind": "nfs.server.unreachable",
        "body": {"subject": "nfs-server/10.1.3.1", "seen": {"source": "journald"}, "how": "still-trying"},
    }
    return list((fields | changes).values())


def packed(**changes: Any) -> bytes:
    """Return the bytes of :func:`wire`."""
    data: bytes = msgpack.packb(wire(**changes))
    return data


def nested(containers: int) -> Any:
    """Return that many maps within each other."""
    value: Any = {}
    for _ in range(containers - 1):
        value = {"in": value}
    return value


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)
"""Values that a body or tail may hold; their depth stays under the limit."""
NEW_FIELDS = st.dictionaries(st.text("abcdef", min_size=1, max_size=8).map("x_".__add__), VALUES, min_size=1, max_size=4)


class TestRoundTrip:
    """What one side says, the other side reads."""

    @given(st.from_type(Envelope))
    def test_any_envelope_of_any_kind(self, envelope: Envelope) -> None:
        """Every event that can be built survives encoding and decoding, typed as before."""
        again = decode(encode(envelope))

        assert envelope == again
        assert type(envelope.event) is type(again.event)

    @pytest.mark.parametrize("kind", KINDS)
    def test_each_kind(self, kind: str) -> None:
        """Each kind by itself survives: no kind hides behind the chance of the test above."""

        @given(st.from_type(KINDS[kind]))
        def check(event: Event) -> None:
            envelope = Envelope("c", "n", "b", "s", 1, 0, 0, event)
            assert envelope == decode(encode(envelope))

        check()

    @given(st.from_type(Envelope))
    def test_bytes_are_stable(self, envelope: Envelope) -> None:
        """Encoding what was decoded gives the same bytes: an event can be stored, passed on and compared as bytes."""
        data = encode(envelope)

        assert data == encode(decode(data))

    @given(st.from_type(Envelope))
    def test_identity_survives(self, envelope: Envelope) -> None:
        """Deduplication sees the same identity on both sides."""
        assert Identity(envelope.node, envelope.stream, envelope.seq) == decode(encode(envelope)).identity

    def test_memoryview_is_read_as_bytes(self) -> None:
        """A ZeroMQ frame's buffer is read without a copy of it."""
        assert decode(packed()) == decode(memoryview(packed()))

    def test_wire_form_is_pinned(self) -> None:
        """The array's order is an interface: these literal bytes stay readable for all of major version 1."""
        data = bytes.fromhex(
            "9b 01 00 a1 63 a4 70 76 65 31 a1 62 a1 73 07 08 09 b4"
            "6e66732e7365727665722e726561636861626c65"
            "82 a7 7375626a656374 b3 6e66732d7365727665722f31302e312e332e31"
            "a4 7365656e 81 a6 736f75726365 a8 6a6f75726e616c64"
        )
        envelope = decode(data)

        assert (
            envelope.cluster,
            envelope.node,
            envelope.boot_id,
            envelope.stream,
            envelope.seq,
            envelope.observed_at,
            envelope.monotonic,
        ) == ("c", "pve1", "b", "s", 7, 8, 9)
        assert envelope.event.kind == "nfs.server.reachable"
        assert data == encode(envelope)


class TestNewerMinorVersion:
    """An older side keeps and passes on what a newer side says."""

    @given(
        kind=st.text("abc.", min_size=1, max_size=20).map("new.".__add__),
        body=st.dictionaries(st.text(max_size=5), VALUES, max_size=4),
        minor=st.integers(0, 99),
    )
    def test_unknown_kinds_pass_unchanged(self, kind: str, body: dict[str, Any], minor: int) -> None:
        """A kind that this version does not know is kept whole, judged as neither good nor bad, and passed on byte by byte."""
        data = packed(kind=kind, body=body, minor=minor)
        envelope = decode(data)

        assert UnknownEvent(kind, body) == envelope.event
        assert State.INFO is envelope.event.state
        assert data == encode(envelope)

    @given(event=st.from_type(Event), added=NEW_FIELDS, tail=st.lists(VALUES, min_size=1, max_size=3).map(tuple))
    def test_added_fields_and_elements_survive(self, event: Event, added: dict[str, Any], tail: tuple[Any, ...]) -> None:
        """A known kind with more fields is understood by the fields known here; the rest goes on unchanged."""
        newer = Envelope("c", "n", "b", "s", 1, 0, 0, event, SCHEMA_MINOR + 1, added, tail)
        older = decode(encode(newer))

        assert (event, added, tail, SCHEMA_MINOR + 1) == (older.event, older.extra, older.tail, older.minor)
        assert encode(newer) == encode(older)

    def test_unknown_value_of_a_known_field_is_kept_not_judged(self) -> None:
        """A newer minor version may widen a field's values; such an event is kept whole as unknown."""
        body = {"subject": "nfs-server/10.1.3.1", "seen": {"source": "journald"}, "how": "quantum-tunnelled"}
        data = packed(body=body, minor=SCHEMA_MINOR + 1)

        assert UnknownEvent("nfs.server.unreachable", body) == decode(data).event
        assert data == encode(decode(data))

    def test_unknown_entity_kind_is_kept_not_judged(self) -> None:
        """A newer minor version may know more kinds of things that can break."""
        body = {"subject": "fc-port/pve1/host3", "seen": {"source": "journald"}, "how": "refused"}

        assert UnknownEvent("nfs.server.unreachable", body) == decode(packed(body=body, minor=SCHEMA_MINOR + 1)).event

    @pytest.mark.parametrize("change", [{"how": "quantum-tunnelled"}, {"subject": "fc-port/pve1/host3"}, {"colour": "red"}])
    def test_the_same_in_our_own_version_is_an_error(self, change: dict[str, str]) -> None:
        """What a newer version may say, our own version may not: there it is a broken sender."""
        body = {"subject": "nfs-server/10.1.3.1", "seen": {"source": "journald"}, "how": "refused"} | change

        with pytest.raises(CodecError, match=r"nfs\.server\.unreachable"):
            decode(packed(body=body, minor=SCHEMA_MINOR))


@pytest.mark.parametrize("major", [0, SCHEMA_MAJOR + 1, -1, None, "1", True, 1.0, [1], {"v": 1}])
def test_other_major_version_says_so(major: object) -> None:
    """Another major version is a typed error that tells what to do, however strange the version looks."""
    with pytest.raises(MajorVersionError, match="update"):
        decode(packed(major=major))


def test_major_version_is_judged_first() -> None:
    """Another major version may have any shape: its error is about the version, not about the shape."""
    with pytest.raises(MajorVersionError):
        decode(msgpack.packb([SCHEMA_MAJOR + 1, {"all": "different"}]))


@pytest.mark.parametrize("name", ["cluster", "node", "boot_id", "stream", "kind"])
def test_names_are_bounded_texts(name: str) -> None:
    """A name of the longest length passes; longer, empty or no text at all is an error that says which name."""
    words = name.replace("_", " ")
    decode(packed(**{name: "x" * MAX_NAME}))

    with pytest.raises(OversizeError, match=words):
        decode(packed(**{name: "x" * (MAX_NAME + 1)}))
    for wrong in ("", b"pve1", 7, None, ["pve1"]):
        with pytest.raises(CodecError, match=words):
            decode(packed(**{name: wrong}))


@pytest.mark.parametrize(
    ("name", "words", "least", "most"),
    [
        ("minor", "minor version", 0, 2**63 - 1),
        ("seq", "sequence", 1, 2**63 - 1),
        ("observed_at", "observed-at", 0, LATEST),
        ("monotonic", "monotonic", 0, 2**63 - 1),
    ],
)
def test_numbers_are_bounded(name: str, words: str, least: int, most: int) -> None:
    """A number within its bounds passes; below, beyond 63 bits or what a date can be, or no whole number is an error that says which."""
    for right in (least, most):
        assert right == getattr(decode(packed(**{name: right, "kind": "new.kind"})), name)
    for wrong in (least - 1, most + 1, 1.0, True, "1", None):
        with pytest.raises(CodecError, match=words):
            decode(packed(**{name: wrong}))


@pytest.mark.parametrize("body", [None, [], "x", 1, b"x"])
def test_body_is_a_map(body: object) -> None:
    """A body that is no map is an error that says so."""
    with pytest.raises(CodecError, match="body"):
        decode(packed(body=body))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes"])
def test_values_are_those_of_json(value: object) -> None:
    """A value that JSON does not have is refused in body and tail, at any depth: streams and reports could not carry it on."""
    for changes in ({"body": {"x": value}}, {"body": {"x": {"y": [value]}}}, {"tail": [value]}):
        with pytest.raises(CodecError, match="JSON"):
            decode(packed(**{"kind": "new.kind", "body": {}} | changes))


@pytest.mark.parametrize("key", [b"subject", 7, None])
def test_keys_are_texts(key: object) -> None:
    """A key that is no text, at any depth and of any kind, is refused: JSON could not carry it on."""
    for body in ({key: 1}, {"in": {key: 1}}):
        with pytest.raises(CodecError):
            decode(packed(kind="new.kind", body=body))


@pytest.mark.parametrize(
    "data", [b"", b"\xc0", b"\x90", b"\x01", b"hello", msgpack.packb({}), msgpack.packb([SCHEMA_MAJOR]), packed()[:-1], packed() + b"\x00"]
)
def test_other_bytes_are_refused(data: bytes) -> None:
    """Nothing, other types, a short array, a cut end and something after the end are CodecErrors."""
    with pytest.raises(CodecError):
        decode(data)


class TestLimits:
    """Whatever comes from the network costs a bounded amount."""

    def test_depth(self) -> None:
        """A body as deep as allowed passes and one level more is refused."""
        decode(packed(kind="new.kind", body=nested(MAX_DEPTH)))

        with pytest.raises(OversizeError, match="deeper"):
            decode(packed(kind="new.kind", body=nested(MAX_DEPTH + 1)))

    @pytest.mark.parametrize("depth", [100, 900, 980, 1000, 1020, 1100, 20_000])
    @pytest.mark.parametrize("at", [0, BODY_AT, BODY_AT + 1])
    def test_nesting_bombs(self, depth: int, at: int) -> None:
        """Arrays within arrays anywhere in the envelope are a CodecError, not an exhausted stack."""
        elements = [msgpack.packb(element) for element in wire()] + [b"\xc0"]
        elements[at] = b"\x91" * depth + b"\x90"

        with pytest.raises(CodecError):
            decode(bytes([0x90 | len(elements)]) + b"".join(elements))

    def test_size(self) -> None:
        """Bytes beyond the limit are refused before they are read, and never made."""
        with pytest.raises(OversizeError):
            decode(b"\x00" * (MAX_BYTES + 1))
        with pytest.raises(OversizeError, match=r"n/s/1"):
            encode(Envelope("c", "n", "b", "s", 1, 0, 0, UnknownEvent("new.kind", {"text": "x" * MAX_BYTES})))

    def test_items(self) -> None:
        """A map or array with too many elements is refused."""
        decode(packed(kind="new.kind", body={"list": [0] * MAX_ITEMS}))

        with pytest.raises(CodecError):
            decode(packed(kind="new.kind", body={"list": [0] * (MAX_ITEMS + 1)}))
        with pytest.raises(CodecError):
            decode(packed(kind="new.kind", body={str(number): 0 for number in range(MAX_ITEMS + 1)}))

    @pytest.mark.parametrize(
        "data",
        [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01"],
    )
    def test_announced_sizes(self, data: bytes) -> None:
        """A container that announces four thousand million elements is refused without room being made for them."""
        with pytest.raises(CodecError):
            decode(data)

    def test_extension_types(self) -> None:
        """MessagePack's extension types, timestamps included, are none of ours."""
        for extension in (msgpack.Timestamp(1, 1), msgpack.ExtType(5, b"abc"), msgpack.ExtType(5, b"")):
            with pytest.raises(CodecError):
                decode(packed(kind="new.kind", body={"x": extension}))

    @given(st.from_type(Envelope).map(encode))
    def test_our_own_are_far_below(self, data: bytes) -> None:
        """Events of ours with long texts in every field still fit, with room for a newer version's fields."""
        assert len(data) < MAX_BYTES // 4


def outcome(data: bytes) -> Envelope | CodecError:
    """Decode; anything but an envelope or a CodecError fails the test that called."""
    try:
        envelope = decode(data)
    except CodecError as error:
        assert isinstance(error, VocabularyError)
        assert len(str(error)) < 1200
        return error
    assert decode(encode(envelope)) == envelope
    return envelope


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    """Arbitrary bytes give an envelope or a CodecError and nothing else."""
    outcome(data)


@given(
    st.recursive(
        PLAIN | st.binary(),
        lambda inner: st.lists(inner, max_size=14) | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), inner, max_size=3),
        max_leaves=40,
    )
)
def test_random_msgpack(value: Any) -> None:
    """Arbitrary well-formed MessagePack gives an envelope or a CodecError and nothing else."""
    outcome(msgpack.packb(value))


@given(position=st.integers(0, 10), value=PLAIN | VALUES | st.binary())
def test_one_wrong_element(position: int, value: Any) -> None:
    """Any value in the place of any element gives an envelope or a CodecError and nothing else."""
    elements = wire()
    elements[position] = value
    outcome(msgpack.packb(elements))


@pytest.mark.long
def test_mutated_bytes() -> None:
    """Real envelopes with bits flipped, bytes cut, doubled and inserted give an envelope or a CodecError and nothing else."""
    dice = random.Random(20261123)
    bodies = [
        wire(),
        wire(
            kind="iscsi.connection.failed",
            body={
                "subject": "iscsi-portal/10.1.1.1:3260",
                "seen": {"source": "journald", "excerpt": "connection2:0"},
                "session": 2,
                "code": 1022,
            },
        ),
        [*wire(kind="new.kind", body={"a": [1, 2, {"b": None}], "c": 1.5}, minor=7), "tail", {"more": True}],
    ]
    read = refused = 0
    for _ in range(500_000 if LONG else 15_000):
        data = bytearray(msgpack.packb(dice.choice(bodies)))
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            mutate(data, dice)
        if isinstance(outcome(bytes(data)), Envelope):
            read += 1
        else:
            refused += 1

    assert min(read, refused) > 500, "the mutations must reach both outcomes, else they prove nothing"


def mutate(data: bytearray, dice: random.Random) -> None:
    """Change one thing about the bytes."""
    at = dice.randrange(len(data)) if data else 0
    match dice.randrange(5):
        case 0 if data:
            data[at] ^= 1 << dice.randrange(8)
        case 1 if data:
            data[at] = dice.randrange(256)
        case 2:
            del data[at : at + dice.choice((1, 2, 8, 64))]
        case 3:
            data[at:at] = dice.randbytes(dice.choice((1, 2, 8)))
        case _:
            data[at:at] = data[at : at + dice.choice((1, 8, 64))]


def test_equal_envelopes_differ_only_in_what_differs() -> None:
    """Changing any part of an envelope changes its bytes: nothing is left out of the wire form."""
    base = decode(packed())
    changes: dict[str, Any] = {
        "cluster": "x",
        "node": "x",
        "boot_id": "x",
        "stream": "x",
        "seq": 9,
        "observed_at": 9,
        "monotonic": 9,
        "minor": 9,
        "extra": {"x": 1},
        "tail": (1,),
        "event": UnknownEvent("x.y", {}),
    }
    forms = {encode(base)} | {encode(base._replace(**{name: value})) for name, value in changes.items()}

    assert set(changes) == set(Envelope._fields)
    assert len(changes) + 1 == len(forms)
