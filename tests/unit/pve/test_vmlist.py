"""The list of all guests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.errors import FormatError, PveError, TornError
from pve.vmlist import VmListEntry, parse

BODY = b"""{
"version": 31,
"ids": {
"100": { "node": "pve1", "type": "qemu", "version": 17 },
"205": { "node": "pve2", "type": "lxc", "version": 29 }}

}
"""


def test_the_form_of_pmxcfs() -> None:
    """A body as cfs_create_vmlist_msg prints it gives node, kind and counter per VMID."""
    assert parse(BODY) == {100: VmListEntry("pve1", "qemu", 17), 205: VmListEntry("pve2", "lxc", 29)}


def test_without_guests_ids_is_left_out() -> None:
    """Zero guests: pmxcfs writes the version only, and IPC answers may end with a NUL."""
    assert parse(b'{\n"version": 1\n\n}\n') == {}
    assert parse(b'{\n"version": 1\n\n}\n\0') == {}


def test_every_cut_is_torn() -> None:
    """No beginning of a body is taken for a shorter list, down to no bytes at all."""
    whole = BODY.rstrip()
    for end in range(len(whole)):
        with pytest.raises(TornError):
            parse(whole[:end])


def test_mixed_generations_are_torn() -> None:
    """The rest of a longer, older body behind a new one is noticed."""
    with pytest.raises(TornError, match="read it again"):
        parse(BODY + BODY[-40:])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"ids": []}', "ids"),
        (b'{"ids": {"x": {}}}', "ids/x"),
        (b'{"ids": {"0": {"node": "pve1", "type": "qemu", "version": 1}}}', "ids/0"),
        (b'{"ids": {"4294967296": {"node": "pve1", "type": "qemu", "version": 1}}}', "ids/4294967296"),
        (b'{"ids": {"100": 7}}', "ids/100"),
        (b'{"ids": {"100": {"type": "qemu", "version": 1}}}', "ids/100"),
        (b'{"ids": {"100": {"node": "pve1", "type": 3, "version": 1}}}', "ids/100"),
        (b'{"ids": {"100": {"node": "pve1", "type": "qemu", "version": true}}}', "ids/100"),
    ],
)
def test_another_shape_is_named(body: bytes, field: str) -> None:
    """JSON of another shape is no torn read: the error names file and field."""
    with pytest.raises(FormatError) as caught:
        parse(body, "/etc/pve/.vmlist")
    assert not isinstance(caught.value, TornError)
    assert (caught.value.file, caught.value.field) == ("/etc/pve/.vmlist", field)
    assert str(caught.value).startswith(f"/etc/pve/.vmlist: {field}: ")


@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        lambda value: repr(value).replace("'", '"').encode("utf-8", "replace")
    )
)
def test_any_bytes_give_entries_or_a_typed_error(data: bytes) -> None:
    """Nothing but a typed error comes out of bytes that are no list."""
    try:
        parse(data)
    except PveError:
        return
