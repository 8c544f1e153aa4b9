"""librados: one connection to a Ceph cluster, its commands in JSON, each within a deadline of its own.

The module ``rados`` (Debian's python3-rados) is loaded when the first cluster is to be reached, for it takes 15 MB. It
needs no command line and no child process. Deadlines are librados' own (``rados_mon_op_timeout``, ``client_mount_timeout``): a command that
no monitor answers comes back as ``ETIMEDOUT``, monitors that were frozen included.
"""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

from agent.errors import TemporaryError

_DEBIAN: Final = "/usr/lib/python3/dist-packages"
"""Where Debian keeps modules of its own Python. A virtual environment of the same minor version can load a single one from there."""
_LEVEL: Final = "info"
"""Least level of the cluster's log that is pushed. At `debug` the monitors tell each reader of each command of each other reader."""
_LEAN: Final = {"ms_async_op_threads": "1", "librados_thread_count": "1", "log_max_recent": "1"}
"""Threads of librados for connections and for what it calls back, three and two by default: we ask one thing at a time. And how many of
its own debug lines it keeps for a crash, 500 by default."""
_REFUSALS: Final = frozenset((errno.EACCES, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP))
"""What a monitor or manager answers to a command that the key may not ask (EACCES), or that its release does not know (EINVAL)."""
_LONGEST: Final = 1024
"""Characters of a line that are kept."""


class CephError(TemporaryError):
    """A cluster cannot be asked; says why, and what to do where that is known."""


class CephSilentError(CephError):
    """No monitor answered in time."""


class CephKeyMissingError(CephError):
    """There is a cluster, and no key of ours for it: nobody made one yet."""


class CephClosedError(CephError):
    """The connection was closed while somebody wanted to ask over it."""


class CephRefusedError(CephError):
    """The cluster answered, and will not do this command: the key may not, or its release has no such command."""


class Key(NamedTuple):
    """Who connects (`client.faultline`), and the file with his key."""

    client: str
    keyring: Path


@dataclass(frozen=True, slots=True)
class Place:
    """How a cluster is reached: the first of ``keys`` whose file is there; ``monitors`` is ``mon_host`` where no file names it."""

    name: str
    conf: Path | None
    keys: tuple[Key, ...]
    monitors: str = ""

    def key(self) -> Key:
        """Return the first key that is there.

        :raises CephKeyMissingError: there is none, or none that may be read; says how one is made.
        """
        refused = ""
        for key in self.keys:
            try:
                with key.keyring.open("rb"):
                    return key
            except PermissionError:
                refused = refused or f"{key.keyring} may not be read by this user; "
            except OSError:
                continue
        places = " or ".join(str(key.keyring) for key in self.keys)
        raise CephKeyMissingError(f"{refused}no key of {self.keys[0].client} in {places}: see docs/ceph.md for how one is made")


def load() -> ModuleType:
    """Return the module ``rados``: the interpreter's own, else Debian's, without adding anything else of Debian's to this interpreter.

    :raises CephError: there is none for this version of Python; says what to install.
    """
    if "rados" in sys.modules:
        return sys.modules["rados"]
    spec = importlib.util.find_spec("rados") or importlib.machinery.PathFinder.find_spec("rados", [_DEBIAN])
    if spec is None or spec.loader is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise CephError(f"no module rados for Python {version}: install Debian's python3-rados")
    module = importlib.util.module_from_spec(spec)
    sys.modules["rados"] = module
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        del sys.modules["rados"]
        raise CephError(f"python3-rados cannot be loaded: {error}") from error
    return module


