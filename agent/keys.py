"""This agent's CURVE key pair: made on first start, kept readable for its owner only."""

from __future__ import annotations

from pathlib import Path

import zmq.auth

from agent.errors import PermanentError


class KeyFileError(PermanentError):
    """A key file is missing, unreadable or not a CURVE certificate."""


def own_keys(directory: Path, node: str) -> tuple[bytes, bytes]:
    """Return (public, secret) in Z85 from ``<node>.key_secret`` in a directory, making both on first use.

    :raises KeyFileError: when the file exists and is no key.
    """
    secret_file = directory / f"{node}.key_secret"
    if not secret_file.exists():
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _, written = zmq.auth.create_certificates(directory, node)
        Path(written).chmod(0o600)
    public, secret = _load(secret_file)
    if secret is None:
        raise KeyFileError(f"{secret_file}: holds no secret key; delete it to have a new pair made")
    return public, secret


def public_key(file: Path) -> bytes:
    """Return the public key of a certificate file, Z85.

    :raises KeyFileError: when it is missing or no certificate.
    """
    return _load(file)[0]


def _load(file: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = zmq.auth.load_certificate(file)
    except OSError as error:
        raise KeyFileError(f"{file}: cannot be read: {error.strerror or error}; copy the controller's public key there") from error
    except ValueError as error:
        raise KeyFileError(f"{file}: is no CURVE certificate: {error}") from error
    if len(public) != 40:
        raise KeyFileError(f"{file}: its public-key has {len(public)} characters, a CURVE key has 40")
    return public, secret
