"""What can be wrong with bytes or names that claim to be ours."""

from __future__ import annotations


class VocabularyError(Exception):
    """Root of this package's errors. None is retryable: the same input fails again."""


class EntityError(VocabularyError, ValueError):
    """A text is not the name of an entity (``kind/key``)."""


class CodecError(VocabularyError):
    """Bytes are not an envelope of ours; the message says which part is wrong."""


class OversizeError(CodecError):
    """Bytes or a part of them exceed a limit of :mod:`events.codec`."""


class MajorVersionError(CodecError):
    """The envelope's major schema version is not ours: its sender needs another Faultline."""
