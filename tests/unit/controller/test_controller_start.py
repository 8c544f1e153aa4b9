"""What the controller says before it runs: files that its configuration names, and a state that it does not know."""

from __future__ import annotations

from pathlib import Path

import msgpack
import pytest

from controller.__main__ import main
from controller.core.timings import Timings
from controller.engine import Engine
from controller.store.errors import StoreUnusableError
from controller.store.store import Store
from controller.store.transaction import StateRow, Transaction

WEBHOOK = '[[webhook]]\nname = "chat"\nurl = "https://127.0.0.1/"\n'
EMAIL = '[[email]]\nname = "ops"\nhost = "127.0.0.1"\nsender = "a@example.org"\nto = ["b@example.org"]\n'


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (WEBHOOK, 'secret_files = ["{file}"]'),
        (WEBHOOK, 'ca_file = "{file}"'),
        (EMAIL, 'username = "x"\npassword_file = "{file}"'),
        (EMAIL, 'ca_file = "{file}"'),
    ],
)
def test_files_are_looked_at_before_the_start(text: str, field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check-config, which runs before each start, names a file that the configuration names and that is not there."""
    config, missing = tmp_path / "controller.toml", tmp_path / "missing"
    config.write_text(text)
    assert main(["check-config", "--config", str(config)]) == 0
    config.write_text(text + field.format(file=missing))

    assert main(["check-config", "--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"faultline-controller: {missing}: ")
    assert said.count("\n") == 1


def test_a_wrong_rehearsal_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what is wrong with --rehearse is said to be wrong with it."""
    with pytest.raises(SystemExit) as caught:
        main(["run", "--config", str(tmp_path / "none.toml"), "--rehearse", "yesterday"])
    assert caught.value.code == 2
    assert "--rehearse: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "record",
    [
        {"id": "fl-1", "cause": "cause-of-a-newer-version", "state": "open", "timeline": [], "proof": {}},
        {"id": "fl-1", "cause": "nfs-server-down", "state": "open", "timeline": [], "proof": {}, "newer": 1},
        {"id": "fl-1"},
    ],
)
async def test_a_state_of_another_version_is_told_as_such(record: dict[str, object], tmp_path: Path) -> None:
    """A stored state that this version does not know ends the start with the file and the reason, and stays as it is."""
    store = await Store.open(tmp_path / "faultline.db")
    try:
        row = StateRow("incidents", "fl-1", msgpack.packb(record))
        transaction = Transaction(at=1)
        transaction.state.append(row)
        await store.commit(transaction)
        engine = Engine(store, "pve", Timings(), {}, lambda: 1)
        with pytest.raises(StoreUnusableError, match=r"faultline\.db: holds what this version does not know"):
            await engine.load()
        assert [(table, key) for table, key, _ in await store.load_state()] == [("incidents", "fl-1")]
    finally:
        await store.close()
