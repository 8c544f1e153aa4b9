from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from events.entity import KEY_FORMS, MAX_ENTITY_LENGTH, Entity, EntityKind, entity, portal
from events.errors import EntityError, VocabularyError

NAMES = [
    "node/pve1",
    "storage/nfs-store",
    "nfs-server/192.168.1.100",
    "nfs-export/192.168.1.100:/export/pve",
    "iscsi-portal/10.0.1.1:3260",
    "iscsi-portal/[fd00::1]:3260",
    "iscsi-target/iqn.2005-10.org.freenas.ctl:pve",
    "iscsi-session/pve1/3",
    "lun/36001405e1069b6f08584509b666ec5a5",
    "path/pve1/36001405e1069b6f08584509b666ec5a5/8:16",
    "multipath-map/pve1/mpatha",
    "scsi-device/pve1/3:0:0:0",
    "vg/vg-iscsi",
    "ceph/4b5c8c0a-ff60-454b-a1b4-9747aa737d19",
    "ceph-osd/4b5c8c0a-ff60-454b-a1b4-9747aa737d19/5",
    "ceph-host/4b5c8c0a-ff60-454b-a1b4-9747aa737d19/pve2",
    "ceph-mon/4b5c8c0a-ff60-454b-a1b4-9747aa737d19/a",
    "ceph-pool/4b5c8c0a-ff60-454b-a1b4-9747aa737d19/rbd",
    "subnet/10.0.1.0/24",
    "access/pve1/10.0.1.0/24",
    "server/192.168.1.101",
    "guest/100",
    "ha/vm:100",
    "backup-job/backup-5d2f6a1e-9c1b",
    "ha-rule/prefer-pve1",
    "cluster/prod",
]


@pytest.mark.parametrize("name", NAMES)
def test_documented_names_are_stable(name: str) -> None:
    """Every form of the documentation is read and written back unchanged."""
    assert name == str(Entity.parse(name))


def test_every_kind_has_an_example_and_a_documented_form() -> None:
    """No kind of entity is left without a form in the documentation and a case in this file."""
    assert set(EntityKind) == set(KEY_FORMS) == {Entity.parse(name).kind for name in NAMES}


@given(st.from_type(Entity))
def test_text_form_round_trips(value: Entity) -> None:
    """An entity is its text: parsing what it prints gives an equal one with an equal hash."""
    again = Entity.parse(str(value))

    assert (again, hash(again)) == (value, hash(value))
    assert again == entity(str(value))


@given(st.text(max_size=600))
def test_any_text_is_an_entity_or_a_named_error(text: str) -> None:
    """Parsing arbitrary text gives an entity that prints as that text, or EntityError, never another error."""
    try:
        value = Entity.parse(text)
    except EntityError as error:
        assert isinstance(error, VocabularyError)
    else:
        assert text == str(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "node",
        "node/",
        "/pve1",
        "Node/pve1",
        "host/pve1",
        "node/ pve1",
        "node/pve1 ",
        "node/a  b",
        "node/a\nb",
        "node/a\x00b",
        "node/a\tb",
        "node/a\x7fb",
        "node/a\x9b31mb",
        "node/a\udcffb",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    """Missing parts, unknown kinds, doubled or outer blanks, control characters and lone surrogates are no names."""
    with pytest.raises(EntityError):
        Entity.parse(text)


def test_length_is_bounded() -> None:
    """A name of the longest length is taken and one character more is refused."""
    longest = "node/" + "x" * (MAX_ENTITY_LENGTH - len("node/"))

    assert len(str(Entity.parse(longest))) == MAX_ENTITY_LENGTH
    with pytest.raises(EntityError, match="longer than"):
        Entity.parse(longest + "x")


def test_an_error_does_not_repeat_a_long_input() -> None:
    """A message stays short whatever bytes came from the network."""
    with pytest.raises(EntityError) as caught:
        Entity.parse("q" * 100_000)

    assert len(str(caught.value)) < 300


class Holder(BaseModel):
    """A model with an entity field."""

    subject: Entity


def test_models_take_text_or_entity_and_dump_text() -> None:
    """In a model an entity is given as its text or itself and always dumped as its text."""
    by_text = Holder.model_validate({"subject": "node/pve1"})

    assert by_text == Holder(subject=Entity(EntityKind.NODE, "pve1"))
    assert by_text.model_dump(mode="json") == {"subject": "node/pve1"}
    assert by_text.model_dump_json() == '{"subject":"node/pve1"}'


@pytest.mark.parametrize("value", [None, 7, b"node/pve1", ["node", "pve1"], "pve1"])
def test_models_refuse_what_is_no_entity(value: object) -> None:
    """A wrong type or text in an entity field is a validation error that names the field."""
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"subject": value})

    assert caught.value.errors()[0]["loc"] == ("subject",)


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("10.0.1.1", 3260, "iscsi-portal/10.0.1.1:3260"),
        ("fd00::1", "3260", "iscsi-portal/[fd00::1]:3260"),
        ("[fd00::1]", 860, "iscsi-portal/[fd00::1]:860"),
        ("san.example", 3260, "iscsi-portal/san.example:3260"),
    ],
)
def test_portal_spells_addresses_one_way(address: str, port: int | str, expected: str) -> None:
    """However an address is written, one portal has one name."""
    assert expected == str(portal(address, port))


def test_entities_sort_by_kind_then_key() -> None:
    """Reports list entities in one order everywhere."""
    names = ["node/b", "node/a", "ceph/x"]

    assert [str(value) for value in sorted(map(Entity.parse, names))] == ["ceph/x", "node/a", "node/b"]
