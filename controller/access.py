"""Who may connect: CURVE keys in a directory, one certificate a peer, asked for by ZeroMQ's authentication protocol (ZAP, RFC 27)."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog
import zmq
import zmq.asyncio
import zmq.auth
from zmq.auth.asyncio import AsyncioAuthenticator
from zmq.utils import z85

from controller.errors import PermanentError

log = structlog.get_logger()

_REMEMBERED: Final = 256
"""Unknown keys that are remembered as already logged."""
_LOOK_EVERY: Final = 1.0
"""Fewest seconds between two looks at a directory: handshakes with unknown keys must not keep us reading."""
_PATIENCE: Final = 2.0
"""Seconds that a handshake waits for a look at the directory."""


class KeyFileError(PermanentError):
    """A key file is missing, unreadable or no CURVE certificate."""


def own_keys(directory: Path, name: str) -> tuple[bytes, bytes]:
    """Return (public, secret) in Z85 from ``<name>.key_secret`` in a directory, making both on first use.

    :raises KeyFileError: when they cannot be made, or the file exists and is no key pair.
    """
    secret_file = directory / f"{name}.key_secret"
    try:
        if not secret_file.exists():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_keys(directory, name)
    except OSError as error:
        raise KeyFileError(f"{secret_file}: cannot be made: {error.strerror or error}") from error
    public, secret = _load(secret_file)
    if secret is None:
        raise KeyFileError(f"{secret_file}: holds no secret key; delete it to have a new pair made")
    return public, secret


def _make_keys(directory: Path, name: str) -> None:
    """Make both files, whole or not at all; the secret is at no time readable for others."""
    with TemporaryDirectory(dir=directory) as private:  # mode 0700
        public, secret = zmq.auth.create_certificates(private, name)
        Path(secret).chmod(0o600)
        Path(public).replace(directory / f"{name}.key")
        Path(secret).replace(directory / f"{name}.key_secret")


def _load(file: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(file)
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise KeyFileError(f"{file}: is no CURVE certificate: {error}") from error
    if len(public) != 40:
        raise KeyFileError(f"{file}: its public-key has {len(public)} characters, a CURVE key has 40")
    return public, secret


class AllowList:
    """Public keys of one directory: ``<peer>.key`` allows the peer of that name.

    It may lie in /etc/pve, which can hang: after the first reading it is read in a thread, and :meth:`refresh` waits for that
    only a bounded time. While a reading hangs, what was read last counts.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names: dict[bytes, str] = {}
        self.removed: Callable[[], None] = lambda: None
        """Called in the event loop when a key is allowed no more: whoever connected with it is connected still."""
        self._seen: _Stamp | None = None
        self._due = 0.0
        self._reading: asyncio.Future[None] | None = None
        self._apply(_read(directory, None))

    def allows(self, name: str) -> bool:
        """Say whether a peer of this name is allowed, as read last."""
        return name in self.names.values()

    async def refresh(self) -> None:
        """Look whether the directory has changed; at most once a second, and not longer than two."""
        loop = asyncio.get_running_loop()
        if self._reading is None:
            if loop.time() < self._due:
                return
            self._begin(self._seen)
        if self._reading is not None:
            await asyncio.wait((self._reading,), timeout=_PATIENCE)

    def reload(self) -> None:
        """Begin to read the directory anew, whether it seems changed or not, and say anew what is wrong. Call it in the event loop."""
        self._begin(None)

    def _begin(self, seen: _Stamp | None) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _LOOK_EVERY
        if self._reading is None:
            self._reading = loop.create_future()
            threading.Thread(target=self._work, args=(seen, loop, self._reading), name="allow-list", daemon=True).start()

    def _work(self, seen: _Stamp | None, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        found = _read(self.directory, seen)
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            loop.call_soon_threadsafe(self._finish, found, done)

    def _finish(self, found: _Found | None, done: asyncio.Future[None]) -> None:
        self._apply(found)
        self._reading = None
        if not done.done():
            done.set_result(None)

    def _apply(self, found: _Found | None) -> None:
        if found is not None:
            before = self.names
            self._seen, self.names, wrong = found
            if before.keys() - self.names.keys():
                self.removed()
            for reason in wrong:
                log.warning("not allowed in", reason=reason)


_Stamp = tuple[tuple[str, int, int, int, int], ...]
"""Name, µs of the last change of content and of rights, inode and size of each key file."""
_Found = tuple[_Stamp, dict[bytes, str], list[str]]
"""Stamp of the directory, names by key, and what is wrong with some files."""


def _read(directory: Path, seen: _Stamp | None) -> _Found | None:
    """Read a directory of keys; None when it is as it was. A file that is no key is left out and said."""
    files: list[tuple[Path, os.stat_result]] = []
    with suppress(OSError):  # a directory that is not there allows nobody
        for file in sorted(directory.glob("*.key")):
            with suppress(OSError):  # deleted just now
                files.append((file, file.stat()))
    stamp = tuple((file.name, stat.st_mtime_ns // 1000, stat.st_ctime_ns // 1000, stat.st_ino, stat.st_size) for file, stat in files)
    if stamp == seen:
        return None
    names: dict[bytes, str] = {}
    wrong: list[str] = []
    for file, _ in files:
        try:
            key = _load(file)[0]
        except KeyFileError as error:
            wrong.append(str(error))
            continue
        if key in names:
            wrong.append(f"{file}: holds the same key as {names[key]}.key: each peer needs its own")
        else:
            names[key] = file.stem
    return stamp, names, wrong


class Access(AsyncioAuthenticator):
    """Answers ZAP requests of all sockets of a context from one allow-list for each domain."""

    def __init__(self, context: zmq.asyncio.Context, lists: dict[str, AllowList]) -> None:
        super().__init__(context)
        self._lists = lists
        self._unknown: set[bytes] = set()
        for domain in lists:
            self.configure_curve_callback(domain, self)

    async def callback(self, domain: str, key: bytes) -> bool:
        """Say whether a key (Z85) is allowed in a domain. Called by the authenticator at each handshake."""
        allowed = self._lists[domain]  # it asks for domains that it was given
        await allowed.refresh()
        if key in allowed.names:
            return True
        if key not in self._unknown:
            if len(self._unknown) >= _REMEMBERED:
                self._unknown.clear()
            self._unknown.add(key)
            log.warning(
                "unknown key denied: to allow it put the peer's .key file into the directory",
                key=key.decode(),
                directory=str(allowed.directory),
            )
        return False

    def curve_user_id(self, client_public_key: bytes) -> str:
        """Return the peer's name: messages carry it as their User-Id, so no peer can speak for another."""
        # Called with the key's 32 bytes, while the allow-list has the 40 characters that files hold.
        key = z85.encode(client_public_key) if len(client_public_key) == 32 else client_public_key
        for allowed in self._lists.values():
            if name := allowed.names.get(key):
                return name
        return ""

    def reload(self) -> None:
        """Read all allow-lists anew. Call it in the event loop."""
        self._unknown.clear()
        for allowed in self._lists.values():
            allowed.reload()
