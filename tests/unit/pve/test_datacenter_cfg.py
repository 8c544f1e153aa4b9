import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve.datacenter_cfg import Crs, DatacenterCfg, Migration, parse

CONF = b"""# a comment
keyboard: de
http_proxy: http://user:hunter2@proxy:3128
ha: shutdown_policy=migrate
crs: ha=dynamic,ha-rebalance-on-start=1,ha-auto-rebalance=on,ha-auto-rebalance-threshold=20.5
migration: insecure,network=10.1.5.0/24
replication: network=fd00:5::/64,type=secure
"""


def test_whole_file() -> None:
    """What concerns HA and migrations is read, with defaults for what is not set."""
    conf = parse(CONF)
    assert conf.shutdown_policy == "migrate"
    assert conf.crs == Crs("dynamic", rebalance_on_start=True, auto_rebalance=True, threshold=20.5)
    assert conf.migration == Migration("insecure", "10.1.5.0/24")
    assert conf.replication == Migration("secure", "fd00:5::/64")
    assert conf.notices == ()
    assert "hunter2" not in repr(conf)


def test_empty_file() -> None:
    """Without a file the defaults of Proxmox VE hold."""
    conf = parse(b"")
    assert conf == DatacenterCfg(digest=conf.digest)
    assert (conf.shutdown_policy, conf.crs.ha, conf.migration) == ("conditional", "basic", Migration("secure", ""))


@pytest.mark.parametrize(
    "line",
    [
        b"ha: shutdown_policy=explode",
        b"ha: shutdown_policy",
        b"ha: policy=freeze",
        b"crs: ha=static,ha=basic",
        b"crs: ha=static,ha-auto-rebalance-threshold=30",
        b"crs: ha-auto-rebalance=1,ha-auto-rebalance-margin=101",
        b"crs: ha-rebalance-on-start=perhaps",
        b"migration: secure,network=everywhere",
        b"migration: type=secure,insecure",
    ],
)
def test_wrong_value_leaves_the_default(line: bytes) -> None:
    """A value that Proxmox VE does not accept is as good as not there, and its line is noticed."""
    conf = parse(b"keyboard: de\n" + line + b"\n")
    assert (conf.shutdown_policy, conf.crs, conf.migration) == ("conditional", Crs(), Migration())
    assert [notice.line for notice in conf.notices] == [2]


def test_old_key_of_insecure_migration() -> None:
    """The key of old releases still counts, unless the new one is there."""
    assert parse(b"migration_unsecure: 1\n").migration == Migration("insecure")
    assert parse(b"migration_unsecure: 1\nmigration: secure\n").migration == Migration("secure")


def test_last_line_wins() -> None:
    """A key that comes twice has its last value; a line that is none is noticed."""
    conf = parse(b"ha: shutdown_policy=freeze\nnonsense\nha: shutdown_policy=failover\n")
    assert conf.shutdown_policy == "failover"
    assert [notice.line for notice in conf.notices] == [2]


@given(st.binary(max_size=200) | st.text("ha=,:crs-\n01", max_size=100).map(lambda text: f"crs: {text}".encode()))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a value."""
    parse(data)
