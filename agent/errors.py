"""Errors of the agent: one root, and whether a retry can help is in the type."""

from __future__ import annotations


class AgentError(Exception):
    """Root of all errors of the agent."""


def described(error: BaseException) -> str:
    """Return an error of any kind in one line that any event can hold: with its type where the text alone may say nothing."""
    first = str(error).partition("\n")[0].encode("utf-8", "backslashreplace").decode()
    return first if isinstance(error, AgentError) else f"{type(error).__name__}: {first}"


class TemporaryError(AgentError):
    """The same may work later."""


class PermanentError(AgentError):
    """The same will fail again until somebody changes something."""
