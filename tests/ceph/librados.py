"""What tests do with a cluster over librados beyond what the agent does: any key, any command, files and objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.sources.librados import CephError, load


class Connection:
    """One librados connection to a cluster.

    :param name: who connects: `client.admin`, `client.faultline`.
    :param seconds: the deadline of every command; librados takes whole seconds only.
    :param connect: that of connecting, where it differs.
    :raises CephError: the monitors did not answer in time, or refuse the key.
    """

    def __init__(self, conf: Path, name: str, seconds: int = 10, connect: int = 0) -> None:
        self.rados = load()
        options = {
            **dict.fromkeys(("rados_mon_op_timeout", "rados_osd_op_timeout"), str(seconds)),
            "client_mount_timeout": str(connect or seconds),
        }
        self.cluster = self.rados.Rados(name=name, conffile=str(conf), conf=options)
        try:
            self.cluster.connect()
        except self.rados.Error as error:
            self.cluster.shutdown()
            raise CephError(f"connecting as {name}: {error}") from error

    def give(self, prefix: str, content: bytes) -> None:
        """Run a command that reads a file, with the file's content.

        :raises CephError: refused, or not answered in time.
        """
        self._told(prefix, self.cluster.mon_command, content, {})

    def ask_osd(self, osd: int, prefix: str, **arguments: object) -> bytes:
        """Run a command of one OSD; return what it answers.

        :raises CephError: refused, or not answered in time.
        """
        return self._told(prefix, lambda command, given: self.cluster.osd_command(osd, command, given), b"", arguments)

    def _told(
        self, prefix: str, run: Callable[[str, bytes], tuple[int, bytes, str]], given: bytes, arguments: Mapping[str, object]
    ) -> bytes:
        try:
            code, answer, words = run(json.dumps({"prefix": prefix, "format": "json", **arguments}), given)
        except self.rados.Error as error:
            raise CephError(f"`{prefix}`: {error}") from error
        if code < 0:
            raise CephError(f"`{prefix}`: errno {-code}: {words}")
        return bytes(answer)

    def objects(self, pool: str) -> list[str]:
        """Return the names of a pool's objects."""
        with self.cluster.open_ioctx(pool) as opened:
            return [each.key for each in opened.list_objects()]

    def ask(self, prefix: str, **arguments: object) -> Any:
        """Run a command; return its JSON, None where it answers nothing.

        :raises CephError: refused, not answered in time, or no JSON.
        """
        answer = self._told(prefix, self.cluster.mon_command, b"", arguments)
        try:
            return json.loads(answer) if answer.strip() else None
        except ValueError as error:
            raise CephError(f"`{prefix}`: no JSON: {answer[:100]!r}") from error

    def close(self) -> None:
        """End the connection."""
        self.cluster.shutdown()
