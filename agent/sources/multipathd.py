"""Asks multipathd what it thinks of each path: ``show maps json`` on its socket, over one connection that is kept.

Wire (multipath-tools libmpathcmd/mpath_cmd.c, multipathd/uxlsnr.c): question and answer are a length, as a C ``size_t``, and so many
bytes of text, the last of them NUL. The socket is an abstract one; since 0.12 there is also a file. Everybody may connect, and who is
not root may ask with ``show`` (0.9.4 to 0.14.3: SO_PEERCRED, only VRB_LIST for others). Nothing else is ever sent.

* **Never more than one question under way.** A daemon that hangs is not asked again; its answer is waited for on the same connection.
  Else each look would leave one more dead connection in its queue, until `multipath -ll` finds no place there.
* **multipathd is not started by asking.** Its socket may be systemd's, which starts the daemon for whoever connects: callers look first
  whether it runs.
* Its answer is not believed to be well-formed, nor to have an end.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, Final

SOCKETS: Final = ("/run/multipathd.socket", "\0/org/kernel/linux/storage/multipathd")
"""Addresses in the order in which multipath's own tools try them."""
_QUESTION: Final = b"show maps json\0"
_LENGTH: Final = struct.Struct("@N")
_LONGEST: Final = 4 * 1024 * 1024
"""Bytes of an answer: room for some 3000 maps of four paths."""
_CHUNK: Final = 1 << 16
_MOST_PATHS: Final = 4096
_MOST_TEXT: Final = 128
_OF_MAP: Final = ("name", "uuid", "sysfs")
_OF_PATH: Final = ("dev", "dev_t", "dm_st", "chk_st", "dev_st")
Row = dict[str, Any]


class DaemonError(OSError):
    """multipathd cannot be asked; the text says why, without anything that changes from look to look."""


class Multipathd:
    """A connection to multipathd. For one thread at a time."""

    def __init__(self, addresses: tuple[str, ...] = SOCKETS, deadline: float = 5.0) -> None:
        self._addresses, self._deadline = addresses, deadline
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._asked = False
        self._latest: tuple[bytes, list[Row]] = b"", []

    def maps(self) -> list[Row]:
        """Return its maps, the same object as before when it answered the same. Blocks up to the deadline.

        Rows have ``name``, ``uuid`` (the WWID), ``sysfs`` (`dm-N`) and ``paths``, each with ``dev``, ``dev_t``, ``dm_st``, ``chk_st`` and
        ``dev_st``, all texts.

        :raises DaemonError: when it is not there, does not answer in time or answers something else.
        """
        answer = self._ask()
        if answer != self._latest[0]:
            self._latest = answer, read_maps(answer)
        return self._latest[1]

    def close(self) -> None:
        """Forget the connection, and the question that may be under way."""
        held, self._socket = self._socket, None
        self._asked = False
        self._received.clear()
        if held is not None:
            held.close()

    def _ask(self) -> bytes:
        end = time.monotonic() + self._deadline
        kept = self._socket is not None and not self._asked
        try:
            return self._exchange(end)
        except TimeoutError:
            if not self._asked:
                self.close()
            raise DaemonError(f"multipathd accepts a connection but has not answered for {self._deadline:g} s") from None
        except DaemonError:
            self.close()
            raise
        except OSError as error:
            self.close()
            if kept:  # it was started anew since
                return self._ask()
            raise DaemonError(f"multipathd: {_why(error)}") from error

    def _exchange(self, end: float) -> bytes:
        held = self._socket = self._socket or self._connect()
        if not self._asked:
            held.settimeout(_left(end))
            held.sendall(_LENGTH.pack(len(_QUESTION)) + _QUESTION, socket.MSG_NOSIGNAL)
            self._asked = True
        while (length := self._length()) is None or len(self._received) < _LENGTH.size + length:
            held.settimeout(_left(end))
            more = held.recv(_CHUNK)
            if not more:
                raise ConnectionResetError("it closed the connection")
            self._received += more
        answer = bytes(self._received[_LENGTH.size : _LENGTH.size + length])
        self._asked = False
        self._received.clear()
        return answer

    def _length(self) -> int | None:
        if len(self._received) < _LENGTH.size:
            return None
        length: int = _LENGTH.unpack_from(self._received)[0]
        if not 0 < length <= _LONGEST:
            raise DaemonError(f"multipathd: not an answer of its kind, or one of more than {_LONGEST >> 20} MiB")
        return length

    def _connect(self) -> socket.socket:
        """Connect to the first address that is there."""
        why: OSError = FileNotFoundError("no socket")
        for address in self._addresses:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            made.setblocking(False)  # one of whose queue is full is told at once
            try:
                made.connect(address)
            except OSError as error:
                made.close()
                why = error
            else:
                return made
        try:
            raise why
        finally:
            del why  # an error that its own frame holds is garbage that waits for the collector


def _left(end: float) -> float:
    """Return the seconds that are left.

    :raises TimeoutError: when none are.
    """
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _why(error: OSError) -> str:
    match error:
        case ConnectionRefusedError() | FileNotFoundError():
            return "nobody listens on its socket"
        case BlockingIOError():
            return "the queue of its socket is full"
    return error.strerror or str(error)


def read_maps(answer: bytes) -> list[Row]:
    """Return the rows of an answer to ``show maps json``, for any bytes.

    :raises DaemonError: when it is no such answer.
    """
    text = answer.rstrip(b"\0").decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        first = "".join(one for one in text[:80].replace("\n", " ") if one.isprintable()).strip()
        raise DaemonError(f"multipathd answers no JSON: {first!r}") from None
    maps = data.get("maps") if isinstance(data, dict) else None
    if not isinstance(maps, list):
        raise DaemonError("multipathd answers JSON without a list of maps")
    rows, room = [], _MOST_PATHS
    for one in maps:
        if room > 0 and isinstance(one, dict):
            paths = list(_paths(one))[:room]
            room -= max(1, len(paths))
            rows.append({**_texts(one, _OF_MAP), "paths": paths})
    return rows


def _paths(one: Row) -> Iterator[Row]:
    for group in _dicts(one.get("path_groups")):
        yield from (_texts(path, _OF_PATH) for path in _dicts(group.get("paths")))


def _dicts(value: object) -> list[Row]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(row: Row, keys: tuple[str, ...]) -> Row:
    return {key: _clean(value) if isinstance(value := row.get(key), str) else "" for key in keys}


def _clean(text: str) -> str:
    """Return a text that can be part of an event: JSON may hold halves of characters."""
    return text[:_MOST_TEXT].encode("utf-8", "replace").decode()
