"""The controller's configuration: one TOML file, frozen groups, every field with unit, default and reason."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from controller.core.report import Change
from controller.core.timings import Timings
from controller.errors import PermanentError
from events.problems import problems


def _like(pattern: str, otherwise: str) -> AfterValidator:
    """Return a check that a whole text is of a form; ``otherwise`` tells people which."""
    form = re.compile(pattern)

    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"{otherwise} (is {text!r:.80})")
        return text

    return AfterValidator(check)


def _url(text: str) -> str:
    """Return a URL to post to. Errors do not repeat it: many a receiver's URL holds a token."""
    if not re.fullmatch(r"https?://[\x21-\x7e]+", text):
        raise ValueError("expected http:// or https:// and then a host, all in ASCII without spaces")
    parts = urlsplit(text)  # raises ValueError for brackets that do not match
    if not parts.hostname or parts.port == 0:  # .port raises ValueError above 65535
        raise ValueError("names no host, or port 0")
    if "@" in parts.netloc:
        raise ValueError("carries a login: a receiver knows us by our signature, see secret_files")
    return text


def _endpoint(text: str) -> str:
    """Return what ZeroMQ can bind."""
    port = re.fullmatch(r"ipc://\S+|tcp://\S+:(\*|\d{1,5})", text)
    if not port or int((port[1] or "*").replace("*", "1")) not in range(1, 65536):
        raise ValueError(f"expected tcp://<address or *>:<port> or ipc://<path> (is {text!r:.80})")
    return text


def _absolute(path: Path) -> Path:
    """Return a path that means the same wherever the program was started."""
    if not path.is_absolute():
        raise ValueError(f"expected a path from the root on (is {str(path)!r:.80})")
    return path


def _hidden(path: Path) -> Path:
    """Return the path of a file with a secret, from the root on. Errors do not repeat it: it may be the secret itself."""
    if not path.is_absolute():
        raise ValueError("expected a path from the root on: it names the file with the secret, not the secret")
    return path


def _some(what: str) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return a check that a list is not empty; it runs only when every element is right, so nothing is said twice."""

    def check(values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError(f"is empty: name at least one {what}")
        return values

    return check


# Strict numbers: `true` would be one second, and "30" is a typing mistake.
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400 * 3650)]
Count = Annotated[int, Field(strict=True)]
File = Annotated[Path, AfterValidator(_absolute)]
SecretFile = Annotated[Path, AfterValidator(_hidden)]
# No full stop: the name is part of a webhook's id, where a full stop ends the id (Standard Webhooks 1.0.0, signature scheme).
Name = Annotated[
    str, _like("[A-Za-z0-9][A-Za-z0-9_-]{0,62}", "expected 1 to 63 letters, digits, hyphens or underscores, a letter or digit first")
]
Host = Annotated[str, _like(r"[^\s/@]{1,255}", "expected a host's name or address, the port goes into port")]
# A bare address in ASCII, as HTML's input type has it: a comma or a line break would make another header of it.
Address = Annotated[
    str,
    Field(max_length=320),
    _like(
        r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", "expected one bare mail address, such as storage@example.com"
    ),
]
Url = Annotated[str, AfterValidator(_url)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]


class ConfigError(PermanentError):
    """The configuration cannot be used; the text lists every problem with file and field."""


class Group(BaseModel):
    """Base of all groups: immutable; an unknown field is an error, so that a typo is not silently the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ingest(Group):
    """Where agents connect."""

    bind: Endpoint = "tcp://*:5601"
    key_dir: File = Path("/var/lib/faultline/controller/keys")
    """Directory of the controller's own key pair ``controller.key_secret``; made on first start."""
    agents_dir: File = Path("/etc/faultline/agents")
    """Directory with one public key a node, ``<node>.key``: who is not there is not let in."""


class StoreGroup(Group):
    """What is kept, and for how long."""

    path: File = Path("/var/lib/faultline/controller/faultline.db")
    keep: Seconds = 30 * 86_400
    """Seconds that events and told incidents are kept. Incidents themselves are kept for good: they are few."""
    max_rows: Annotated[Count, Field(ge=10_000)] = 20_000_000
    """Bound of the log in rows, about 500 bytes each. Beyond it even what a stream has not read goes, and the stream is told."""


class Incidents(Group):
    """How long verdicts wait for what. Seconds."""

    settle: Seconds = 2.0
    """From the first sign to the earliest telling: what is over sooner is no incident."""
    longest: Seconds = 10.0
    """The same at the latest: what other nodes may still report is not waited for any longer."""
    confirm: Seconds = 30.0
    """How long a verdict must hold to be called confirmed."""
    recovery_hold: Seconds = 20.0
    """How long everything must stay well before an incident is resolved."""
    consequence_hold: Seconds = 120.0
    """How long consequences (paths, volume groups) may outlast their recovered cause."""
    flap_window: Seconds = 45.0
    """A relapse this soon after recovery reopens the incident; doubled from the third recurrence on: slow flapping becomes one, too."""
    flap_window_max: Seconds = 180.0
    """Bound of the doubled window: what recurs less often than this is another incident each time."""
    flap_memory: Seconds = 1800.0
    """How long a resolved incident is remembered as one that may recur."""
    await_agents: Seconds = 10.0
    """After a restart: how long nothing new is opened while known agents have not come back with what they saw meanwhile."""
    silent_after: Seconds = 20.0
    """Without a heartbeat for this long an agent is silent: ten of its default heartbeats."""

    def timings(self) -> Timings:
        """Return them as the core wants them."""
        return Timings(**{name: int(getattr(self, name) * 1_000_000) for name in type(self).model_fields})


