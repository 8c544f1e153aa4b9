"""The controller's configuration: one TOML file, frozen groups, every field with unit, default and reason."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from controller.core.report import Change
from controller.core.timings import Timings
from controller.errors import PermanentError
from events.problems import problems

Seconds = Annotated[float, Field(gt=0, le=86_400 * 3650)]
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Endpoint = Annotated[str, Field(pattern=r"^(tcp://.+:(\d+|\*)|ipc://.+)$")]


class ConfigError(PermanentError):
    """The configuration cannot be used; the text lists every problem with file and field."""


class Group(BaseModel):
    """Base of all groups: immutable; an unknown field is an error, so that a typo is not silently the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ingest(Group):
    """Where agents connect."""

    bind: Endpoint = "tcp://*:5601"
    key_dir: Path = Path("/etc/faultline/keys")
    """Directory of the controller's own key pair ``controller.key_secret``; made on first start."""
    agents_dir: Path = Path("/etc/faultline/agents")
    """Directory with one public key a node, ``<node>.key``: who is not there is not let in."""


class StoreGroup(Group):
    """What is kept, and for how long."""

    path: Path = Path("/var/lib/faultline/controller/faultline.db")
    keep: Seconds = 30 * 86_400
    """Seconds that events and told incidents are kept. Incidents themselves are kept for good: they are few."""
    max_rows: Annotated[int, Field(ge=10_000)] = 20_000_000
    """Bound of the log in rows, about 500 bytes each. Beyond it even what a stream has not read goes, and the stream is told."""


class Incidents(Group):
    """How long verdicts wait for what. Seconds."""

    settle: Seconds = 3.0
    """After the last new sign before a verdict is told: reports of several nodes are a second or two apart."""
    confirm: Seconds = 30.0
    """How long a verdict must hold to be called confirmed."""
    recovery_hold: Seconds = 20.0
    """How long everything must stay well before an incident is resolved."""
    consequence_hold: Seconds = 120.0
    """How long consequences (paths, volume groups) may outlast their recovered cause."""
    flap_window: Seconds = 45.0
    """A relapse this soon after recovery reopens the incident; doubled with every relapse."""
    flap_window_max: Seconds = 1800.0
    """Bound of the doubled window."""
    await_agents: Seconds = 10.0
    """After a restart: how long nothing new is opened while known agents have not come back with what they saw meanwhile."""
    silent_after: Seconds = 20.0
    """Without a heartbeat for this long an agent is silent: four of its default heartbeats."""

    def timings(self) -> Timings:
        """Return them as the core wants them."""
        return Timings(**{name: int(getattr(self, name) * 1_000_000) for name in type(self).model_fields})


_ALL_CHANGES = tuple(Change)


class Notifier(Group):
    """What every notifier has."""

    name: Name
    changes: tuple[Change, ...] = _ALL_CHANGES
    """Which changes of an incident it is told."""
    give_up_after: Seconds = 86_400.0
    """Seconds after which an undelivered notice becomes a dead letter: a receiver gone for hours loses nothing."""


class Webhook(Notifier):
    """A receiver of signed HTTP POSTs (Standard Webhooks 1.0.0)."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")]
    secret_files: tuple[Path, ...] = ()
    """Files with a secret ``whsec_<base64>`` each; several during rotation: the receiver accepts any."""
    timeout: Annotated[float, Field(gt=0, le=120)] = 10.0
    """Seconds for the whole request."""
    ca_file: Path | None = None
    """Certificate authority of the receiver, beside the system's."""


class Email(Notifier):
    """Mail over SMTP, one thread an incident."""

    changes: tuple[Change, ...] = (Change.OPENED, Change.REVISED, Change.REOPENED, Change.RESOLVED)
    """Default: all but ``recovering``, which ``resolved`` follows soon."""
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    security: Literal["none", "starttls", "tls"] = "starttls"
    """``starttls`` upgrades (ports 25, 587), ``tls`` is implicit (port 465). ``none`` only for a local relay."""
    username: str = ""
    password_file: Path | None = None
    sender: Annotated[str, Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$")]
    """Address that mails come from."""
    to: Annotated[tuple[Annotated[str, Field(pattern=r"^[^\s@<>]+@[^\s@<>]+$")], ...], Field(min_length=1)]
    timeout: Annotated[float, Field(gt=0, le=300)] = 30.0
    """Seconds for the whole session."""
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _login_is_whole_and_safe(self) -> Self:
        if bool(self.username) != bool(self.password_file):
            raise ValueError("username and password_file belong together")
        if self.username and self.security == "none":
            raise ValueError("a password is only sent over starttls or tls")
        return self


class Jsonl(Group):
    """A file with one JSON object a line: everything that happened, for a log shipper."""

    path: Path
    max_bytes: Annotated[int, Field(ge=4096)] = 100 * 1024 * 1024
    """Bytes at which the file is rotated."""
    keep: Annotated[int, Field(ge=0, le=1000)] = 5
    """Rotated files kept, ``path.1`` the newest."""


class Xpub(Group):
    """A ZeroMQ XPUB socket with everything that happens, by topic."""

    bind: Endpoint = "tcp://*:5602"
    subscribers_dir: Path = Path("/etc/faultline/subscribers")
    """Directory with one public key a subscriber, ``<name>.key``."""


class Config(Group):
    """The whole file."""

    cluster: Annotated[str, Field(max_length=255)] = "pve"
    """Name of the cluster in incidents."""
    ingest: Ingest = Ingest()
    store: StoreGroup = StoreGroup()
    incidents: Incidents = Incidents()
    webhook: tuple[Webhook, ...] = ()
    email: tuple[Email, ...] = ()
    jsonl: Jsonl | None = None
    xpub: Xpub | None = None

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return check_config(data, path)


def check_config(data: dict[str, Any], path: Path) -> Config:
    """Check a configuration that was read from ``path``.

    :raises ConfigError: as :func:`load_config`.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in problems(error))) from error
