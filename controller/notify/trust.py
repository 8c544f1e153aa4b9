"""Whom a notifier trusts when it connects over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from controller.errors import PermanentError


class TrustFileError(PermanentError):
    """A certificate authority's file is missing or holds no certificate."""


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return what verifies a server: the system's authorities, and those of a file beside them.

    :raises TrustFileError: when the file is missing or something else.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise TrustFileError(f"{ca_file}: is no readable certificate authority: {error.strerror or error}") from error
    return context
