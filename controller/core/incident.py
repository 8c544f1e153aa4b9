"""The life of an incident as a table that code, tests and documentation share."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    RECOVERING = "recovering"
    REOPENED = "reopened"
    RESOLVED = "resolved"


class Trigger(StrEnum):
    """What moves an incident on."""

    HELD = "held"
    RECOVERED = "recovered"
    STAYED_WELL = "stayed-well"
    RELAPSED = "relapsed"
    MERGED = "merged"


SENTENCES: Final[dict[IncidentState, str]] = {
    IncidentState.OPEN: "the verdict is stable enough to tell people; it may still be revised",
    IncidentState.CONFIRMED: "the verdict has held",
    IncidentState.RECOVERING: "everything that the cause explains works again; not yet for long enough",
    IncidentState.REOPENED: "the same thing broke again within the flap window",
    IncidentState.RESOLVED: "over, and stayed so; or merged into another incident",
}

TRANSITIONS: Final[dict[IncidentState, dict[Trigger, IncidentState]]] = {
    IncidentState.OPEN: {
        Trigger.HELD: IncidentState.CONFIRMED,
        Trigger.RECOVERED: IncidentState.RECOVERING,
        Trigger.MERGED: IncidentState.RESOLVED,
    },
    IncidentState.CONFIRMED: {Trigger.RECOVERED: IncidentState.RECOVERING, Trigger.MERGED: IncidentState.RESOLVED},
    IncidentState.RECOVERING: {
        Trigger.STAYED_WELL: IncidentState.RESOLVED,
        Trigger.RELAPSED: IncidentState.REOPENED,
        Trigger.MERGED: IncidentState.RESOLVED,
    },
    IncidentState.REOPENED: {Trigger.RECOVERED: IncidentState.RECOVERING, Trigger.MERGED: IncidentState.RESOLVED},
    IncidentState.RESOLVED: {Trigger.RELAPSED: IncidentState.REOPENED},
}


class IllegalTransitionError(ValueError):
    """A trigger that the table does not know in this state: a fault of ours; nothing was changed."""


def advance(state: IncidentState, trigger: Trigger) -> IncidentState:
    """Return the next state.

    :raises IllegalTransitionError: when the table has none.
    """
    try:
        return TRANSITIONS[state][trigger]
    except KeyError:
        raise IllegalTransitionError(f"an incident that is {state} cannot be {trigger}") from None
