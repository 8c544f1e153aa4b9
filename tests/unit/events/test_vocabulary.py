from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from events.base import BadEvent, Event, InfoEvent, OkEvent, Seen, Source, State
from events.entity import Entity
from events.errors import CodecError
from events.topics import event_topic
from events.vocabulary import FAMILIES, KINDS, build, json_schema, kind_name, kinds_of

SEEN = Seen(source=Source.JOURNALD, excerpt="nfs: server 10.1.3.1 not responding, still trying")
UNREACHABLE: dict[str, Any] = {"subject": "nfs-server/10.1.3.1", "seen": {"source": "journald"}, "how": "still-trying"}


@pytest.fixture(scope="session")
def validator() -> jsonschema.Draft202012Validator:
    """Return a validator of the published schema, which must itself be a valid schema."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


class TestEveryKind:
    """Promises that hold for each kind of event, also for those that do not exist yet. Each test lists the offenders."""

    def test_has_one_sentence(self) -> None:
        """A kind's docstring is one sentence: the documentation prints it as the kind's meaning."""
        texts = {kind: (model.__doc__ or "").strip() for kind, model in KINDS.items()}

        assert [kind for kind, text in texts.items() if not text.endswith(".") or "\n" in text] == []

    def test_has_exactly_one_state(self) -> None:
        """A kind says bad, ok or neither, and its class says the same."""
        bases = {State.BAD: BadEvent, State.OK: OkEvent, State.INFO: InfoEvent}

        assert [kind for kind, model in KINDS.items() if not issubclass(model, bases[model.model_fields["state"].default])] == []

    def test_answers_a_question_when_it_judges(self) -> None:
        """A kind that says bad or ok names the aspect it speaks of, else nothing could ever cancel it."""
        assert [kind for kind, model in KINDS.items() if not issubclass(model, InfoEvent) and not model.aspect] == []

    def test_name_is_family_thing_change(self) -> None:
        """A wire name is two or more lower-case words with dots, so that topics can be subscribed by family."""
        assert [kind for kind in KINDS if not re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", kind)] == []

    def test_is_immutable_and_closed(self) -> None:
        """An event is a value that nothing changes after it was built, and an unknown field is an error."""
        assert [
            kind for kind, model in KINDS.items() if not (model.model_config["frozen"] and model.model_config["extra"] == "forbid")
        ] == []

    def test_fields_are_bounded(self) -> None:
        """No text field without a longest length, no number without a least: what comes from a log line is never unbounded."""
        fields = {(kind, name): field for kind, model in KINDS.items() for name, field in model.model_json_schema()["properties"].items()}

        assert [where for where, field in fields.items() if not is_bounded(field)] == []


def is_bounded(field: dict[str, Any]) -> bool:
    """Tell whether a property of a JSON Schema states how long its texts and how small its numbers may be."""
    needed = {"string": {"maxLength", "pattern", "const", "enum"}, "integer": {"minimum"}, "number": {"minimum"}}
    arms = field.get("anyOf", [field])
    return all(
        is_bounded(arm["items"])
        if arm.get("type") == "array"
        else bool(needed[arm["type"]] & arm.keys())
        if arm.get("type") in needed
        else True
        for arm in arms
    )


def test_names_are_unique_and_complete() -> None:
    """Each model of each family is in the registry under its own name."""
    models = [model for module in FAMILIES.values() for model in kinds_of(module)]

    assert len(models) == len(KINDS)
    assert {kind_name(model): model for model in models} == KINDS


def test_every_fault_of_an_entity_can_end_or_is_declared_endless() -> None:
    """Within each family, a bad aspect has an ok kind, or is listed here as one that only silence or a person ends."""
    endless = {
        ("NFS", "state"),
        ("NFS", "client-id"),
        ("NFS", "security"),
        ("iSCSI", "service"),
        ("SCSI and LVM", "reservation"),
        ("SCSI and LVM", "capacity"),
        ("SCSI and LVM", "duplicate"),
        ("SCSI and LVM", "conflict"),
        ("Ceph", "full"),
    }
    found = set()
    for family, module in FAMILIES.items():
        bad = {model.aspect for model in kinds_of(module) if issubclass(model, BadEvent)}
        ok = {model.aspect for model in kinds_of(module) if issubclass(model, OkEvent)}
        found |= {(family, aspect) for aspect in bad - ok}

    assert endless == found


def test_build_gives_the_kinds_model() -> None:
    """A known kind with right fields becomes its model, with the fields typed."""
    event = build("nfs.server.unreachable", UNREACHABLE)

    assert type(event).__name__ == "NfsServerUnreachable"
    assert Entity.parse("nfs-server/10.1.3.1") == event.subject
    assert State.BAD is event.state


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"how": "on-fire"}, "how"),
        ({"how": None}, "how"),
        ({"subject": "nfs-server"}, "subject"),
        ({"subject": None}, "subject"),
        ({"state": "ok"}, "state"),
        ({"seen": {"source": "crystal-ball"}}, "seen.source"),
        ({"seen": {"source": "journald", "excerpt": "x" * 513}}, "seen.excerpt"),
        ({"program": "x" * 257}, "program"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_build_names_the_wrong_field(change: dict[str, Any], named: str) -> None:
    """A wrong, missing or unknown field is one typed error whose text names the kind and the field."""
    with pytest.raises(CodecError, match=rf"nfs\.server\.unreachable: {named}: ") as caught:
        build("nfs.server.unreachable", UNREACHABLE | change)

    assert len(str(caught.value)) < 400


def test_build_does_not_know_unknown_kinds() -> None:
    """A kind outside the vocabulary is a KeyError: the codec decides what to do with it."""
    with pytest.raises(KeyError):
        build("nfs.server.melted", UNREACHABLE)


def test_an_error_never_repeats_a_value() -> None:
    """What stood in a wrong field is not in the message: it may be long, and it may be a secret typed in a wrong place."""
    with pytest.raises(CodecError) as caught:
        build("nfs.server.unreachable", UNREACHABLE | {"password": "hunter2hunter2", "how": "hunter2hunter2"})

    assert "hunter2" not in str(caught.value)


def test_seconds_are_finite() -> None:
    """Not-a-number and infinity are no durations: JSON could not carry them."""
    for value in (float("nan"), float("inf"), -1.0):
        with pytest.raises(ValidationError):
            KINDS["nfs.server.reachable"](subject="nfs-server/10.1.3.1", seen=SEEN, rtt=value)  # type: ignore[call-arg]


def test_texts_have_a_utf8_form() -> None:
    """A lone surrogate, as undecodable bytes of a log line leave behind, is refused when the event is built, not when it is sent."""
    with pytest.raises(ValidationError):
        Seen(source=Source.JOURNALD, excerpt="bad \udcff byte")


@given(event=st.from_type(Event))
def test_schema_accepts_every_event(validator: jsonschema.Draft202012Validator, event: Event) -> None:
    """What the code can build, the published JSON Schema accepts."""
    validator.validate(event.model_dump(mode="json"))


@given(event=st.from_type(Event), data=st.data())
def test_schema_refuses_what_the_code_refuses(validator: jsonschema.Draft202012Validator, event: Event, data: st.DataObject) -> None:
    """A wrong kind, state, type, unknown field or missing required field fails in the published schema as in the code."""
    body = event.model_dump(mode="json")
    wrong = data.draw(
        st.sampled_from(
            [
                body | {"kind": "no.such.kind"},
                body | {"state": "broken"},
                body | {"subject": "no-such-thing/x"},
                body | {"subject": 7},
                body | {"seen": {"source": "journald", "excerpt": "x" * 513}},
                body | {"colour": "red"},
                {name: value for name, value in body.items() if name != "kind"},
                {name: value for name, value in body.items() if name != "subject"},
                {name: value for name, value in body.items() if name != "seen"},
            ]
        )
    )

    with pytest.raises(jsonschema.ValidationError):
        validator.validate(wrong)
    with pytest.raises((CodecError, KeyError)):
        build(wrong.get("kind", ""), wrong)


def test_topics_are_prefixes_by_family() -> None:
    """A subscription to a family's prefix gets its kinds and no other family's."""
    topics = {kind: event_topic(kind, "pve1") for kind in KINDS}

    assert topics["nfs.server.unreachable"] == b"event.nfs.server.unreachable.pve1"
    assert {kind for kind in KINDS if kind.startswith("iscsi.")} == {
        kind for kind, topic in topics.items() if topic.startswith(b"event.iscsi.")
    }
