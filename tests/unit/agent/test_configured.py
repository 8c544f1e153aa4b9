"""Storages of storage.cfg for sources, without ever waiting for pmxcfs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent.sources.configured import Configured

ONE = b"nfs: one\n\tserver 10.0.0.1\n\texport /a\n\tpath /mnt/pve/one\n\tcontent images\n"
TWO = ONE + b"\nnfs: two\n\tserver 10.0.0.2\n\texport /b\n\tpath /mnt/pve/two\n\tcontent images\n\tnodes pve2\n"


def ids(configured: Configured) -> list[str]:
    """Return the ids of all NFS storages that are known now."""
    return [one.id for one in configured.storages("nfs")]


def write(file: Path, content: bytes) -> None:
    """Replace a file as Proxmox VE does: nobody sees half of it."""
    fresh = file.with_suffix(".tmp")
    fresh.write_bytes(content)
    fresh.replace(file)


def until(configured: Configured, expected: list[str]) -> bool:
    """Wait, bounded, until these storages are known."""
    end = time.monotonic() + 10
    while ids(configured) != expected and time.monotonic() < end:
        time.sleep(0.01)
    return ids(configured) == expected


def test_only_this_nodes_storages_are_known(tmp_path: Path) -> None:
    """Storages of other nodes and of other types are left out, and a changed file is taken in."""
    file = tmp_path / "storage.cfg"
    write(file, ONE)
    configured = Configured(tmp_path, "pve1", every=0.01)
    configured.wait(5)
    assert ids(configured) == ["one"]
    assert configured.storages("iscsi") == ()

    other = Configured(tmp_path, "pve2", every=0.01)
    write(file, TWO)

    assert until(other, ["one", "two"])
    assert ids(configured) == ["one"]


def test_a_restart_of_pmxcfs_removes_nothing(tmp_path: Path) -> None:
    """While the file is away what was read last holds: a restart of pmxcfs is no removal of storages."""
    root = tmp_path / "pve"
    root.mkdir()
    (root / "storage.cfg").write_bytes(ONE)
    configured = Configured(root, "pve1", every=0.01)
    configured.wait(5)
    (root / "storage.cfg").unlink()

    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        assert ids(configured) == ["one"]


def test_without_proxmox_there_is_nothing(tmp_path: Path) -> None:
    """A machine without /etc/pve has no storages, and that is no error."""
    configured = Configured(tmp_path / "none", "pve1", every=0.01)
    configured.wait(5)

    assert ids(configured) == []


def test_a_hanging_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A read that hangs is left in its thread: who asks gets what is known, at once."""
    os.mkfifo(tmp_path / "storage.cfg")  # opening it waits for a writer
    configured = Configured(tmp_path, "pve1", every=0.01)
    began = time.monotonic()
    for _ in range(100):
        assert ids(configured) == []
    assert time.monotonic() - began < 5

    with (tmp_path / "storage.cfg").open("wb") as writer:
        writer.write(ONE)
    assert until(configured, ["one"])
