import asyncio
import re
import sys
import threading
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import pytest

from controller.core.report import Change, Guests, IncidentReport
from controller.errors import PermanentError, TemporaryError
from controller.notify.base import Message, PermanentDeliveryError, TemporaryDeliveryError
from controller.notify.email import EmailNotifier, PasswordFileError, Server
from controller.notify.render import html, mail, subject, text
from controller.notify.trust import TrustFileError
from tests.certificates import Certificates
from tests.receivers import Close, Drip, Hang, Mishap, Reply, SmtpReceiver, unused_port
from tests.reports import one_incident

ROOT = Path(__file__).resolve().parents[3]
SENDER, TO = "faultline@pve.example", ("oncall@example.org", "storage@example.org")
AT = 1_700_000_000_000_000
NASTY = "x\r\nBcc: everybody@example.org\r\n\r\n<script>alert('\"&amp;')</script>\u2028\x00\x1b[31m"
Security = Literal["none", "starttls", "tls"]


def server(
    port: int,
    security: Security = "none",
    *,
    username: str = "",
    password_file: Path | None = None,
    patience: float = 5.0,
    ca_file: Path | None = None,
) -> Server:
    """Return how to reach a server on loopback."""
    return Server("127.0.0.1", port, security, username, password_file, patience, ca_file)


def notifier(to: Server, *changes: Change) -> EmailNotifier:
    """Return a notifier that is told some changes, or all."""
    return EmailNotifier(to, SENDER, TO, changes or tuple(Change))


def message(report: IncidentReport, at: int = AT) -> Message:
    """Return what the drain hands to a notifier."""
    return Message(report, report.model_dump_json(), f"email:oncall:{report.id}:{report.number}", at)


def parsed(letter: EmailMessage) -> EmailMessage:
    """Return a mail as its receiver reads it, from its bytes."""
    return message_from_bytes(letter.as_bytes(policy=policy.SMTP), policy=policy.default)


async def failure(*script: Mishap, patience: float = 5.0) -> Any:
    """Return the error that a server's behaviour leads to."""
    with SmtpReceiver(*script) as receiver, pytest.raises((TemporaryDeliveryError, PermanentDeliveryError)) as caught:
        await notifier(server(receiver.port, patience=patience)).send(message(one_incident()[0]))
    return caught.value


async def test_mail_arrives_and_can_be_read() -> None:
    """The mail has text and HTML that say the same, comes from and goes to whom the configuration says, and says that it is automatic."""
    report = one_incident()[0]
    with SmtpReceiver() as receiver:
        assert await notifier(server(receiver.port)).send(message(report)) == "accepted"
    got = receiver.mails[0]

    assert (got.sender, got.recipients, got.over_tls) == (SENDER, TO, False)
    assert got.message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in got.message.iter_parts()] == ["text/plain", "text/html"]
    assert got.message["Auto-Submitted"] == "auto-generated"
    assert got.message["X-Faultline-Incident"] == report.id
    assert got.message["Date"].datetime == datetime.fromtimestamp(AT / 1_000_000, UTC)
    assert [address.addr_spec for address in got.message["To"].addresses] == list(TO)
    for part in got.message.iter_parts():
        body = part.get_content() if part.get_content_type() == "text/plain" else visible(part.get_content())
        for line in (report.title, report.cause, report.entity, *report.nodes, *report.why, *report.remedies):
            assert line in body


def visible(page: str) -> str:
    """Return what a reader of an HTML page sees."""
    return " ".join(Page(page).seen)


