"""Errors of the store."""

from __future__ import annotations

from controller.errors import ControllerError, PermanentError, TemporaryError


class StoreError(ControllerError):
    """Root of the store's errors."""


class StoreBusyError(StoreError, TemporaryError):
    """The disk is full or fails, or another process holds the database. Nothing was written; the same may work later."""


class StoreFullError(StoreBusyError):
    """The disk has no room. Nothing was written; it works again as soon as there is some."""


class StoreUnusableError(StoreError, PermanentError):
    """The file is no database of ours, is damaged, or was written by a newer version."""
