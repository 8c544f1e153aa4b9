"""Errors of the agent: one root, and whether a retry can help is in the type."""

from __future__ import annotations


class AgentError(Exception):
    """Root of all errors of the agent."""


class TemporaryError(AgentError):
    """The same may work later."""


class PermanentError(AgentError):
    """The same will fail again until somebody changes something."""