class Page(HTMLParser):
    """A page taken apart: its texts, and the kinds of its elements with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.elements: set[tuple[str, tuple[str, ...]]] = set()
        self.feed(page)

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.seen.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.add((tag, tuple(name for name, _ in attrs)))


async def test_mails_of_an_incident_are_one_thread() -> None:
    """All mails of an incident refer to its first one; subjects differ only by what clients strip, until the incident is named anew."""
    reports = one_incident()
    with SmtpReceiver() as receiver:
        to = notifier(server(receiver.port))
        for report in reports:
            await to.send(message(report))
    first, *later = [got.message for got in receiver.mails]

    assert "In-Reply-To" not in first
    assert later
    assert all(one["In-Reply-To"] == one["References"] == first["Message-ID"] for one in later)
    assert len({one["Message-ID"] for one in [first, *later]}) == len(receiver.mails)
    subjects = [base_subject(got.message["Subject"]) for got in receiver.mails]
    assert len(set(subjects)) == len({report.title for report in reports}) < len(subjects)
    assert not first["Subject"].startswith("Re:")
    assert later[-1]["Subject"].startswith("Re: [resolved] ")


def base_subject(value: str) -> str:
    """Strip "Re:" and bracketed words from a subject's beginning, as clients do that thread by it (RFC 5256 §2.1)."""
    while (shorter := re.sub(r"^(re:\s*|\[[^\[\]]*\]\s*)(?=\S)", "", value, flags=re.IGNORECASE)) != value:
        value = shorter
    return value


async def test_thread_begins_with_the_first_change_that_is_told() -> None:
    """When openings are not mailed the thread hangs on the first change that is."""
    changes = one_incident()
    wanted = [one for one in changes if one.change is not Change.OPENED]
    with SmtpReceiver() as receiver:
        to = notifier(server(receiver.port), *{one.change for one in wanted})
        for report in wanted:
            await to.send(message(report))
    first, *later = [got.message for got in receiver.mails]

    assert "References" not in first
    assert all(one["References"] == first["Message-ID"] for one in later)


async def test_repeated_mail_is_recognizable() -> None:
    """A mail that is sent again after a lost answer has the same Message-ID: mailboxes show it once."""
    with SmtpReceiver() as receiver:
        to = notifier(server(receiver.port))
        await to.send(message(one_incident()[0]))
        await to.send(message(one_incident()[0], AT + 1))

    assert len({got.message["Message-ID"] for got in receiver.mails}) == 1


def test_nothing_in_a_report_becomes_a_header() -> None:
    """Line breaks and control characters in an incident's texts end neither a header nor the headers."""
    report = one_incident()[0].model_copy(update={"cluster": NASTY, "id": NASTY, "entity": NASTY, "title": NASTY})
    plain = mail(one_incident()[0], SENDER, TO, 1, AT)
    got = parsed(mail(report, SENDER, TO, 1, AT))

    assert got.keys() == parsed(plain).keys()
    assert "Bcc" not in got
    assert all(value.isprintable() for value in got.values())
    assert got.get_content_type() == "multipart/alternative"


def test_everything_in_html_is_escaped() -> None:
    """Whatever stands in whichever field of a report shows as text in the HTML and adds no element or attribute to it."""
    fields: dict[str, Any] = {
        name: NASTY for name in ("cluster", "id", "entity", "title", "cause", "state", "at") if name in IncidentReport.model_fields
    }
    lists = dict.fromkeys(("nodes", "storages", "why", "remedies", "related"), (NASTY,))
    report = one_incident()[-1]
    moments = tuple(one.model_copy(update={"at": NASTY, "change": NASTY, "text": NASTY}) for one in report.timeline)
    others = tuple(one.model_copy(update={"cause": NASTY, "entity": NASTY, "reason": NASTY}) for one in one_incident()[0].alternatives)
    nasty = report.model_copy(
        update={**fields, **lists, "timeline": moments, "alternatives": others, "guests": Guests(frozen=(NASTY,), at_risk=(NASTY,))}
    )

    assert Page(html(nasty)).elements <= Page(html(report)).elements | {("ul", ()), ("li", ()), ("h3", ())}
    assert "<script" not in html(nasty)
    assert "alert('\"&amp;')" in visible(html(nasty))


def test_text_says_whom_it_hits() -> None:
    """The text tells state, cause, guests, what to do and the history, in this order and without empty sections."""
    report = one_incident()[-1].model_copy(update={"guests": Guests(frozen=("100", "101"), at_risk=("102",)), "remedies": ()})
    body = text(report)

    assert body.index(report.title) < body.index("Cause:") < body.index("Why:") < body.index("Timeline (UTC):")
    assert "frozen: 100, 101; at risk: 102" in body
    assert "What to do:" not in body
    assert [line for line in body.splitlines() if "resolved:" in line]


