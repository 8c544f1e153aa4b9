"""Says at once that something was changed in /etc/pve on this node; changes of other nodes it cannot see.

Only an accelerator: when it fails, polling still sees everything a second later.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

with warnings.catch_warnings():
    # pyinotify imports asyncore for a class that we do not use; Python 3.11 announces asyncore's end at each import.
    warnings.simplefilter("ignore", DeprecationWarning)
    import pyinotify

_MASK: Final = pyinotify.IN_CLOSE_WRITE | pyinotify.IN_MOVED_TO | pyinotify.IN_MOVED_FROM | pyinotify.IN_DELETE


class LocalChanges:
    """Watches directories, not what is below them. :meth:`watch` may hang with the file system, all else does not."""

    def __init__(self) -> None:
        self._manager = pyinotify.WatchManager()
        self._notifier = pyinotify.Notifier(self._manager, self._note, timeout=0)
        self._noted = False

    def watch(self, *directories: Path) -> None:
        """Watch these directories, those that exist."""
        for directory in directories:
            with suppress(pyinotify.WatchManagerError):
                self._manager.add_watch(str(directory), _MASK, quiet=False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when something changed."""
        return int(self._manager.get_fd())

    def drain(self) -> bool:
        """Take what was reported; True when it concerns a file and not only the watch itself."""
        self._noted = False
        if self._notifier.check_events():
            self._notifier.read_events()
            self._notifier.process_events()
        return self._noted

    def close(self) -> None:
        """Stop watching."""
        self._notifier.stop()

    def _note(self, event: Any) -> None:
        self._noted = self._noted or bool(event.mask & _MASK)
