from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import zmq.auth
from pydantic import ValidationError

from agent.__main__ import main
from agent.config import ConfigError, load_config
from agent.keys import KeyFileError, own_keys, public_key

LEAST = '[uplink]\ncontrollers = [{ endpoint = "tcp://192.168.1.5:5601", public_key_file = "/etc/faultline/controller.key" }]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the configuration is written."""
    return tmp_path / "agent.toml"


def refusal(file: Path, text: str) -> list[str]:
    """Return the lines with which a configuration is refused."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    return str(caught.value).splitlines()


def test_only_the_controller_must_be_named(file: Path) -> None:
    """With a controller's address and key, everything else has a default that works on a node; and nothing can be changed later."""
    file.write_text(LEAST)
    config = load_config(file)

    assert config.node.name == os.uname().nodename.partition(".")[0]
    assert str(config.pmxcfs.root) == "/etc/pve"
    assert config.uplink.controllers[0].endpoint == "tcp://192.168.1.5:5601"
    with pytest.raises(ValidationError):
        config.node.name = "other"  # type: ignore[misc]


def test_an_empty_file_says_what_is_missing(file: Path) -> None:
    """Without any controller there is nobody to tell: the field is named."""
    assert refusal(file, "") == [f"{file}: uplink: is required"]
    assert refusal(file, "[uplink]\ncontrollers = []")[0].startswith(f"{file}: uplink.controllers: Tuple should have at least 1 item")


def test_all_problems_are_told_at_once(file: Path) -> None:
    """Every wrong field is named by its path with what to do; unknown fields are wrong, or a typo would be the default in silence."""
    text = """
    [node]
    nme = "pve1"
    [spool]
    max_bytes = 5
    [pmxcfs]
    interval = "often"
    [journal]
    directory = "/a"
    files = ["/b"]
    [[uplink.controllers]]
    endpoint = "udp://nowhere"
    """
    lines = refusal(file, text)

    assert all(line.startswith(f"{file}: ") for line in lines)
    for part in (
        "node.nme: no such field",
        "spool.max_bytes: ",
        "pmxcfs.interval: ",
        "give directory or files, not both",
        "uplink.controllers[0].endpoint: ",
        "uplink.controllers[0].public_key_file: is required",
    ):
        assert any(part in line for line in lines), (part, lines)


@pytest.mark.parametrize(
    "endpoint", [
        "192.168.1.5:5601", "tcp://192.168.1.5", "tcp://:5601", "http://a:5601", "tcp://a:port",
        "tcp://10.0.0.10/:5601", "tcp://a b:5601", "tcp://a:65536", "tcp://a:0", "tcp://*:5601", "tcp://fd00::10:5601", "tcp://[fd00::10:5601",
    ],
)  # fmt: skip
def test_endpoints_that_cannot_be_are_refused(file: Path, endpoint: str) -> None:
    """An endpoint without scheme, host or port is found when the file is read, not when nothing arrives."""
    assert "uplink.controllers[0].endpoint: " in refusal(file, LEAST.replace("tcp://192.168.1.5:5601", endpoint))[0]


@pytest.mark.parametrize(
    "endpoint", ["tcp://controller.example.com:5601", "tcp://[fe80::1%vmbr0]:5601", "tcp://[fd00::10]:5601", "ipc:///run/c"]
)
def test_every_kind_of_endpoint_is_taken(file: Path, endpoint: str) -> None:
    """A name, an IPv6 address with or without its interface, and a socket of this machine are taken as they stand."""
    file.write_text(LEAST.replace("tcp://192.168.1.5:5601", endpoint))

    assert load_config(file).uplink.controllers[0].endpoint == endpoint


def test_two_controllers_need_two_names(file: Path) -> None:
    """Acknowledgements are kept by the controller's name: two with one name would forget what the other lacks."""
    one = '{ endpoint = "tcp://a:1", public_key_file = "/k", name = "main" }'
    two = '{ endpoint = "tcp://b:1", public_key_file = "/k", name = "main" }'
    assert "same name" in refusal(file, f"[uplink]\ncontrollers = [{one}, {two}]")[0]


def test_broken_toml_is_located(file: Path) -> None:
    """A syntax error is told with its line and column; so is a file that is not there, or no text."""
    assert "line 2, column" in refusal(file, "[node]\nname = \n")[0]
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_config(file)
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
        load_config(file.with_name("missing.toml"))


def test_keys_are_made_once_and_private(tmp_path: Path) -> None:
    """The node's key pair is made on first use, readable for its owner only whatever the umask, and the same ever after."""
    before = os.umask(0)
    try:
        keys = own_keys(tmp_path / "keys", "pve1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "pve1.key_secret").stat().st_mode) == 0o600
    assert own_keys(tmp_path / "keys", "pve1") == keys
    assert public_key(tmp_path / "keys" / "pve1.key") == keys[0]


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """A missing, broken or half a key is an error that names the file and what to do."""
    with pytest.raises(KeyFileError, match=r"nowhere\.key: cannot be read: .*copy the controller's public key there"):
        public_key(tmp_path / "nowhere.key")
    (tmp_path / "text.key").write_text("hello")
    with pytest.raises(KeyFileError, match=r"text\.key: is no CURVE certificate"):
        public_key(tmp_path / "text.key")
    (tmp_path / "short.key").write_text('curve\n    public-key = "abc"\n')
    with pytest.raises(KeyFileError, match="has 3 characters, a CURVE key has 40"):
        public_key(tmp_path / "short.key")
    zmq.auth.create_certificates(tmp_path, "pve1")
    (tmp_path / "pve1.key").replace(tmp_path / "pve1.key_secret")
    with pytest.raises(KeyFileError, match="holds no secret key; delete it"):
        own_keys(tmp_path, "pve1")


def test_the_command_line_tells_by_its_exit_code(tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check-config: 0 and a word, or 3 and every problem; keys: the path of the public key, or 1 and the reason; usage: 2."""
    file.write_text(LEAST + f'key_dir = "{tmp_path}/keys"\n[node]\nname = "pve1"\n')
    assert main(["check-config", "--config", str(file)]) == 0
    assert main(["keys", "--config", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n{tmp_path}/keys/pve1.key\n"
    assert (tmp_path / "keys/pve1.key").exists()

    (tmp_path / "keys/pve1.key_secret").write_text("hello")
    assert main(["keys", "--config", str(file)]) == 1
    assert "pve1.key_secret" in capsys.readouterr().err
    file.write_text("nothing = 1")
    assert main(["run", "--config", str(file)]) == 3
    assert "nothing: no such field" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["fly"])


def test_a_missing_controller_key_ends_the_agent_with_its_reason(tmp_path: Path, file: Path) -> None:
    """Started without the controller's key the agent ends with 1 and a line that names the file, not with a traceback."""
    places = f'key_dir = "{tmp_path}/keys"\n[spool]\npath = "{tmp_path}/spool.db"\n[journal]\nenabled = false\n[pmxcfs]\nenabled = false\n'
    file.write_text(LEAST.replace("/etc/faultline", str(tmp_path)) + places)
    result = subprocess.run(
        [sys.executable, "-m", "agent", "run", "--config", file], capture_output=True, text=True, timeout=30, check=False
    )

    assert result.returncode == 1
    assert f"{tmp_path}/controller.key: cannot be read" in result.stderr
    assert "Traceback" not in result.stderr