def test_long_lines_and_other_scripts_survive() -> None:
    """A text of thousands of characters, in any script, arrives as it was, in lines that SMTP allows."""
    report = one_incident()[0].model_copy(update={"why": ("ä字" * 2000,), "cluster": "Nürnberg-字"})
    letter = mail(report, SENDER, TO, 1, AT)
    raw = letter.as_bytes(policy=policy.SMTP)

    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    assert all(byte < 128 for byte in raw)
    got = parsed(letter)
    assert "ä字" * 2000 in got.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert got["Subject"] == subject(report)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_login_over_tls(tmp_path: Path, security: Security) -> None:
    """Over STARTTLS and implicit TLS the server's certificate is checked, and name and password are taken from their places."""
    certificates, password = Certificates.make(tmp_path), tmp_path / "password"
    password.write_text("s3cret and more\n")
    with SmtpReceiver(tls=certificates.server, implicit=security == "tls", login=("faultline", "s3cret and more")) as receiver:
        to = server(receiver.port, security, username="faultline", password_file=password, ca_file=certificates.authority)
        assert await notifier(to).send(message(one_incident()[0])) == "accepted"

        stranger = server(receiver.port, security, username="faultline", password_file=password)
        with pytest.raises(TemporaryDeliveryError, match="CERTIFICATE_VERIFY_FAILED"):
            await notifier(stranger).send(message(one_incident()[0]))

    assert [(got.over_tls, got.login) for got in receiver.mails] == [(True, "faultline")]


async def test_corrected_password_works_without_restart(tmp_path: Path) -> None:
    """A refused login is no end: the mail waits, and goes when the password file was corrected. No error shows the password."""
    certificates, password = Certificates.make(tmp_path), tmp_path / "password"
    password.write_text("wr0ng")
    with SmtpReceiver(tls=certificates.server, login=("faultline", "s3cret")) as receiver:
        to = notifier(server(receiver.port, "starttls", username="faultline", password_file=password, ca_file=certificates.authority))
        for refused in ("wr0ng", "wröng"):
            password.write_text(refused)
            with pytest.raises(TemporaryDeliveryError) as caught:
                await to.send(message(one_incident()[0]))
            assert refused not in repr(caught.value)
        password.write_text("s3cret")
        assert await to.send(message(one_incident()[0])) == "accepted"


async def test_password_never_goes_in_the_clear() -> None:
    """A server that offers no STARTTLS, be it by an attacker between, gets no mail and no login; the mail waits."""
    with SmtpReceiver() as receiver, pytest.raises(TemporaryDeliveryError, match="STARTTLS"):
        await notifier(server(receiver.port, "starttls")).send(message(one_incident()[0]))

    assert receiver.mails == []


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_password_file_is_read_at_the_start(tmp_path: Path, content: str | None) -> None:
    """A missing or empty password file is an error of the start that names it."""
    file = tmp_path / "password"
    if content is not None:
        file.write_text(content)

    with pytest.raises(PasswordFileError, match=str(file)):
        notifier(server(25, "tls", username="faultline", password_file=file))
    with pytest.raises(TrustFileError, match=r"ca\.pem"):
        notifier(server(25, "tls", ca_file=tmp_path / "ca.pem"))


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize(
    ("reply", "kind"), [("451 try later", TemporaryError), ("554 no", PermanentError), ("530 login first", TemporaryError)]
)
async def test_reply_says_whether_to_try_again(at: str, reply: str, kind: type[Exception]) -> None:
    """A 4yz reply is tried again, a 5yz reply is not, wherever it comes; one that asks for a login can be corrected."""
    error = await (refused_recipients(reply, reply) if at == "RCPT" else failure(Reply(at, reply)))

    assert isinstance(error, kind)
    assert str(error) == f"SMTP {reply.replace(' ', ': ', 1)}"


async def refused_recipients(first: str, second: str) -> Any:
    """Return the error when each of two recipients is refused."""
    with (
        SmtpReceiver(recipients={TO[0]: first, TO[1]: second}) as receiver,
        pytest.raises((TemporaryDeliveryError, PermanentDeliveryError)) as caught,
    ):
        await notifier(server(receiver.port)).send(message(one_incident()[0]))
    return caught.value


