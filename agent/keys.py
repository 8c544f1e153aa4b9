"""This agent's CURVE key pair: made on first start, kept readable for its owner only."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import zmq.auth

from agent.errors import PermanentError


class KeyFileError(PermanentError):
    """A key file is missing, unreadable or not a CURVE certificate."""


def own_keys(directory: Path, node: str) -> tuple[bytes, bytes]:
    """Return (public, secret) in Z85 from ``<node>.key_secret`` in a directory, making both on first use.

    :raises KeyFileError: when they cannot be made, or the file exists and is no key pair.
    """
    secret_file = directory / f"{node}.key_secret"
    try:
        if not secret_file.exists():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_keys(directory, node)
    except OSError as error:
        raise KeyFileError(f"{secret_file}: cannot be made: {error.strerror or error}") from error
    public, secret = _load(secret_file)
    if secret is None:
        raise KeyFileError(f"{secret_file}: holds no secret key; delete it to have a new pair made")
    return public, secret


def _make_keys(directory: Path, node: str) -> None:
    """Make both files, whole or not at all; the secret is at no time readable for others."""
    with TemporaryDirectory(dir=directory) as private:  # mode 0700
        public, secret = zmq.auth.create_certificates(private, node)
        Path(secret).chmod(0o600)
        Path(public).replace(directory / f"{node}.key")
        Path(secret).replace(directory / f"{node}.key_secret")


def public_key(file: Path) -> bytes:
    """Return the public key of a certificate file, Z85.

    :raises KeyFileError: when it is missing or no certificate.
    """
    return _load(file, "; copy the controller's public key there")[0]


def _load(file: Path, hint: str = "") -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(file)
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be read: {error.strerror or error}{hint}") from error
    except ValueError as error:
        raise KeyFileError(f"{file}: is no CURVE certificate: {error}") from error
    if len(public) != 40:
        raise KeyFileError(f"{file}: its public-key has {len(public)} characters, a CURVE key has 40")
    return public, secret
