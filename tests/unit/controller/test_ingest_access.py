from __future__ import annotations

import asyncio
import os
import shutil
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import zmq
import zmq.asyncio
import zmq.auth
from structlog.testing import capture_logs

import controller.access
from controller.access import Access, AllowList, KeyFileError, own_keys

Tries = Callable[[str], Awaitable[str | None]]


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """Return the directory of who is let in: pve1. There is a key pair of pve1 and of pve2 beside it."""
    directory = tmp_path / "agents"
    directory.mkdir()
    for node in ("pve1", "pve2"):
        zmq.auth.create_certificates(tmp_path, node)
    shutil.copy(tmp_path / "pve1.key", directory)
    return directory


@pytest.fixture
async def tries(tmp_path: Path, allowed: Path, monkeypatch: pytest.MonkeyPatch, context: zmq.asyncio.Context) -> AsyncIterator[Tries]:
    """Return what tries to connect with a key pair: it answers with the name that the server then knows, or None."""
    monkeypatch.setattr(controller.access, "_LOOK_EVERY", 0.0)
    access = Access(context, {"test": AllowList(allowed)})
    access.start()
    server = context.socket(zmq.ROUTER)
    server.linger = 0
    server.curve_server, server.zap_domain = True, b"test"
    public, server.curve_secretkey = own_keys(tmp_path / "own", "controller")
    server.bind(f"ipc://{tmp_path}/door")

    async def attempt(name: str) -> str | None:
        with context.socket(zmq.DEALER) as client:
            client.linger = 0
            client.curve_serverkey = public
            client.curve_publickey, client.curve_secretkey = zmq.auth.load_certificate(tmp_path / f"{name}.key_secret")
            monitor = client.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
            client.connect(f"ipc://{tmp_path}/door")
            try:
                event = int.from_bytes((await asyncio.wait_for(monitor.recv_multipart(), 8))[0][:2], "little")
                if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                    return None
                await client.send(b"who am I?")
                frames = await asyncio.wait_for(server.recv_multipart(copy=False), 5)
                return str(frames[-1].get("User-Id"))
            finally:
                client.disable_monitor()
                monitor.close()

    yield attempt
    server.close()
    access.stop()


async def test_who_is_listed_is_known_by_the_name_of_the_file(tries: Tries) -> None:
    """A listed key is let in, under the name of its file."""
    assert await tries("pve1") == "pve1"


async def test_unknown_keys_are_denied_and_said_once(tries: Tries, tmp_path: Path, allowed: Path) -> None:
    """A key that is not listed is denied, and the log says once which key it is and where it would have to be."""
    with capture_logs() as logs:
        assert [await tries("pve2") for _ in range(3)] == [None, None, None]
    public, _ = zmq.auth.load_certificate(tmp_path / "pve2.key")
    assert [(entry["log_level"], entry["key"], entry["directory"]) for entry in logs] == [("warning", public.decode(), str(allowed))]


async def test_changes_of_the_directory_count_at_once(tries: Tries, tmp_path: Path, allowed: Path) -> None:
    """A key that is put into the directory is let in without a restart or a signal; one that is taken out, or replaced, is not."""
    assert await tries("pve2") is None
    shutil.copy(tmp_path / "pve2.key", allowed)
    assert await tries("pve2") == "pve2"
    (allowed / "pve1.key").unlink()
    assert await tries("pve1") is None
    (allowed / "pve2.key").rename(allowed / "renamed.key")
    assert await tries("pve2") == "renamed"


async def test_a_key_that_becomes_readable_counts_at_once(
    tries: Tries, tmp_path: Path, allowed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key file that could not be read, and is only given other rights then, is let in at the next handshake."""
    real, denied = controller.access._load, [True]

    def load(file: Path) -> tuple[bytes, bytes | None]:
        if denied[0] and file.name == "pve2.key":
            raise KeyFileError(f"{file}: cannot be read: Permission denied")
        return real(file)

    monkeypatch.setattr(controller.access, "_load", load)
    shutil.copy(tmp_path / "pve2.key", allowed)
    assert await tries("pve2") is None
    denied[0] = False
    assert await tries("pve2") is None  # nothing shows that anything changed
    (allowed / "pve2.key").chmod(0o640)
    assert await tries("pve2") == "pve2"


async def test_a_reload_reads_what_seems_unchanged(tmp_path: Path, allowed: Path) -> None:
    """A reload reads every file anew, and says anew what is wrong with them."""
    (allowed / "broken.key").write_bytes(b"\xff\xfe")
    listed = AllowList(allowed)
    with capture_logs() as logs:
        for _ in range(2):
            listed.reload()
            await listed.refresh()
    assert [entry["reason"].partition(":")[0] for entry in logs] == [str(allowed / "broken.key")] * 2


async def test_a_hanging_directory_holds_nobody_up_for_long(tries: Tries, allowed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the directory's file system hangs, what was read last counts; the event loop turns, and one thread waits."""
    monkeypatch.setattr(controller.access, "_PATIENCE", 0.2)
    hang, real, calls = threading.Event(), controller.access._read, list[Path]()

    def hanging(directory: Path, seen: object) -> object:
        calls.append(directory)
        hang.wait(30)
        return real(directory, seen)  # type: ignore[arg-type]

    assert await tries("pve1") == "pve1"
    monkeypatch.setattr(controller.access, "_read", hanging)
    (allowed / "pve1.key").unlink()
    began = asyncio.get_running_loop().time()
    assert [await tries("pve1") for _ in range(3)] == ["pve1"] * 3
    assert asyncio.get_running_loop().time() - began < 3
    assert len(calls) == 1
    hang.set()
    async with asyncio.timeout(5):
        while await tries("pve1"):
            pass


def test_files_that_are_no_keys_are_left_out_and_named(tmp_path: Path, allowed: Path) -> None:
    """A broken file, a short key and a key under two names are said; the others count. A missing directory allows nobody."""
    (allowed / "broken.key").write_bytes(b"\xff\xfe")
    (allowed / "short.key").write_text('curve\n    public-key = "abc"\n')
    shutil.copy(tmp_path / "pve1.key", allowed / "twice.key")
    with capture_logs() as logs:
        names = AllowList(allowed).names
    assert list(names.values()) == ["pve1"]
    assert [next(name for name in ("broken", "short", "twice") if name in entry["reason"]) for entry in logs] == [
        "broken",
        "short",
        "twice",
    ]
    assert AllowList(tmp_path / "missing").names == {}


def test_own_keys_are_made_once_and_private(tmp_path: Path) -> None:
    """The key pair is made on first use, readable for its owner only whatever the umask, and the same ever after."""
    before = os.umask(0)
    try:
        keys = own_keys(tmp_path / "keys", "controller")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "keys" / "controller.key_secret").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "keys").iterdir()) == ["controller.key", "controller.key_secret"]
    assert own_keys(tmp_path / "keys", "controller") == keys
    assert zmq.auth.load_certificate(tmp_path / "keys" / "controller.key")[0] == keys[0]


def test_own_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """A secret file without a secret, and a place that cannot be written, are errors that name the file."""
    own_keys(tmp_path, "controller")
    (tmp_path / "controller.key").replace(tmp_path / "controller.key_secret")
    with pytest.raises(KeyFileError, match=r"controller\.key_secret: holds no secret key; delete it"):
        own_keys(tmp_path, "controller")
    with pytest.raises(KeyFileError, match="cannot be made"):
        own_keys(tmp_path / "controller.key_secret" / "below", "controller")
