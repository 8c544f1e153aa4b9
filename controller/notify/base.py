"""What a notifier is, and how it says that it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from controller.core.report import IncidentReport
from controller.errors import ControllerError, PermanentError, TemporaryError


class DeliveryError(ControllerError):
    """Root of delivery errors."""


class TemporaryDeliveryError(DeliveryError, TemporaryError):
    """Try again; not before ``retry_after`` seconds when the receiver named a time."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class PermanentDeliveryError(DeliveryError, PermanentError):
    """The receiver will never take this message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell: the report, its JSON as stored, the key that makes repeats recognizable, and when it is sent (UTC µs)."""

    report: IncidentReport
    payload: str
    key: str
    at: int


class Notifier(Protocol):
    """Tells one receiver."""

    async def send(self, message: Message) -> str:
        """Deliver a message; return the receiver's answer for the record.

        :raises TemporaryDeliveryError: when trying again may help.
        :raises PermanentDeliveryError: when it will not.
        """
