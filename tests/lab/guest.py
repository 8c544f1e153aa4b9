"""One guest: QEMU with software emulation, commands through the guest agent, files over a shared directory.

The guest agent's protocol (QEMU ``docs/interop/qemu-ga.rst``) and QMP are lines of JSON on unix sockets. A guest dies with this process,
and what it wrote to its disk is forgotten when it ends.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from tests.lab.image import Image, LabError
from tests.lab.net import Nic

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG: Final = 1
_POLL: Final = 0.05
SHARE: Final = "/lab"
"""Where a guest sees its shared directory."""


class Done(NamedTuple):
    """A command that ended: exit code and what it said."""

    code: int
    out: str
    err: str


class Guest:
    """A guest called ``name`` that keeps its sockets, console and shared files below ``place``."""

    def __init__(self, name: str, image: Image, place: Path, nics: Sequence[Nic], *, memory_mb: int = 768) -> None:
        self.name, self._image, self._nics, self._memory = name, image, nics, memory_mb
        self.place = place / name
        self.share = self.place / "share"
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: _Lines | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start the machine; :meth:`wait_ready` tells when it can be used."""
        self.share.mkdir(parents=True, exist_ok=True)
        for old in (self._socket("qmp"), self._socket("qga")):
            old.unlink(missing_ok=True)
        with (self.place / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": str(self.place)},
                process_group=0,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - a test's process; QEMU has no such option
            )

    def _command(self) -> list[str]:
        append = f"root=/dev/vda rw console=ttyS0 net.ifnames=0 systemd.hostname={self.name} quiet loglevel=4 mitigations=off audit=0"
        fixed = [
            "qemu-system-x86_64", "-name", self.name, "-accel", "tcg,thread=multi", "-cpu", "max", "-m", str(self._memory), "-smp", "2",
            "-nodefaults", "-no-reboot", "-display", "none",
            "-serial", f"file:{self.place / 'console.log'}",
            "-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", append,
            "-drive", f"file={self._image.disk},format=raw,if=virtio,snapshot=on",
            "-virtfs", f"local,path={self.share},mount_tag=share,security_model=none",
            "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0",
            "-chardev", f"socket,id=qga,path={self._socket('qga')},server=on,wait=off",
            "-qmp", f"unix:{self._socket('qmp')},server=on,wait=off",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        return fixed + [one for nic in self._nics for one in nic.arguments(self.name)]

    def _socket(self, name: str) -> Path:
        return self.place / f"{name}.sock"

    def wait_ready(self, seconds: float = 240) -> None:
        """Wait until commands can be run.

        :raises LabError: when the guest is not up by then.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(LabError, OSError):
                self._call({"execute": "guest-ping"}, 3)
                done = self.run("systemctl is-system-running --wait; mountpoint -q /lab", max(1.0, end - time.monotonic()))
                if done.code == 0:
                    return
            self._alive()
            time.sleep(0.5)
        raise self._error(f"is not up after {seconds:g} s")

    def run(self, command: str, seconds: float = 60) -> Done:
        """Run a shell command and wait for its end.

        :raises LabError: when it has not ended by then.
        """
        arguments = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        end = time.monotonic() + seconds
        number = self._call({"execute": "guest-exec", "arguments": arguments}, seconds)["pid"]
        while True:
            state = self._call({"execute": "guest-exec-status", "arguments": {"pid": number}}, max(1.0, end - time.monotonic()))
            if state["exited"]:
                out, err = (base64.b64decode(state.get(key, "")).decode("utf-8", "replace") for key in ("out-data", "err-data"))
                return Done(state.get("exitcode", 128 + state.get("signal", 0)), out, err)
            if time.monotonic() > end:
                raise self._error(f"`{command[:200]}` has not ended after {seconds:g} s")
            time.sleep(_POLL)

    def check(self, command: str, seconds: float = 60) -> str:
        """Run a command that must succeed and return what it printed.

        :raises LabError: when it fails.
        """
        done = self.run(command, seconds)
        if done.code:
            raise self._error(f"`{command[:400]}` failed with {done.code}: {(done.err or done.out)[-2000:]}")
        return done.out

    def spawn(self, command: str, unit: str) -> None:
        """Start a command that goes on in the background, as the transient service ``unit``."""
        script = f"/run/{unit}.sh"
        text = base64.b64encode(command.encode()).decode()
        self.check(f"echo {text} | base64 -d > {script}; systemd-run --quiet --collect --unit={unit} /bin/sh {script}", 30)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file into the guest."""
        shutil.copyfile(local, self.share / local.name)
        self.check(f"mkdir -p $(dirname {remote}) && cp {SHARE}/{local.name} {remote}")

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file out of the guest."""
        self.check(f"cp {remote} {SHARE}/pulled", 120)
        shutil.copyfile(self.share / "pulled", local)

    def freeze(self) -> None:
        """Stop the machine's processors: it is there and answers nothing."""
        self._qmp("stop")

    def thaw(self) -> None:
        """Let the machine go on."""
        self._qmp("cont")

    def stop(self) -> None:
        """End the machine at once."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _qmp(self, command: str) -> None:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(10)
            one.connect(str(self._socket("qmp")))
            lines = _Lines(one)
            lines.read(10)  # the greeting
            for name in ("qmp_capabilities", command):
                lines.write({"execute": name})
                while "return" not in (answer := lines.read(10)):
                    if "error" in answer:
                        raise self._error(f"QMP {name}: {answer['error']}")

    def _call(self, request: dict[str, Any], seconds: float) -> Any:
        try:
            if self._agent is None:
                self._agent = self._connected()
            self._agent.write(request)
            answer = self._agent.read(seconds)
        except OSError as error:
            self._hang_up()
            self._alive()
            raise self._error(f"guest agent: {error}") from error
        if "error" in answer:
            raise self._error(f"guest agent refused {request['execute']}: {answer['error'].get('desc')}")
        return answer["return"]

    def _connected(self) -> _Lines:
        one = socket.socket(socket.AF_UNIX)
        try:
            one.settimeout(3)
            one.connect(str(self._socket("qga")))
            lines = _Lines(one)
            # What an earlier connection asked may still be answered: the answer to our own number ends that.
            number = time.monotonic_ns() & 0x7FFFFFFF
            lines.write({"execute": "guest-sync", "arguments": {"id": number}})
            while lines.read(3).get("return") != number:
                pass
        except (OSError, ValueError):
            one.close()
            raise
        return lines

    def _hang_up(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = None

    def _alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise self._error("QEMU has ended: " + (self.place / "qemu.log").read_text(errors="replace")[-1000:])

    def _error(self, text: str) -> LabError:
        with suppress(OSError):
            tail = (self.place / "console.log").read_text(errors="replace")[-1500:]
            return LabError(f"guest {self.name}: {text}\nits console ends with:\n{tail}")
        return LabError(f"guest {self.name}: {text}")


class _Lines:
    """JSON values, a line each, over a socket."""

    def __init__(self, one: socket.socket) -> None:
        self._socket, self._rest = one, b""

    def write(self, value: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(value).encode() + b"\n")

    def read(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            more = self._socket.recv(1 << 16)
            if not more:
                raise OSError("closed")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        found = json.loads(line.lstrip(b"\xff"))
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        self._socket.close()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
