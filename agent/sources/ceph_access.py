"""How a Ceph cluster is got at: its configuration, and one connection that is kept through failures and replaced when it went deaf.

* Configuration and keyring lie on pmxcfs, which may hang, and librados reads them itself: all that happens in threads that may be
  abandoned, at most one of a kind. Who is connected waits for neither.
* A client of librados that was refused when it connected again (the key is another one, or the cluster was made anew on the same
  addresses) tries no other monitor and says nothing of it: from then on each command ends as if no monitor answered. Only another
  connection finds out. It is made beside the old one, which goes on when the monitors answer neither.
* Closing may block, too: it has a thread, and when too many of them hang no further connection is made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.sources.late import Late
from agent.sources.librados import CephClosedError, CephError, CephKeyMissingError, CephSilentError, Connection, Place
from pve import ceph_conf

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
"""Seconds between two attempts to connect with what was refused."""
_SLACK: Final = 3.0
"""Seconds beyond librados' own deadline after which connecting counts as hung: it reads files, too."""
_GLANCE: Final = 0.1
"""Seconds that who is connected waits for the configuration."""
_CONF: Final = 15.0
"""Seconds between two looks at the configuration while somebody is connected and answered."""
_DEAF: Final = 10.0
"""Seconds without an answer, while most monitors are heard, after which a second connection is tried: it is refused, if it is, before a
quorum would be called lost (:mod:`agent.classify.ceph_monitors`)."""
_ANEW: Final = 30.0
"""Seconds between two such attempts."""
_MOST_CLOSING: Final = 4
"""Connections of a cluster that may be hanging in being closed."""
_LARGEST: Final = 1 << 20


