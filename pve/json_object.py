"""The JSON files of pmxcfs: bytes to one object, and its fields with the types that they must have.

Two kinds of wrong are kept apart. Bytes that are no JSON were read while another process made the file anew (a dot file is made when
it is looked up, pve-cluster ``cfs-plug-func.c``), so reading again helps: :class:`pve.errors.TornError`. JSON that is something else than
Proxmox VE writes stays so: :class:`pve.errors.FormatError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pve.errors import FormatError, TornError

UINT32: Final = 1 << 32
"""Counters of pmxcfs are below this and start at 0 again."""
MAX_INTEGER: Final = 1 << 63
MAX_TEXT: Final = 1024
"""Longest text taken over, in characters; names and states are far shorter."""
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""Half a character. It cannot be written as UTF-8 later, so it is replaced."""


def read(data: bytes, filename: str, *, empty_is_none: bool = False) -> dict[str, Any]:
    """Return the object that ``data`` holds; with ``empty_is_none`` no bytes at all are an object without fields, as for Proxmox VE.

    :raises TornError: when the bytes are no JSON; read the file again.
    :raises FormatError: when they hold another value than an object, or are nested too deep to be a file of Proxmox VE.
    """
    text = data.decode("utf-8", "replace").rstrip("\0")
    if empty_is_none and not text:
        return {}
    try:
        value = json.loads(_SURROGATE.sub(r"\\ufffd", text))
    except RecursionError as error:
        raise FormatError("nested too deep: this is no file that Proxmox VE wrote", file=filename) from error
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
        raise TornError("no JSON, it was read while it changed: read it again", file=filename, line=line) from error
    if not isinstance(value, dict):
        raise FormatError(f"an object is expected, not {type(value).__name__}: look what wrote the file", file=filename, line=1)
    return value


class Fields:
    """The fields of one object of a file, read with their types. ``where`` is the path to the object, for errors."""

    __slots__ = ("_file", "_values", "_where")

    def __init__(self, values: Mapping[str, Any], filename: str, where: str = "") -> None:
        self._values = values
        self._file = filename
        self._where = where

    def has(self, name: str) -> bool:
        """Return whether the field is there and not null."""
        return self._values.get(name) is not None

    def names(self) -> list[str]:
        """Return the names of all fields, shortened to :data:`MAX_TEXT`, in the file's order."""
        return [name[:MAX_TEXT] for name in self._values]

    def wrong(self, name: str, expected: str) -> FormatError:
        """Return the error for a field that holds something else than ``expected``."""
        return FormatError(f"{expected} is expected: look what wrote the file", file=self._file, field=self._where + name)

    def integer(self, name: str, default: int | None = None, limit: int = MAX_INTEGER) -> int:
        """Return a whole number below ``limit``; Perl writes some of them as text or with a fraction of zero.

        :raises FormatError: when it is none, or is missing and there is no ``default``.
        """
        value = self._values.get(name)
        if value is None and default is not None:
            return default
        number = whole(value)
        if number is None or not -limit < number < limit:
            raise self.wrong(name, "a whole number")
        return number

    def text(self, name: str, default: str = "") -> str:
        """Return a text, shortened to :data:`MAX_TEXT`; a number is taken as text, as Perl does.

        :raises FormatError: when it is neither.
        """
        value = self._values.get(name)
        if value is None:
            return default
        if isinstance(value, str):
            return value[:MAX_TEXT]
        if isinstance(value, int | float):
            return (str(int(value)) if isinstance(value, bool) else repr(value))[:MAX_TEXT]
        raise self.wrong(name, "a text")

    def flag(self, name: str) -> bool:
        """Return whether the field is true for Perl: not missing, not 0, not empty."""
        return self._values.get(name) not in (None, False, 0, "", "0")

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; missing is empty.

        :raises FormatError: when the field is no list of texts and numbers.
        """
        value = self._values.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        items = Fields({str(place): item for place, item in enumerate(value)}, self._file, f"{self._where}{name}/")
        return tuple(items.text(item) for item in items.names())

    def inner(self, name: str) -> Fields:
        """Return the object in a field; missing is an object without fields.

        :raises FormatError: when the field is no object.
        """
        value = self._values.get(name)
        if not isinstance(value, dict | None):
            raise self.wrong(name, "an object")
        return Fields(value or {}, self._file, f"{self._where}{name}/")

    def objects(self, name: str) -> dict[str, Fields]:
        """Return an object of objects, by name; an entry that is null is one without fields.

        :raises FormatError: when one is no object.
        """
        outer = self.inner(name)
        return {inner: outer.inner(inner) for inner in outer.names()}


def whole(value: object) -> int | None:
    """Return a JSON value as whole number, None when it is none (true and false are none)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and abs(value) < MAX_INTEGER and value == int(value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value, re.ASCII):
        return int(value)
    return None
