"""Page 83 to the names that multipath uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.classify.multipath_paths import leads_to
from agent.sources.wwid import names, read

SAMPLES = Path(__file__).parents[2] / "samples/multipath"
LUN0, LUN1, LUN2 = "3600140537c04200bff24683acffc5095", "360014056655f94b431e46cd96d9114ee", "36001405c44a4e37d1dc4f22a130622df"


def page(*designators: tuple[int, int, bytes]) -> bytes:
    """Lay out a page of (association, type, value)."""
    body = b"".join(bytes((1, association << 4 | kind, 0, len(value))) + value for association, kind, value in designators)
    return bytes((0, 0x83)) + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(("name", "wwid"), [("lun0", LUN0), ("lun1", LUN1), ("lun2", LUN2)])
def test_a_recorded_page_has_the_name_of_its_map(name: str, wwid: str) -> None:
    """Of a real LUN's page the first name is what `multipath -ll` printed."""
    assert names(read(str(SAMPLES / f"{name}.pg83")))[0] == wwid


def test_all_names_of_the_unit_are_told_and_none_of_its_port() -> None:
    """NAA, EUI-64, SCSI name and T10 name the unit; the same identifiers of a port do not."""
    naa, eui = bytes.fromhex("6001405" + "0" * 25), bytes.fromhex("0011223344556677")
    made = page((1, 3, b"\x50" * 8), (0, 1, b"ACME    disk  7"), (0, 2, eui), (0, 3, naa), (0, 8, b"naa.6001405" + b"0" * 25 + b"\0"))

    assert names(made) == ("1ACME_disk_7", "2" + eui.hex(), "3" + naa.hex())


@pytest.mark.parametrize("made", [b"", b"\0\x83", b"\0\x80\0\x04abcd", page((0, 3, b"\x60" + b"1" * 7)), page((0, 3, b""))])
def test_what_names_nothing_gives_no_name(made: bytes) -> None:
    """No page, another page, an identifier of the wrong length."""
    assert names(made) == ()


def test_a_cut_page_keeps_what_was_whole() -> None:
    """Of a page that ends in the middle of a designator those before it are told."""
    whole = (SAMPLES / "lun0.pg83").read_bytes()

    assert names(whole[:30]) == (LUN0,)


@given(st.binary(max_size=512))
def test_any_bytes_give_printable_names(data: bytes) -> None:
    """Whatever a disk answers, no name has blanks or control characters, and there are few."""
    found = names(data)

    assert len(found) <= 16
    assert all(one.isascii() and one.isprintable() and " " not in one for one in found)


def test_what_is_not_there_has_no_page(tmp_path: Path) -> None:
    """A disk that vanished, a directory."""
    assert read(str(tmp_path / "none")) == read(str(tmp_path)) == b""


def test_a_disk_with_several_names_leads_to_each_of_them() -> None:
    """A path is right when any of its names is the map's; another of the same form is wrong; what is not alike is not judged."""
    both = (LUN0, "20011223344556677")

    assert leads_to(both, LUN0) is True
    assert leads_to(both, "20011223344556677") is True
    assert leads_to(both, LUN1) is False
    assert leads_to(both, "1ACME_disk_7") is None
    assert leads_to((), LUN0) is None
