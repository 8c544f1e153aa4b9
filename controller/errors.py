"""Errors of the controller: one root, and whether a retry can help is in the type."""

from __future__ import annotations


class ControllerError(Exception):
    """Root of all errors of the controller."""


class TemporaryError(ControllerError):
    """The same may work later."""


class PermanentError(ControllerError):
    """The same will fail again until somebody changes something."""