class Connection:
    """One connection. Commands may be asked from several threads, and it may be closed meanwhile.

    librados frees what a command under way still uses: closing waits for those, which have a deadline, and lets no further one begin.

    :param seconds: the deadline of every command and of connecting, whole seconds.
    :raises CephSilentError: no monitor answered in time.
    :raises CephError: the configuration cannot be read, there is no key, or the monitors refuse it.
    """

    def __init__(self, place: Place, seconds: int) -> None:
        key = place.key()
        self._rados = load()
        self._idle = threading.Condition()
        self._users, self._closed = 0, False
        """How many calls are under way, and whether there shall be no more."""
        self._key = key
        options = {
            **dict.fromkeys(("rados_mon_op_timeout", "rados_osd_op_timeout", "client_mount_timeout"), str(seconds)),
            # A client of librados writes log files and opens a control socket of its own otherwise, as ceph.conf says of all clients.
            **dict.fromkeys(("log_file", "admin_socket"), ""),
            **dict.fromkeys(("log_to_stderr", "err_to_stderr"), "false"),
            **_LEAN,
            "keyring": str(key.keyring),
            **({"mon_host": place.monitors} if place.monitors else {}),
        }
        conf = None if place.conf is None else str(place.conf)  # None: no file, not even /etc/ceph/ceph.conf
        try:
            self._cluster = self._rados.Rados(name=key.client, conffile=conf, conf=options)
        except self._rados.Error as error:
            raise CephError(f"{conf or place.monitors} cannot be read: {_words(error)}") from error
        try:
            self._cluster.connect()
            self.fsid = str(self._cluster.get_fsid())
        except self._rados.Error as error:
            self.close()
            raise self._told("connecting", error) from error
        self._watch: object = None

    def watch(self, pushed: Callable[[Mapping[str, Any]], None]) -> None:
        """Have every new line of the cluster's log passed to a function, which is called in a thread of librados and must not block.

        :raises CephError: the monitors refuse.
        """

        def take(_: object, line: bytes, who: bytes, _seconds: int, _nanoseconds: int, number: int, level: bytes, text: bytes) -> None:
            words = {"who": _text(who), "level": _text(level).strip("[]"), "text": _text(text), "line": _text(line)}
            pushed({**{key: value[:_LONGEST] for key, value in words.items()}, "seq": int(number)})

        try:
            with self._in_use():
                self._watch = self._rados.MonitorLog(self._cluster, _LEVEL, take, None)
        except self._rados.Error as error:
            raise self._told("following the cluster's log", error) from error

    def ask(self, prefix: str, **arguments: object) -> Any:
        """Run a command; return its JSON, None where it answers nothing.

        :raises CephSilentError: not answered in time.
        :raises CephRefusedError: this command is refused, and others may not be.
        :raises CephClosedError: the connection was closed.
        :raises CephError: it failed otherwise, or the answer is no JSON.
        """
        try:
            with self._in_use():
                code, answer, words = self._cluster.mon_command(json.dumps({"prefix": prefix, "format": "json", **arguments}), b"")
        except self._rados.Error as error:
            raise self._told(prefix, error) from error
        if code == -errno.ETIMEDOUT:
            raise CephSilentError(f"{prefix}: no monitor answered within the deadline")
        if code < 0:
            kind = CephRefusedError if -code in _REFUSALS else CephError
            raise kind(f"{prefix}: {words or errno.errorcode.get(-code, code)}"[:300])
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError as error:
            raise CephError(f"{prefix}: the answer is no JSON: {error}") from error

    def close(self) -> None:
        """End the connection, after the commands that are under way. May block: librados waits for its own threads."""
        with self._idle:
            if self._closed:
                return
            self._closed = True
            self._idle.wait_for(lambda: not self._users)
        self._watch = None
        self._cluster.shutdown()

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep the handle for as long as a call is under way.

        :raises CephClosedError: the connection was closed.
        """
        with self._idle:
            if self._closed:
                raise CephClosedError("the connection was closed")
            self._users += 1
        try:
            yield
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    def _told(self, what: str, error: Exception) -> CephError:
        if isinstance(error, self._rados.TimedOut):
            return CephSilentError(f"{what}: no monitor answered within the deadline")
        if isinstance(error, self._rados.PermissionDeniedError | self._rados.PermissionError):
            return CephError(
                f"{what}: the monitors refuse {self._key.client}: the key in {self._key.keyring} is not theirs, or lacks"
                " the capabilities mon 'allow r' mgr 'allow r' (docs/ceph.md)"
            )
        return CephError(f"{what} as {self._key.client}: {_words(error)}")


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