async def test_hope_for_one_recipient_is_hope() -> None:
    """When all recipients are refused, one of them only for now, the mail is tried again."""
    assert isinstance(await refused_recipients("550 unknown", "450 greylisted"), TemporaryError)
    assert isinstance(await refused_recipients("450 greylisted", "550 unknown"), TemporaryError)


async def test_record_says_who_was_refused() -> None:
    """When only some recipients are refused the mail is delivered to the others, and the record names who was left out and why."""
    with SmtpReceiver(Reply("RCPT", "550 unknown")) as receiver:
        answer = await notifier(server(receiver.port)).send(message(one_incident()[0]))

    assert answer == f"accepted, but for {TO[0]} SMTP 550: unknown"
    assert receiver.mails[0].recipients == TO[1:]


@pytest.mark.parametrize("at_last", ["", "550 unknown"])
async def test_who_is_refused_for_now_gets_the_mail_later(at_last: str) -> None:
    """One of two recipients is greylisted: the mail is tried again for that one alone, and the record says how it ended."""
    with SmtpReceiver(recipients={TO[0]: "450 greylisted"}) as receiver:
        sender = notifier(server(receiver.port))
        with pytest.raises(TemporaryDeliveryError, match=f"^accepted, but for {TO[0]} SMTP 450: greylisted$"):
            await sender.send(message(one_incident()[0]))
        receiver.recipients[TO[0]] = at_last
        answer = await sender.send(message(one_incident()[0]))
        others = await sender.send(message(one_incident()[1])) if not at_last else ""

    assert answer == (f"accepted, but for {TO[0]} SMTP 550: unknown" if at_last else "accepted")
    assert [mail.recipients for mail in receiver.mails] == ([TO[1:]] if at_last else [TO[1:], TO[:1], TO])
    assert others == ("" if at_last else "accepted")


@pytest.mark.parametrize("mishap", [Hang(), Drip()])
async def test_deadline_is_for_the_whole_session(mishap: Mishap) -> None:
    """A server that says nothing, or another line for ever, is given up at the deadline, and nothing of the session stays."""
    with SmtpReceiver(mishap) as receiver:
        begin = time.monotonic()
        with pytest.raises(TemporaryDeliveryError, match=r"not done within 0\.4 s"):
            await notifier(server(receiver.port, patience=0.4)).send(message(one_incident()[0]))

        assert time.monotonic() - begin < 2
        await eventually(lambda: not [one for one in threading.enumerate() if one.name == "smtp"])


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


HANGING = """
import asyncio, pathlib, sys
from controller.core.report import Change, IncidentReport
from controller.notify.base import Message
from controller.notify.email import EmailNotifier, Server

async def main():
    to = EmailNotifier(Server("127.0.0.1", int(sys.argv[1]), "none", "", None, 60.0, None), "a@b.example", ("c@d.example",), tuple(Change))
    payload = pathlib.Path(sys.argv[2]).read_text()
    sending = asyncio.create_task(to.send(Message(IncidentReport.model_validate_json(payload), payload, "key", 0)))
    await asyncio.to_thread(sys.stdin.readline)
    sending.cancel()

asyncio.run(main())
"""


async def test_hanging_server_does_not_delay_our_end(tmp_path: Path) -> None:
    """A controller that is told to stop while a mail server hangs ends at once, not when the server's minute is up."""
    payload = tmp_path / "report.json"
    payload.write_text(one_incident()[0].model_dump_json())
    with SmtpReceiver(Hang()) as receiver:
        command = (sys.executable, "-c", HANGING, str(receiver.port), str(payload))
        child = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stderr=PIPE)
        await eventually(lambda: receiver.sessions == 1, seconds=20)
        async with asyncio.timeout(10):
            _, errors = await child.communicate(b"stop\n")

    assert (child.returncode, errors) == (0, b"")


async def test_no_server_is_a_failure_that_may_pass() -> None:
    """Refused connections and sessions that end early are tried again."""
    assert isinstance(await failure(Close()), TemporaryError)
    with pytest.raises(TemporaryDeliveryError, match="ConnectionRefusedError"):
        await notifier(server(unused_port())).send(message(one_incident()[0]))
