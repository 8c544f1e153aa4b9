import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.errors import FormatError, PveError, TornError
from pve.json_object import MAX_TEXT, Fields, read, whole


@given(st.binary(max_size=400))
def test_any_bytes_give_an_object_or_a_typed_error(data: bytes) -> None:
    """Whatever bytes come, they are an object or a typed error that names the file."""
    try:
        assert isinstance(read(data, "x.json"), dict)
    except PveError as error:
        assert "x.json" in str(error)


def test_torn_and_wrong_are_told_apart() -> None:
    """Bytes that are no JSON are worth another read; JSON of another kind is not."""
    with pytest.raises(TornError):
        read(b'{"a": 1, "b', ".members")
    with pytest.raises(FormatError) as wrong:
        read(b"[1]", ".members")
    assert not isinstance(wrong.value, TornError)
    with pytest.raises(FormatError) as deep:
        read(b'{"a":' * 100_000, ".members")
    assert not isinstance(deep.value, TornError)


def test_empty_and_nul() -> None:
    """No bytes are an object only where Proxmox VE takes them so; a NUL at the end does no harm."""
    assert read(b"", "manager_status", empty_is_none=True) == {}
    with pytest.raises(TornError):
        read(b"", ".version")
    assert read(b'{"a": 1}\n\0', ".version") == {"a": 1}


def test_half_characters_are_replaced() -> None:
    """Whatever text comes out can be written as UTF-8."""
    found = read(rb'{"a\udc00": "\ud800x"}', "x")
    assert found == {"a\ufffd": "\ufffdx"}
    assert str(found).encode()


def test_fields_have_types_and_errors_name_their_path() -> None:
    """A field of another type is an error that names the path to it; Perl's numbers as texts are numbers."""
    fields = Fields({"a": {"b": "12", "c": [], "d": 1.0, "e": True, "long": "x" * 5000, "n": 7}}, "f").inner("a")
    assert (fields.integer("b"), fields.integer("d"), fields.integer("z", 5)) == (12, 1, 5)
    assert (fields.text("n"), fields.text("z"), fields.flag("e"), fields.flag("z")) == ("7", "", True, False)
    assert len(fields.text("long")) == MAX_TEXT
    for wrong in (lambda: fields.integer("c"), lambda: fields.text("c"), lambda: fields.inner("b"), lambda: fields.texts("b")):
        with pytest.raises(FormatError, match="f: a/"):
            wrong()
    with pytest.raises(FormatError):
        fields.integer("missing")


def test_whole_numbers() -> None:
    """True, NaN and fractions are no whole numbers."""
    numbers: list[object] = [1, 2.0, "3", "-4"]
    others: list[object] = [True, 1.5, float("nan"), float("inf"), "1e3", None, []]
    assert [whole(value) for value in numbers] == [1, 2, 3, -4]
    assert [whole(value) for value in others] == [None] * 7