class Access:
    """The way to one cluster. For one thread, that of the look ``health``, but for ``connection``, :meth:`drop` and :meth:`close`.

    :param deadline: whole seconds for each command and for connecting.
    :param pushed: gets each line of the cluster's log, in a thread of librados.
    """

    def __init__(
        self,
        place: Place,
        deadline: int,
        pushed: Callable[[Mapping[str, Any]], None],
        connect: Callable[[Place, int], Connection] = Connection,
    ) -> None:
        self.place = place
        self.conf = ceph_conf.CephConf({})
        self.known = place.conf is None
        """Whether the configuration was read, or is known not to be there."""
        self._deadline, self._pushed, self._make = deadline, pushed, connect
        self._read = Late(f"ceph-conf-{place.name}", self._conf_bytes)
        self._opening = Late(f"ceph-open-{place.name}", self._open)
        self._lock = threading.Lock()
        """Of the connections, which several threads see."""
        self._held: Connection | None = None
        self._fresh: Connection | None = None
        """One that was made and not taken into use yet."""
        self._closed, self._closing = False, list[threading.Thread]()
        self._conf_due = 0.0
        self._gone = False
        """Whether the configuration is not there."""
        self._refused, self._due, self._pause = "", 0.0, _FIRST_PAUSE
        self._silent: float | None = None
        """Since when no command was answered."""
        self._anew_due = 0.0

    @property
    def connection(self) -> Connection | None:
        """What commands are asked over; None while nobody is connected. From any thread."""
        return self._held

    def is_there(self) -> bool:
        """Take note of the configuration; tell whether there is a cluster at all.

        :raises CephError: nobody is connected, and the file does not answer.
        """
        if self.place.conf is None:
            return True
        connected = self._held is not None
        if connected and self._silent is None and time.monotonic() < self._conf_due:
            return True
        self._conf_due = time.monotonic() + _CONF
        try:
            self.conf = ceph_conf.parse(self._read.ask(_GLANCE if connected else self._deadline))
            self.known, self._gone = True, False
        except FileNotFoundError:
            self.known = self._gone = True
            return connected  # pmxcfs restarts: who is connected stays so
        except TimeoutError:
            if not connected:
                raise CephError(f"{self.place.conf} gives no answer within {self._deadline} s: see whether /etc/pve hangs") from None
        except OSError:
            self.known, self._gone = True, False  # librados says what is wrong with it
        return True

    def connected(self) -> Connection:
        """Return the connection, made where there is none; what was refused is tried again with growing pauses.

        :raises CephError: see :class:`agent.sources.librados.Connection`; or connecting does not come back.
        """
        if (held := self._held) is not None:  # another look may drop it
            return held
        if time.monotonic() < self._due and self._refused:
            raise CephError(self._refused)
        if self._is_stuck():
            raise CephError(f"librados does not let go of {_MOST_CLOSING} connections to {self.place.name}: restart faultline-agent")
        try:
            self._opening.ask(self._deadline + _SLACK)
        except TimeoutError:
            where = " or ".join(str(key.keyring) for key in self.place.keys)
            raise CephError(f"connecting to {self.place.name} does not come back: see whether {where} can be read") from None
        except CephError as error:
            self._note(error)
            raise
        return self._take()

    def answered(self) -> None:
        """Take note that a command was answered. A second connection that was being made is taken, if it came to be."""
        self._silent = None
        if self._opening.pending and self._held is not None:
            try:
                self._opening.ask(0)
                self._take()
            except (TimeoutError, CephError):
                pass  # who is answered needs no other

    def unanswered(self, heard: bool) -> bool:
        """Take note that a command was not answered; ``heard``: most monitors speak all the same. Never blocks.

        Tell whether there is another connection now.

        :raises CephError: a second connection is refused, as this one would be if it were told.
        """
        if self._held is None:  # it was connecting that was not answered
            return False
        now = time.monotonic()
        self._silent = now if self._silent is None else self._silent
        if not self._opening.pending:
            if not heard or now - self._silent < _DEAF or now < self._anew_due or self._is_stuck():
                return False
            self._anew_due = now + _ANEW
        try:
            self._opening.ask(0)
        except (TimeoutError, CephSilentError):
            return False
        except CephKeyMissingError:
            if self._gone:  # pmxcfs is away, with the keyring: that proves nothing
                return False
            self.drop(self._held)
            raise
        except CephError as error:
            self._note(error)
            self.drop(self._held)
            raise
        self._take()
        return True

    def drop(self, connection: Connection | None) -> None:
        """Close this connection, unless it is in use no more. From any thread."""
        with self._lock:
            if connection is None or self._held is not connection:
                return
            self._held = None
        self._let_go(connection)

    def close(self) -> None:
        """Close everything, for good. From any thread."""
        with self._lock:
            self._closed = True
            held, self._held, self._fresh = (self._held, self._fresh), None, None
        for one in held:
            if one is not None:
                self._let_go(one)

    def _note(self, error: CephError) -> None:
        """Remember what was refused, and when it is tried again."""
        if isinstance(error, CephSilentError | CephKeyMissingError | CephClosedError):
            return
        self._refused, self._due = str(error), time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def _take(self) -> Connection:
        """Take what was made into use."""
        with self._lock:
            fresh, self._fresh = self._fresh, None
            if fresh is None:
                raise CephClosedError("given up")
            old, self._held = self._held, fresh
        if old is not None:
            self._let_go(old)
        self._refused, self._pause, self._silent = "", _FIRST_PAUSE, None
        return fresh

    def _let_go(self, connection: Connection) -> None:
        """Close a connection in a thread: librados may wait for what hangs."""
        thread = threading.Thread(target=connection.close, name="ceph-close", daemon=True)
        with self._lock:
            self._closing = [*(one for one in self._closing if one.is_alive()), thread]
            thread.start()

    def _is_stuck(self) -> bool:
        with self._lock:
            return sum(one.is_alive() for one in self._closing) >= _MOST_CLOSING

    # -- in threads of their own

    def _conf_bytes(self) -> bytes:
        assert self.place.conf is not None
        with self.place.conf.open("rb") as file:
            return file.read(_LARGEST)

    def _open(self) -> None:
        """Make a connection; nobody else has it before it is whole."""
        connection = self._make(self.place, self._deadline)
        try:
            wanted = self.conf.fsid
            if wanted and wanted != connection.fsid:
                raise CephError(f"{self.place.conf} is of cluster {wanted}, its monitors are of {connection.fsid}")  # noqa: TRY301
            connection.watch(self._pushed)
        except CephError:
            connection.close()
            raise
        with self._lock:
            if not self._closed:
                self._fresh = connection
                return
        connection.close()
