"""What can go wrong in a source; the second base says whether trying again can help."""

from __future__ import annotations

from agent.errors import AgentError, PermanentError, TemporaryError


class JournalError(AgentError):
    """Root of what can go wrong while reading a journal."""


class JournalMissingError(JournalError, TemporaryError):
    """The journal's directory or files are not there, or not readable for us (yet)."""


class JournalDamagedError(JournalError, TemporaryError):
    """The journal could not be read on from where we were, nor from its end; journald will start a new file."""


class PmxcfsDeniedError(TemporaryError):
    """/etc/pve is there, but we may not read it: until somebody puts us into its group, we are blind."""


class HostHungError(TemporaryError):
    """Files of /proc, /sys, /run or /etc, which are always answered at once, are not answered."""


class ExportFormatError(JournalError, PermanentError):
    """A file is not in the journal export format; the message names the file and the byte offset."""
