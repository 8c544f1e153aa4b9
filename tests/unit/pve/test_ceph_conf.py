import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.ceph_conf import MASK, MonAddress, key_name, mon_hosts, parse

KEY = "AQD4PGNXBZJNHhAA582iUgxe9DsN+MqFN4Z6Jw=="
CONF = f"""
# made by pveceph
[global]
\tauth_client_required = cephx
\tcluster network = 10.1.4.0/24
\tfsid = 3d2bd8a0-4f2f-4a5b-9d1f-0a1b2c3d4e5f
\tmon_host = 10.1.4.11 10.1.4.12 10.1.4.13
\tmon initial members = pve1, pve2 pve3
\tosd-pool-default-min-size = 2
\tosd_pool_default_size = 3 ; copies
\tpublic_network = 10.1.4.0/24,fd00:4::/64

[client]
\tkeyring = /etc/pve/priv/$cluster.$name.keyring

[client.backup]
\tkey = {KEY}
\tcomment = "a # b" \\
 and {KEY}

[mon.pve1]
\tpublic_addr = 10.1.4.11
[mon.pve2]
\thost = pve2
""".replace('"a # b"', "a \\# b").encode()


def test_whole_file() -> None:
    """What Ceph and its networks are made of is read, with blanks and dashes in keys as underscores."""
    conf = parse(CONF)
    assert conf.fsid == "3d2bd8a0-4f2f-4a5b-9d1f-0a1b2c3d4e5f"
    assert conf.mon_addresses == ("10.1.4.11", "10.1.4.12", "10.1.4.13")
    assert conf.mon_initial_members == ("pve1", "pve2", "pve3")
    assert conf.public_network == ("10.1.4.0/24", "fd00:4::/64")
    assert conf.cluster_network == ("10.1.4.0/24",)
    assert (conf.osd_pool_default_size, conf.osd_pool_default_min_size) == (3, 2)
    assert conf.monitors == {"pve1": "10.1.4.11", "pve2": "pve2"}
    assert conf.digest == hashlib.sha1(CONF, usedforsecurity=False).hexdigest()
    assert conf.notices == ()


def test_secrets_are_masked() -> None:
    """Keys and whatever looks like one are masked; the path of a keyring is no secret."""
    conf = parse(CONF)
    assert KEY not in repr(conf)
    assert conf.sections["client.backup"]["key"] == MASK
    assert conf.sections["client.backup"]["comment"] == f"a # b  and {MASK}"
    assert conf.sections["client"]["keyring"] == "/etc/pve/priv/$cluster.$name.keyring"
    secrets = parse(b"[client.rgw]\nrgw_keystone_admin_password = x\nrgw s3 auth secret = x\nrgw_crypt_default_encryption_key = x\n")
    assert set(secrets.sections["client.rgw"].values()) == {MASK}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1", ((MonAddress("10.0.0.1"),),)),
        ("10.0.0.1:6789,mon2", ((MonAddress("10.0.0.1", 6789),), (MonAddress("mon2"),))),
        ("[fd00::1] [fd00::2]:3300", ((MonAddress("fd00::1"),), (MonAddress("fd00::2", 3300),))),
        (
            "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],[v2:[fd00::2]:3300/0]",
            (
                (MonAddress("10.0.0.1", 3300, "v2"), MonAddress("10.0.0.1", 6789, "v1")),
                (MonAddress("fd00::2", 3300, "v2"),),
            ),
        ),
        ("v2:10.0.0.1:3300/0;v1:10.0.0.2", ((MonAddress("10.0.0.1", 3300, "v2"),), (MonAddress("10.0.0.2", None, "v1"),))),
        ("fd00::1", ((MonAddress("fd00::1"),),)),
        ("[[[,,;", ()),
    ],
)
def test_monitors(text: str, expected: object) -> None:
    """Plain lists, ports, IPv6 with and without brackets and address vectors are told apart."""
    assert mon_hosts(text) == expected


def test_key_names() -> None:
    """The spellings of a key are one."""
    assert {key_name(text) for text in ("mon host", "mon_host", "mon-host", " mon  host ")} == {"mon_host"}


def test_last_value_wins_and_sections_join() -> None:
    """A key that comes again replaces the first, and a section that comes again goes on."""
    assert parse(b"[a]\nx = 1\n[b]\n[a]\nx = 2\ny=3\n").sections == {"a": {"x": "2", "y": "3"}, "b": {}}


def test_wrong_lines_are_named() -> None:
    """A key before any section, a line that is none and a broken section are noticed with their line, never with their value."""
    conf = parse(b"secret = hunter2\n[global]\nnonsense\n[mon\nfsid = x\n")
    assert [notice.line for notice in conf.notices] == [1, 3, 4, 5]
    assert "hunter2" not in repr(conf)
    assert conf.fsid == ""


@given(st.binary(max_size=300) | st.text("[]=;#\\\n v2:.0ab\"',", max_size=200).map(lambda text: f"[global]\nmon_host = {text}".encode()))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a value."""
    parse(data)
