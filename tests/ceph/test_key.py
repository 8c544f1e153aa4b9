"""The script that makes the agents' key, against a real cluster."""

from __future__ import annotations

import grp
import os
import stat
import subprocess
from pathlib import Path

import pytest

from agent.sources.librados import CephError
from tests.ceph.cluster import CephCluster
from tests.ceph.layout import CLIENT, CLIENT_CAPS
from tests.ceph.librados import Connection

pytestmark = [pytest.mark.ceph, pytest.mark.timeout(120)]

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "create-ceph-key"


def _run(cluster: CephCluster, keyring: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CEPH_CONF": str(cluster.layout.conf)}
    return subprocess.run([SCRIPT, keyring], env=environment, capture_output=True, text=True, check=False)


def test_the_key_is_made_and_kept(cluster: CephCluster, tmp_path: Path) -> None:
    """The script makes a key that may read and nothing else, in a file of group www-data; run again, it changes neither."""
    before = cluster.ask("auth get", entity=CLIENT)[0]
    cluster.ask("auth rm", entity=CLIENT)
    keyring = tmp_path / "made.keyring"
    try:
        first = _run(cluster, keyring)
        assert first.returncode == 0, first.stderr
        assert f"{CLIENT} made" in first.stdout
        made, text = cluster.ask("auth get", entity=CLIENT)[0], keyring.read_text()
        assert made["caps"] == CLIENT_CAPS
        assert made["key"] in text
        found = keyring.stat()
        assert (stat.S_IMODE(found.st_mode), grp.getgrgid(found.st_gid).gr_name) == (0o640, "www-data")

        cluster.ask("auth caps", entity=CLIENT, caps=["mon", "allow *"])
        second = _run(cluster, keyring)
        assert second.returncode == 0, second.stderr
        assert f"{CLIENT} is there" in second.stdout
        assert cluster.ask("auth get", entity=CLIENT)[0] == made
        third = _run(cluster, keyring)
        assert f"{keyring} holds it already" in third.stdout
        assert keyring.read_text() == text

        conf = tmp_path / "ceph.conf"
        conf.write_text(cluster.layout.conf.read_text().replace(f"{cluster.layout.directory}/ceph.$name.keyring", str(keyring)))
        connection = Connection(conf, CLIENT)
        try:
            assert connection.ask("health")["status"]
            with pytest.raises(CephError, match="errno 13"):
                connection.ask("osd set", key="noout")
        finally:
            connection.close()
    finally:
        cluster.ask("auth rm", entity=CLIENT)
        cluster.admin.give("auth import", f'[{CLIENT}]\n\tkey = {before["key"]}\n\tcaps mgr = "allow r"\n\tcaps mon = "allow r"\n'.encode())


def test_what_is_missing_is_said(cluster: CephCluster, tmp_path: Path) -> None:
    """A directory that is not there is told before anything is made."""
    done = _run(cluster, tmp_path / "nowhere" / "made.keyring")
    assert done.returncode == 1
    assert "nowhere is not there" in done.stderr
