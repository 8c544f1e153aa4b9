import base64
import hmac
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.report import IncidentReport
from controller.errors import PermanentError, TemporaryError
from controller.notify.base import Message, PermanentDeliveryError, TemporaryDeliveryError
from controller.notify.trust import TrustFileError
from controller.notify.webhook import SecretError, WebhookNotifier, _retry_after, read_secret, signature
from tests.certificates import Certificates
from tests.receivers import Answer, Behaviour, Call, Close, Drip, Hang, HttpReceiver, unused_port
from tests.reports import one_incident

SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + base64.b64encode(bytes(range(32))).decode()]
AT = 1_700_000_000_123_456


def verified(call: Call, secret: str) -> bool:
    """Verify a call as a receiver does who only knows the specification."""
    signed = b".".join([call.headers["webhook-id"].encode(), call.headers["webhook-timestamp"].encode(), call.body])
    digest = base64.b64encode(hmac.digest(base64.b64decode(secret.split("_")[1]), signed, "sha256")).decode()
    return any(hmac.compare_digest(given, f"v1,{digest}") for given in call.headers["webhook-signature"].split(" "))


@asynccontextmanager
async def notifier(
    url: str, *, secrets: list[str] | None = None, patience: float = 5.0, ca_file: Path | None = None
) -> AsyncIterator[WebhookNotifier]:
    """Return a notifier."""
    keys = [base64.b64decode(secret.split("_")[1]) for secret in secrets or SECRETS[:1]]
    made = WebhookNotifier(url, keys, patience, ca_file, "0.1.0")
    yield made
    await made.close()


def message(at: int = AT) -> Message:
    """Return what the drain hands to a notifier."""
    report = one_incident()[0]
    return Message(report, report.model_dump_json(), f"webhook:chat:{report.id}:1", at)


async def failure(*script: Behaviour, patience: float = 5.0) -> Any:
    """Return the error that a receiver's behaviour leads to."""
    with HttpReceiver(*script) as receiver:
        async with notifier(receiver.url, patience=patience) as to:
            with pytest.raises((TemporaryDeliveryError, PermanentDeliveryError)) as caught:
                await to.send(message())
    return caught.value


