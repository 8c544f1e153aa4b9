"""Asking multipathd: recorded answers of a real one, and servers that are broken in every way that comes to mind."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.sources.multipath import Daemon
from agent.sources.multipathd import DaemonError, Multipathd, read_maps

SAMPLES = Path(__file__).parents[2] / "samples/multipath"
HOSTS = SAMPLES.parent / "hosts"
QUESTION = struct.pack("@N", 15) + b"show maps json\0"
Serve = Callable[[socket.socket], None]
Client = Callable[[float], Multipathd]


class Server:
    """A UNIX server whose every connection is handled by ``serve``; counts connections and questions."""

    def __init__(self, path: Path, serve: Serve) -> None:
        self.connections = 0
        self._serve = serve
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(16)
        self._held: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                made, _ = self._listening.accept()
                self.connections += 1
                self._held.append(made)
                threading.Thread(target=self._run, args=(made,), daemon=True).start()

    def _run(self, made: socket.socket) -> None:
        with suppress(OSError):
            self._serve(made)

    def close(self) -> None:
        """End it, as a daemon that dies."""
        for one in (self._listening, *self._held):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def serving(path: Path, serve: Serve) -> Iterator[Server]:
    """Run a server at ``path`` for a while."""
    server = Server(path, serve)
    try:
        yield server
    finally:
        server.close()
        path.unlink()


def questions(made: socket.socket) -> Iterator[bytes]:
    """Yield each question until the client leaves."""
    while question := made.recv(len(QUESTION), socket.MSG_WAITALL):
        yield question


def answering(*names: str) -> Serve:
    """Serve recorded answers, one for each question, the last for ever."""
    left = list(names)

    def serve(made: socket.socket) -> None:
        for question in questions(made):
            assert question == QUESTION
            made.sendall((SAMPLES / f"maps-{left.pop(0) if len(left) > 1 else left[0]}.bin").read_bytes())

    return serve


def sending(data: bytes) -> Serve:
    """Serve the same bytes to each question."""

    def serve(made: socket.socket) -> None:
        for _ in questions(made):
            made.sendall(data)

    return serve


def states(maps: list[dict[str, object]]) -> dict[str, tuple[str, str]]:
    """Return the states of each path."""
    return {path["dev"]: (path["dm_st"], path["chk_st"]) for one in maps for path in one["paths"]}  # type: ignore[attr-defined]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a test's multipathd listens."""
    return tmp_path / "multipathd.socket"


@pytest.fixture
def client(place: Path) -> Iterator[Client]:
    """Make clients of the test's own daemon, by the seconds that they wait; all are closed in the end."""
    with ExitStack() as stack:

        def make(deadline: float) -> Multipathd:
            made = Multipathd((str(place),), deadline)
            stack.callback(made.close)
            return made

        yield make


def test_recorded_answers_tell_maps_and_paths(place: Path, client: Client) -> None:
    """What a real multipathd said of two maps: whole, with one portal cut, with both cut."""
    with serving(place, answering("good", "one-path", "no-path")):
        asked = client(5)
        good, less, none = asked.maps(), asked.maps(), asked.maps()

    assert [(one["name"], one["uuid"], one["sysfs"]) for one in good] == [
        ("mpatha", "3600140537c04200bff24683acffc5095", "dm-0"),
        ("mpathb", "360014056655f94b431e46cd96d9114ee", "dm-1"),
    ]
    assert set(states(good).values()) == {("active", "ready")}
    assert sorted(states(less).values()) == [("active", "ready")] * 2 + [("failed", "faulty")] * 2
    assert set(states(none).values()) == {("failed", "faulty")}


def test_one_connection_serves_many_questions(place: Path, client: Client) -> None:
    """The daemon sees one client for ever, not one each few seconds."""
    with serving(place, answering("good")) as server:
        asked = client(5)
        for _ in range(50):
            asked.maps()

        assert server.connections == 1


def test_a_daemon_started_anew_is_asked_again_at_once(place: Path, client: Client) -> None:
    """A restart between two questions is no fault."""
    asked = client(5)
    with serving(place, answering("good")):
        asked.maps()
    with serving(place, answering("one-path")):
        assert len(asked.maps()) == 2


def test_a_daemon_that_hangs_is_asked_once_and_its_late_answer_taken(place: Path, client: Client) -> None:
    """Many looks at a daemon that accepts and says nothing leave one connection and one question in its queue."""
    release, seen = threading.Event(), []

    def serve(made: socket.socket) -> None:
        for question in questions(made):
            seen.append(question)
            release.wait(30)
            made.sendall((SAMPLES / "maps-good.bin").read_bytes())

    with serving(place, serve) as server:
        asked = client(0.05)
        for _ in range(20):
            began = time.monotonic()
            with pytest.raises(DaemonError, match="has not answered"):
                asked.maps()
            assert time.monotonic() - began < 5
        assert (server.connections, len(seen)) == (1, 1)

        release.set()
        asked._deadline = 5.0  # the same connection, with time enough for a slow machine
        assert len(asked.maps()) == 2


