import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from controller.config import Config, ConfigError, Email, Jsonl, Webhook, Xpub, load_config
from controller.core.report import Change
from controller.errors import PermanentError

REJECTED = sorted((Path(__file__).parent / "config").glob("*.toml"))
SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Stands in some of the rejected files, where no secret belongs."""

FULL = """
cluster = "Rack 3, Ü"
[ingest]
bind = "tcp://[::]:5601"
key_dir = "/keys"
agents_dir = "/agents"
[store]
path = "/faultline.db"
keep = 3600
max_rows = 10_000
[incidents]
settle = 0.5
[[webhook]]
name = "chat"
url = "http://127.0.0.1:8080/hooks?channel=storage"
secret_files = ["/old", "/new"]
changes = ["opened", "resolved"]
timeout = 120
[[email]]
name = "chat"
host = "::1"
port = 465
security = "tls"
username = "faultline"
password_file = "/password"
sender = "faultline@example.com"
to = ["storage@example.com", "night+pager@localhost"]
[jsonl]
path = "/events.jsonl"
keep = 0
[xpub]
bind = "ipc:///run/faultline/events"
"""


def write(folder: Path, text: str | bytes) -> Path:
    """Return a configuration file."""
    file = folder / "controller.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refused(file: Path) -> str:
    """Return what is said of a file that must be refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert isinstance(caught.value, PermanentError)
    return str(caught.value)


@pytest.mark.parametrize("file", REJECTED, ids=[file.stem for file in REJECTED])
def test_mistakes_are_told(file: Path) -> None:
    """Each mistake is refused with the file, the field and what to do, and all mistakes of a file are told together."""
    lines = file.read_text(encoding="utf-8").splitlines()
    expected = [line.removeprefix("# expected: ") for line in lines if line.startswith("# expected: ")]

    assert expected
    assert refused(file).splitlines() == [f"{file}: {line}" for line in expected]


@pytest.mark.parametrize("file", REJECTED, ids=[file.stem for file in REJECTED])
def test_secret_in_the_wrong_place_is_not_repeated(file: Path) -> None:
    """Whatever is wrong with a file, a secret that stands in it is not in the error, which goes to a log."""
    assert SECRET not in refused(file)


def test_some_rejected_files_hold_a_secret() -> None:
    """The test above has something to find."""
    assert sum(SECRET in file.read_text(encoding="utf-8") for file in REJECTED) >= 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"cluster = \n", "line 1, column 11"), (b"# fine\ncluster = '\xff'\n", "line 2 is not UTF-8"), (b"\xff\xfe", "line 1 is not UTF-8")],
)
def test_what_is_no_toml_is_told_with_its_place(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that is no TOML is refused with the line."""
    file = write(tmp_path, content)

    assert refused(file).startswith(f"{file}: is not TOML: ")
    assert reason in refused(file)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a directory in its place are refused by name and reason."""
    assert refused(tmp_path / "none.toml") == f"{tmp_path}/none.toml: cannot be read: No such file or directory"
    assert refused(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_empty_file_works(tmp_path: Path) -> None:
    """Every field has a default: an empty file is a controller that takes events and tells nobody."""
    config = load_config(write(tmp_path, ""))

    assert (config.webhook, config.email, config.jsonl, config.xpub) == ((), (), None, None)
    assert config.ingest.bind == "tcp://*:5601"
    assert config == Config()


def test_every_field_is_taken(tmp_path: Path) -> None:
    """What a file says is what the controller gets; a webhook and a mail notifier may share a name."""
    config = load_config(write(tmp_path, FULL))

    assert config.cluster == "Rack 3, Ü"
    assert (config.ingest.bind, config.ingest.agents_dir) == ("tcp://[::]:5601", Path("/agents"))
    assert (config.store.path, config.store.keep, config.store.max_rows) == (Path("/faultline.db"), 3600, 10_000)
    assert config.incidents.timings().settle == 500_000
    assert config.webhook == (
        Webhook(
            name="chat",
            url="http://127.0.0.1:8080/hooks?channel=storage",
            secret_files=(Path("/old"), Path("/new")),
            changes=(Change.OPENED, Change.RESOLVED),
            timeout=120,
        ),
    )
    assert config.email == (
        Email(
            name="chat",
            host="::1",
            port=465,
            security="tls",
            username="faultline",
            password_file=Path("/password"),
            sender="faultline@example.com",
            to=("storage@example.com", "night+pager@localhost"),
        ),
    )
    assert config.jsonl == Jsonl(path=Path("/events.jsonl"), keep=0)
    assert config.xpub == Xpub(bind="ipc:///run/faultline/events")


def test_configuration_cannot_be_changed() -> None:
    """What was checked stays as it was checked."""
    with pytest.raises(ValidationError, match="frozen"):
        Config().store.keep = 1  # type: ignore[misc]


def groups(model: type[BaseModel]) -> set[type[BaseModel]]:
    """Return a model and all models that its fields hold."""
    found = {model}
    todo: list[Any] = [field.annotation for field in model.model_fields.values()]
    while todo:
        annotation = todo.pop()
        todo += typing.get_args(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
            found |= groups(annotation)
    return found


def test_secrets_are_only_ever_files() -> None:
    """No field could take a secret itself: whatever is called one is a path."""
    fields = [(name, field) for group in groups(Config) for name, field in group.model_fields.items()]
    secret = [
        (name, str(field.annotation)) for name, field in fields if any(word in name for word in ("secret", "password", "token", "key"))
    ]

    assert {name for name, _ in secret} == {"secret_files", "password_file", "key_dir"}
    assert all("Path" in annotation for _, annotation in secret)
