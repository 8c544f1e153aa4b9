"""Errors of the command line, each with its exit code."""

from __future__ import annotations


class CommandError(Exception):
    """Root: the command cannot go on; the text says what is wrong and what to do."""

    exit_code = 1


class InputError(CommandError):
    """A file or argument that the user gave is wrong."""

    exit_code = 2


class ConfigurationError(CommandError):
    """A configuration file is wrong."""

    exit_code = 3


class NothingThereError(CommandError):
    """What was asked for does not exist: no such incident, no database yet."""

    exit_code = 4