def test_signature_is_the_specifications() -> None:
    """The signature of the specification's published example is the published one."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_receiver_can_verify_what_it_gets() -> None:
    """The report arrives as JSON whose signature holds for its id, the time of the attempt and every byte of the body."""
    with HttpReceiver() as receiver:
        async with notifier(receiver.url) as to:
            assert await to.send(message()) == "HTTP 204"
    call = receiver.calls[0]

    assert (call.method, call.path) == ("POST", "/hooks/storage")
    assert call.headers["content-type"] == "application/json"
    assert call.headers["webhook-timestamp"] == "1700000000"
    assert call.headers["webhook-id"] == message().key
    assert "." not in call.headers["webhook-id"]
    assert call.headers["user-agent"] == "faultline/0.1.0"
    assert IncidentReport.model_validate_json(call.body) == one_incident()[0]
    assert verified(call, SECRETS[0])
    assert not verified(call, SECRETS[1])
    assert not verified(Call(call.method, call.path, call.headers, call.body + b" "), SECRETS[0])
    assert not verified(Call(call.method, call.path, {**call.headers, "webhook-timestamp": "1700000001"}, call.body), SECRETS[0])


async def test_each_attempt_has_its_own_time_and_the_same_id() -> None:
    """A repeat carries the time of the repeat, signed, so that a receiver that refuses old messages takes it."""
    with HttpReceiver() as receiver:
        async with notifier(receiver.url) as to:
            await to.send(message())
            await to.send(message(AT + 600_000_000))

    assert [call.headers["webhook-timestamp"] for call in receiver.calls] == ["1700000000", "1700000600"]
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert all(verified(call, SECRETS[0]) for call in receiver.calls)


async def test_receivers_rotate_secrets_in_their_own_time() -> None:
    """With two secrets each message verifies with either."""
    with HttpReceiver() as receiver:
        async with notifier(receiver.url, secrets=SECRETS) as to:
            await to.send(message())

    assert len(receiver.calls[0].headers["webhook-signature"].split(" ")) == 2
    assert all(verified(receiver.calls[0], secret) for secret in SECRETS)


async def test_connections_are_used_again() -> None:
    """Messages to one receiver share a connection, also when it answers with a body."""
    with HttpReceiver(*[Answer(200, body=b'{"ok":true}')] * 3) as receiver:
        async with notifier(receiver.url) as to:
            for _ in range(3):
                await to.send(message())

    assert (len(receiver.calls), receiver.connections) == (3, 1)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 413, 429, 500, 502, 503, 504])
async def test_other_answers_are_failures_that_may_pass(status: int) -> None:
    """Everything but 2xx and 410 is tried again: somebody may repair it over there. Redirects are not followed."""
    with HttpReceiver() as elsewhere:
        error = await failure(Answer(status, {"Location": elsewhere.url}))

        assert isinstance(error, TemporaryError)
        assert str(error) == f"HTTP {status}"
        assert elsewhere.calls == []


async def test_gone_is_for_good() -> None:
    """410 Gone is not tried again, and the text says what to do."""
    error = await failure(Answer(410))

    assert isinstance(error, PermanentError)
    assert "remove it from the configuration" in str(error)


@pytest.mark.parametrize("behaviour", [Hang(), Drip()])
async def test_timeout_is_for_the_whole_request(behaviour: Behaviour) -> None:
    """A receiver that never answers, or answers a byte at a time for ever, is given up after the timeout, not later."""
    begin = time.monotonic()
    error = await failure(behaviour, patience=0.4)

    assert str(error) == "no answer within 0.4 s"
    assert time.monotonic() - begin < 2


async def test_endless_answer_is_cut_off() -> None:
    """Of an answer only the beginning is read: a receiver that answers with a gigabyte costs neither time nor memory."""
    with HttpReceiver(Answer(200, {"Content-Length": str(2**40)}, bytes(200_000))) as receiver:
        async with notifier(receiver.url, patience=5) as to:
            begin = time.monotonic()
            assert await to.send(message()) == "HTTP 200"
            assert time.monotonic() - begin < 2


async def test_success_is_in_the_status() -> None:
    """A receiver that says 200 has taken the message, whatever is wrong with the text behind it."""
    with HttpReceiver(Answer(200, {"Content-Encoding": "gzip"}, b"no gzip")) as receiver:
        async with notifier(receiver.url) as to:
            assert await to.send(message()) == "HTTP 200"


async def test_broken_connections_are_failures_that_may_pass() -> None:
    """A refused connection, one that ends without an answer, and a name that does not resolve are tried again."""
    assert isinstance(await failure(Close()), TemporaryError)
    for url in (f"http://127.0.0.1:{unused_port()}/", "http://no-such-host.invalid/"):
        async with notifier(url) as to:
            with pytest.raises(TemporaryDeliveryError):
                await to.send(message())


async def test_proxy_settings_of_the_environment_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where notices go stands in the configuration alone."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused_port()}")
    with HttpReceiver() as receiver:
        async with notifier(receiver.url) as to:
            assert await to.send(message()) == "HTTP 204"


async def test_receiver_must_prove_who_it_is(tmp_path: Path) -> None:
    """Over TLS a receiver is believed by the configured authority only; otherwise it gets nothing."""
    certificates = Certificates.make(tmp_path)
    with HttpReceiver(tls=certificates.server) as receiver:
        async with notifier(receiver.url, ca_file=certificates.authority) as to:
            assert await to.send(message()) == "HTTP 204"
        async with notifier(receiver.url) as to:
            with pytest.raises(TemporaryDeliveryError, match="CERTIFICATE_VERIFY_FAILED"):
                await to.send(message())
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authority_is_read_at_the_start(tmp_path: Path, content: str | None) -> None:
    """A missing or wrong authority's file is an error of the start that names it, not one of every delivery."""
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)

    with pytest.raises(TrustFileError, match=r"ca\.pem: is no readable certificate authority"):
        WebhookNotifier("https://127.0.0.1/", [], 1.0, file, "test")


def test_secret_file(tmp_path: Path) -> None:
    """A secret is the prefix and base64 of 24 to 64 bytes; the line's end does not matter."""
    file = tmp_path / "secret"
    for size in (24, 64):
        key = os.urandom(size)
        file.write_text(f"whsec_{base64.b64encode(key).decode()}\n")
        assert read_secret(file) == key


@pytest.mark.parametrize(
    "text", [None, "", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqr", "whsec_MfKQ9r8G!!qrTwjUPD8ILPZIo2LaLaSw", "whsec_ä"]
)
def test_bad_secret_is_refused_and_not_repeated(tmp_path: Path, text: str | None) -> None:
    """What is no secret is refused with the file's name and how to make one; its content is never shown."""
    file = tmp_path / "secret"
    if text is not None:
        file.write_text(text)

    with pytest.raises(SecretError, match=str(file)) as caught:
        read_secret(file)
    assert not text or text.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 17 ", 17),
        ("99999999999999999999", 3600),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:14:20 -0000", 60),
        ("Tue, 14 Nov 2000 22:14:20 GMT", 0),
        ("Fri, 14 Nov 2036 22:14:20 GMT", 3600),
        ("²", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """Retry-After is seconds or a date, never more than an hour; anything else counts as not said."""
    assert _retry_after(value, 1_700_000_000.0) == seconds


@given(st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,30} [A-Z][a-z]{2} [0-9]{1,12} [0-9:]{1,20}( [+-]?[0-9A-Z]{1,12})?"))
def test_no_retry_after_is_an_accident(value: str) -> None:
    """Whatever a receiver writes there, it costs us at most an hour."""
    assert 0 <= (_retry_after(value, 1_700_000_000.0) or 0) <= 3600
