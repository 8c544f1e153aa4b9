"""Errors of the controller: one root, and whether a retry can help is in the type."""

from __future__ import annotations


class ControllerError(Exception):
    """Root of all errors of the controller."""


def described(error: BaseException) -> str:
    """Return an error of any kind in one line that any file and message can hold: its type, where the text alone may say nothing."""
    text = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return text.encode("utf-8", "backslashreplace").decode()


class TemporaryError(ControllerError):
    """The same may work later."""


class PermanentError(ControllerError):
    """The same will fail again until somebody changes something."""
