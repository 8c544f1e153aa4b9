"""A small file system behaving like pmxcfs, served over /dev/fuse from a thread: it can be torn down, crash and hang.

It speaks the kernel's FUSE protocol (include/uapi/linux/fuse.h) just as far as reading a few files needs it. Mounting takes root.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

_LOOKUP, _FORGET, _GETATTR, _READLINK, _OPEN, _READ, _STATFS, _RELEASE, _INIT, _OPENDIR, _READDIR, _RELEASEDIR, _BATCH_FORGET = (
    1, 2, 3, 5, 14, 15, 17, 18, 26, 27, 28, 29, 42,
)  # fmt: skip
_DIRECT_IO: Final = 1
_ROOT: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def can_mount() -> bool:
    """Return whether this process may mount FUSE file systems."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


class Pmxcfs:
    """Serves ``files`` (path to bytes) under ``mountpoint``; ``local`` is a symlink whose write bit says ``quorate``.

    Change ``files`` and ``quorate`` at will, as other nodes do: nothing is reported to inotify. What is ``denied`` cannot be opened.
    ``trouble`` is the errno with which the file system as a whole answers for its root's attributes, 0 for none.
    """

    def __init__(self, mountpoint: Path, files: dict[str, bytes], *, quorate: bool = True) -> None:
        self.mountpoint, self.files, self.quorate = mountpoint, files, quorate
        self.denied: set[str] = set()
        self.trouble = 0
        self.opened: list[str] = []
        self._nodes = {_ROOT: ""}
        self._answering = threading.Event()
        self._answering.set()
        self._dead = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _LIBC.mount(b"pmxcfs", os.fsencode(mountpoint), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), "cannot mount")
        self._thread = threading.Thread(target=self._serve, name="fuse", daemon=True)
        self._thread.start()

    def hang(self) -> None:
        """Answer nothing from now on."""
        self._answering.clear()

    def answer(self) -> None:
        """Answer again, also what waits."""
        self._answering.set()

    def crash(self) -> None:
        """Die without unmounting: every access, also one that waits, fails with ENOTCONN or ECONNABORTED."""
        self._dead = True
        self._answering.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join(5)

    def detach(self) -> None:
        """Take it out of the tree, as `umount -l` does: what is asked already waits on."""
        _LIBC.umount2(os.fsencode(self.mountpoint), 2)

    def stop(self) -> None:
        """Unmount, as a restart does; what is below the mount point shows again."""
        self._answering.set()
        self.detach()
        self.crash()

    def _serve(self) -> None:
        poller = select.poll()
        poller.register(self._device, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        try:
            while not self._dead:
                poller.poll()
                if not self._dead:
                    self._serve_one()
        except OSError as error:
            if error.errno not in {errno.ENODEV, errno.ECONNABORTED}:  # unmounted before, or while, a request was read (fs/fuse/dev.c)
                raise
        finally:
            os.close(self._device)

    def _serve_one(self) -> None:
        try:
            request = os.read(self._device, 1 << 17)
        except (BlockingIOError, InterruptedError):
            return
        self._answering.wait()
        if self._dead:
            return
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (_FORGET, _BATCH_FORGET):
            return
        try:
            body, code = self._answer(opcode, node, request[40:]), 0
        except OSError as error:
            body, code = b"", -(error.errno or errno.EIO)
        with suppress(FileNotFoundError):  # whoever asked was interrupted
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)

    def _answer(self, opcode: int, node: int, data: bytes) -> bytes:  # noqa: C901, PLR0911  # a table
        path = self._nodes.get(node, "")
        if opcode == _INIT:
            return struct.pack("<IIIIHHIIHHI", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, 0) + bytes(28)
        if opcode == _LOOKUP:
            return self._entry(f"{path}/{data[: data.index(0)].decode()}".lstrip("/"))
        if opcode == _GETATTR:
            if self.trouble and node == _ROOT:
                raise OSError(self.trouble, "as told")
            return struct.pack("<QII", 0, 0, 0) + self._attributes(node, path)
        if opcode == _READLINK:
            return b"nodes/pve1"
        if opcode == _OPEN and path in self.denied:
            raise OSError(errno.EACCES, path)
        if opcode in (_OPEN, _OPENDIR):
            self.opened.append(path)
            return struct.pack("<QII", 0, _DIRECT_IO if opcode == _OPEN else 0, 0)
        if opcode == _READ:
            _, offset, size = struct.unpack_from("<QQI", data)
            return self._content(path)[offset : offset + size]
        if opcode == _STATFS:
            return struct.pack("<5Q10I", 1, 1, 1, 1, 1, 4096, 255, 4096, *(0,) * 7)
        if opcode == _READDIR:
            _, offset, size = struct.unpack_from("<QQI", data)
            return self._listing(path)[:size] if not offset else b""
        if opcode in (_RELEASE, _RELEASEDIR):
            return b""
        raise OSError(errno.ENOSYS, "not served")

    def _content(self, path: str) -> bytes:
        if path not in self.files:
            raise OSError(errno.ENOENT, path)
        return self.files[path]

    def _entry(self, path: str) -> bytes:
        node = next((number for number, known in self._nodes.items() if known == path), len(self._nodes) + 1)
        attributes = self._attributes(node, path)
        self._nodes[node] = path
        # no caching, so that a test need not wait a second for the kernel to ask again
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + attributes

    def _attributes(self, node: int, path: str) -> bytes:
        if path == "local":
            mode, size = stat.S_IFLNK | (0o755 if self.quorate else 0o555), 10
        elif not path or any(name.startswith(f"{path}/") for name in self.files):
            mode, size = stat.S_IFDIR | 0o755, 0
        else:
            mode, size = stat.S_IFREG | 0o640, len(self._content(path))
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _listing(self, path: str) -> bytes:
        prefix = f"{path}/" if path else ""
        names = sorted({name.removeprefix(prefix).split("/")[0] for name in self.files if name.startswith(prefix)})
        return b"".join(
            (struct.pack("<QQII", 99, number + 1, len(name), 0) + name.encode()).ljust((24 + len(name) + 7) // 8 * 8, b"\0")
            for number, name in enumerate(names)
        )
