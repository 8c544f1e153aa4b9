"""Who may connect: CURVE keys in a directory, one certificate a peer, asked for by ZeroMQ's authentication protocol (ZAP, RFC 27)."""

from __future__ import annotations

from pathlib import Path
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


class KeyFileError(PermanentError):
    """A key file is missing, unreadable or no CURVE certificate."""


def own_keys(directory: Path, name: str) -> tuple[bytes, bytes]:
    """Return (public, secret) in Z85 from ``<name>.key_secret`` in a directory, making both on first use.

    :raises KeyFileError: when the file exists and is no key pair.
    """
    secret_file = directory / f"{name}.key_secret"
    if not secret_file.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _, written = zmq.auth.create_certificates(directory, name)
        Path(written).chmod(0o600)
    public, secret = _load(secret_file)
    if secret is None:
        raise KeyFileError(f"{secret_file}: holds no secret key; delete it to have a new pair made")
    return public, secret


def _load(file: Path) -> tuple[bytes, bytes | None]:
    try:
        return zmq.auth.load_certificate(file)
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise KeyFileError(f"{file}: is no CURVE certificate: {error}") from error


class AllowList:
    """Public keys of one directory: ``<peer>.key`` allows the peer of that name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names: dict[bytes, str] = {}
        self.reload()

    def reload(self) -> None:
        """Read the directory anew; a file that is no key is left out and said."""
        names: dict[bytes, str] = {}
        for file in sorted(self.directory.glob("*.key")) if self.directory.is_dir() else ():
            try:
                names[_load(file)[0]] = file.stem
            except KeyFileError as error:
                log.warning("not allowed in", reason=str(error))
        self.names = names


class Access(AsyncioAuthenticator):
    """Answers ZAP requests of all sockets of a context from one allow-list for each domain."""

    def __init__(self, context: zmq.asyncio.Context, lists: dict[str, AllowList]) -> None:
        super().__init__(context)
        self._lists = lists
        self._unknown: set[bytes] = set()
        for domain in lists:
            self.configure_curve_callback(domain, self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Say whether a key is allowed in a domain. Called by the authenticator."""
        allowed = domain in self._lists and key in self._lists[domain].names
        if not allowed and key not in self._unknown:
            if len(self._unknown) >= _REMEMBERED:
                self._unknown.clear()
            self._unknown.add(key)
            where = self._lists[domain].directory if domain in self._lists else domain
            log.warning(
                "unknown key denied: to allow it put the peer's .key file into the directory", key=key.decode(), directory=str(where)
            )
        return allowed

    def curve_user_id(self, client_public_key: bytes) -> str:
        """Return the peer's name: messages carry it as their User-Id, so no peer can speak for another."""
        # Called with the key's 32 bytes, while the allow-list has the 40 characters that files hold.
        key = z85.encode(client_public_key) if len(client_public_key) == 32 else client_public_key
        for allowed in self._lists.values():
            if name := allowed.names.get(key):
                return name
        return ""

    def reload(self) -> None:
        """Read all allow-lists anew."""
        self._unknown.clear()
        for allowed in self._lists.values():
            allowed.reload()