_ALL_CHANGES = tuple(Change)


class Notifier(Group):
    """What every notifier has."""

    name: Name
    changes: Annotated[tuple[Change, ...], AfterValidator(_some("change"))] = _ALL_CHANGES
    """Which changes of an incident it is told. Of one that was planned the first that is not any more is ``opened``, too."""
    give_up_after: Seconds = 86_400.0
    """Seconds after which an undelivered notice is a dead letter, tried ten times at least: a receiver gone for hours loses nothing."""


class Webhook(Notifier):
    """A receiver of signed HTTP POSTs (Standard Webhooks 1.0.0)."""

    url: Url
    secret_files: tuple[SecretFile, ...] = ()
    """Files with a secret ``whsec_<base64>`` each; several during rotation: the receiver accepts any."""
    timeout: Annotated[Seconds, Field(le=120)] = 10.0
    """Seconds for the whole request."""
    ca_file: File | None = None
    """Certificate authority of the receiver, beside the system's."""


class Email(Notifier):
    """Mail over SMTP, one thread an incident."""

    changes: Annotated[tuple[Change, ...], AfterValidator(_some("change"))] = (
        Change.OPENED,
        Change.REVISED,
        Change.REOPENED,
        Change.RESOLVED,
    )
    """Default: all but ``recovering``, which ``resolved`` follows soon."""
    host: Host
    port: Annotated[Count, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "starttls"
    """``starttls`` upgrades (ports 25, 587), ``tls`` is implicit (port 465). ``none`` only for a local relay."""
    username: str = ""
    password_file: SecretFile | None = None
    sender: Address
    """Address that mails come from."""
    to: Annotated[tuple[Address, ...], AfterValidator(_some("address"))]
    timeout: Annotated[Seconds, Field(le=300)] = 30.0
    """Seconds for the whole session."""
    ca_file: File | None = None

    @model_validator(mode="after")
    def _login_is_whole_and_safe(self) -> Self:
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file belong together")
        if self.username and self.security == "none":
            raise ValueError("a password is only sent over starttls or tls")
        return self


class Jsonl(Group):
    """A file with one JSON object a line: everything that happened, for a log shipper."""

    path: File
    max_bytes: Annotated[Count, Field(ge=4096)] = 100 * 1024 * 1024
    """Bytes at which the file is rotated."""
    keep: Annotated[Count, Field(ge=0, le=1000)] = 5
    """Rotated files kept, ``path.1`` the newest."""


class Xpub(Group):
    """A ZeroMQ XPUB socket with everything that happens, by topic."""

    bind: Endpoint = "tcp://*:5602"
    subscribers_dir: File = Path("/etc/faultline/subscribers")
    """Directory with one public key a subscriber, ``<name>.key``."""


class Config(Group):
    """The whole file."""

    cluster: Annotated[str, _like(r"[^\x00-\x1f\x7f]{1,255}", "expected 1 to 255 printable characters")] = "pve"
    """Name of the cluster in incidents."""
    ingest: Ingest = Ingest()
    store: StoreGroup = StoreGroup()
    incidents: Incidents = Incidents()
    webhook: tuple[Webhook, ...] = ()
    email: tuple[Email, ...] = ()
    jsonl: Jsonl | None = None
    xpub: Xpub | None = None

    @model_validator(mode="after")
    def _sockets_differ(self) -> Self:
        if self.xpub and self.xpub.bind == self.ingest.bind and not self.xpub.bind.endswith(":*"):
            raise ValueError(f"ingest.bind and xpub.bind are both {self.xpub.bind}: give them different ports")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = Counter([*(f"webhook {one.name}" for one in self.webhook), *(f"email {one.name}" for one in self.email)])
        double = [name for name, count in names.items() if count > 1]
        if double:
            raise ValueError(f"two notifiers are called {double[0]}")
        return self


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    :raises ConfigError: when it cannot be read, is no TOML or has wrong fields; all problems at once, one a line.
    """
    try:
        with path.open("rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: is not TOML: line {line} is not UTF-8; save the file as UTF-8") from error
    return check_config(data, path)


def check_config(data: dict[str, Any], path: Path) -> Config:
    """Check a configuration that was read from ``path``.

    :raises ConfigError: as :func:`load_config`.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in problems(error))) from error