HOSTILE = {
    "garbage": b"\x00\xff" * 64,
    "length zero": bytes(8),
    "length beyond all": b"\xff" * 8,
    "gigabytes announced": struct.pack("@N", 1 << 32) + b"x" * 4096,
    "no JSON": struct.pack("@N", 6) + b"hello\0",
    "cut JSON": struct.pack("@N", 2000) + (SAMPLES / "maps-good.bin").read_bytes()[8:2008],
    "deep JSON": struct.pack("@N", 200_001) + b"[" * 200_000 + b"\0",
    "long number": struct.pack("@N", 50_001) + b"9" * 50_000 + b"\0",
    "permission denied": struct.pack("@N", 39) + b"fail\npermission deny: need to be root\n\0",
    "another JSON": struct.pack("@N", 14) + b'{"maps": true}',
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_answer_is_an_error_with_a_reason(place: Path, client: Client, data: bytes) -> None:
    """Whatever comes is one sentence, the same each time, and the next question goes over a new connection."""
    with serving(place, sending(data)):
        asked = client(5)
        said = set()
        for _ in range(2):
            with pytest.raises(DaemonError) as caught:
                asked.maps()
            said.add(str(caught.value))
            asked.close()

    assert len(said) == 1
    assert all(len(one) < 200 and one.isprintable() for one in said)


def test_an_answer_of_drops_does_not_outlast_the_deadline(place: Path, client: Client) -> None:
    """A byte now and then is no answer either."""

    def serve(made: socket.socket) -> None:
        next(questions(made))
        while True:
            made.sendall(b"\x01")
            time.sleep(0.02)

    with serving(place, serve):
        began = time.monotonic()
        with pytest.raises(DaemonError):
            client(0.3).maps()

    assert time.monotonic() - began < 10


def test_a_closed_connection_is_told(place: Path, client: Client) -> None:
    """A daemon that dies with our question."""

    def serve(made: socket.socket) -> None:
        next(questions(made))
        made.shutdown(socket.SHUT_RDWR)

    with serving(place, serve), pytest.raises(DaemonError, match="closed the connection"):
        client(5).maps()


def test_nobody_there_is_told_at_once(place: Path, client: Client) -> None:
    """No socket, and a socket without a listener."""
    with pytest.raises(DaemonError, match="nobody listens"):
        client(5).maps()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(place))
    with pytest.raises(DaemonError, match="nobody listens"):
        client(5).maps()
    dead.close()


def test_a_full_queue_does_not_block(place: Path, client: Client) -> None:
    """A daemon that accepts nobody any more is told, not waited for."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(place))
    listening.listen(0)
    held: list[socket.socket] = []
    with suppress(BlockingIOError):
        while len(held) < 16:
            held.append(socket.socket(socket.AF_UNIX))
            held[-1].setblocking(False)
            held[-1].connect(str(place))
    began = time.monotonic()
    with pytest.raises(DaemonError, match="queue"):
        client(5).maps()

    assert time.monotonic() - began < 2
    for one in (listening, *held):
        one.close()


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_json_gives_rows_or_an_error(data: object) -> None:
    """Answers of another shape than expected never crash."""
    for made in (data, {"maps": data}, {"maps": [{"path_groups": data}]}, {"maps": [{"path_groups": [{"paths": data}]}]}):
        try:
            rows = read_maps(json.dumps(made).encode() + b"\0")
        except DaemonError:
            continue
        assert all(isinstance(path["dev"], str) for row in rows for path in row["paths"])


def test_half_a_character_is_none() -> None:
    """What JSON can write and no event can hold is replaced."""
    (row,) = read_maps(rb'{"maps": [{"name": "a\ud800b", "path_groups": [{"paths": [{"dev": "\udfff"}]}]}]}')

    assert (row["name"], row["paths"][0]["dev"]) == ("a?b", "?")


def test_a_daemon_whose_unit_is_stopped_is_not_asked(place: Path, client: Client) -> None:
    """With socket activation a question would start it: `degraded` was recorded with multipathd stopped, `good` with it running."""
    with serving(place, answering("good")) as server:
        stopped, running = (Daemon(HOSTS / tree, client(5)) for tree in ("degraded", "good"))
        first, second = stopped.look(), stopped.look()
        assert (server.connections, first.picture["trouble"]) == (0, "multipathd does not run")
        assert [one.picture["times"] for one in (first, second)] == [1, 2]
        assert first.bad

        found = running.look()
        assert (server.connections, found.bad, len(found.picture["maps"])) == (1, False, 2)
