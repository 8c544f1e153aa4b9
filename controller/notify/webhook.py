"""Webhooks by the Standard Webhooks specification 1.0.0: signed, with a stable id, so that a receiver can verify and deduplicate.

The id and the time of each attempt are in what is signed: ``<id>.<seconds>.<body>``. Names of notifiers have no full stop, so
neither has an id, and the three parts cannot be cut in another place.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx

from controller.errors import PermanentError
from controller.notify.base import Message, PermanentDeliveryError, TemporaryDeliveryError
from controller.notify.trust import client_context

_GONE: Final = 410
_LONGEST_WAIT: Final = 3600.0
"""Seconds of Retry-After that are respected at most."""
_READ: Final = 16 * 1024
"""An answer of at most these bytes is read, so that its connection can serve the next message; any other ends the connection."""


class SecretError(PermanentError):
    """A secret file is missing or holds no ``whsec_`` secret. The text never repeats it."""


def read_secret(file: Path) -> bytes:
    """Return the key bytes of a secret file: ``whsec_`` and base64 of 24 to 64 bytes.

    :raises SecretError: when it is missing or something else.
    """
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretError(f"{file}: cannot be read: {error}") from error
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise SecretError(f"{file}: expected whsec_ and the base64 of 24 to 64 bytes; make one: echo whsec_$(openssl rand -base64 32)")
    return key


def signature(key: bytes, identity: str, timestamp: int, body: bytes) -> str:
    """Return ``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    signed = hmac.new(key, f"{identity}.{timestamp}.".encode() + body, sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


class WebhookNotifier:
    """Posts reports to one URL. ``secrets`` sign each message, all of them during a rotation; ``timeout`` seconds for all of it.

    :raises TrustFileError: when the certificate authority's file is not there.
    """

    def __init__(self, url: str, secrets: list[bytes], timeout: float, ca_file: Path | None, version: str) -> None:
        self._url = url
        self._secrets = secrets
        self._timeout = timeout
        self._client = httpx.AsyncClient(
            verify=client_context(ca_file),
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": f"faultline/{version}"},
        )

    async def close(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    async def send(self, message: Message) -> str:
        """Post one report. See :class:`controller.notify.base.Notifier`."""
        body, seconds = message.payload.encode(), message.at // 1_000_000
        headers = {"Content-Type": "application/json", "webhook-id": message.key, "webhook-timestamp": str(seconds)}
        if self._secrets:
            headers["webhook-signature"] = " ".join(signature(key, message.key, seconds, body) for key in self._secrets)
        try:
            # httpx's own timeout is for each read: a receiver that drips would never reach it.
            async with asyncio.timeout(self._timeout):
                answer = await self._post(body, headers)
        except (TimeoutError, httpx.TimeoutException):
            raise TemporaryDeliveryError(f"no answer within {self._timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TemporaryDeliveryError(f"{type(error).__name__}: {error}") from error
        return _judge(answer, message.at / 1_000_000)

    async def _post(self, body: bytes, headers: dict[str, str]) -> httpx.Response:
        async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
            if _is_short(answer):
                with suppress(httpx.HTTPError):  # the status was said; what is wrong with the text behind it does not matter
                    async for _ in answer.aiter_raw():
                        pass
        return answer


def _is_short(answer: httpx.Response) -> bool:
    length = answer.headers.get("Content-Length", "0" if answer.status_code == httpx.codes.NO_CONTENT else "")
    return length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= _READ


def _judge(answer: httpx.Response, now: float) -> str:
    text = f"HTTP {answer.status_code}"
    if answer.is_success:
        return text
    if answer.status_code == _GONE:
        raise PermanentDeliveryError(f"{text}: the receiver is gone for good; remove it from the configuration")
    # Anything else may be repaired over there: an administrator who mistyped a path must not lose the notices of the night.
    raise TemporaryDeliveryError(text, _retry_after(answer.headers.get("Retry-After", ""), now))


def _retry_after(value: str, now: float) -> float | None:
    """Read Retry-After (RFC 9110 §10.2.3): seconds or a date. ``now`` in Unix seconds; what is neither counts as not said."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), _LONGEST_WAIT)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.fromtimestamp(now, UTC)).total_seconds()), _LONGEST_WAIT)
