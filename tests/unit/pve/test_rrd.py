from hypothesis import given
from hypothesis import strategies as st

from pve.rrd import NodeStorage, StorageStat, parse

PVE9 = (
    b"pve-node-9.0/pve1:86400::1795000100:0.52:16:0.03:0.001:67430420480:20000000000:8589930496:0:98497780736:12000000000"
    b":1111:2222:47000000000:3000000:0.1:2.5:1.5:0:0\n"
    b"pve-storage-9.0/pve1/local:1795000101:98497780736:12000000000\n"
    b"pve-storage-9.0/pve1/san.lvm-1:1795000101:1e+15:U\n"
    b"pve-vm-9.0/100:3600:web1:io-error:0:1795000100:4:0.01:4294967296:1073741824:34359738368:0:10:20:30:40:1200000000:0:0:99.5:80:0:0\n"
)
PVE8 = (
    b"pve2-node/pve2:500::1795000095:0.1:8:0.02:0:1000:500:0:0:100:50:1:2\n"
    b"pve2-storage/pve2/local:1795000096:100:50\n"
    b"pve2.3-vm/101:0:tmpl:stopped:1:1795000095:2:U:512:U:1024:0:U:U:U:U\n"
)


def test_lines_of_proxmox_ve_9() -> None:
    """Values stand at the places of the sources; an undefined one is None, and a VM's status is QEMU's own."""
    rrd = parse(PVE9 + b"\0")
    node = rrd.nodes["pve1"]
    assert (node.ctime, node.uptime_s, node.load, node.cpus, node.root_used) == (1795000100, 86400, 0.52, 16, 12000000000)
    assert (node.io_some, node.io_full) == (2.5, 1.5)
    assert rrd.storages[NodeStorage("pve1", "san.lvm-1")] == StorageStat(1795000101, 1e15, None)
    guest = rrd.guests[100]
    assert (guest.name, guest.status, guest.template, guest.uptime_s) == ("web1", "io-error", False, 3600)
    assert (guest.disk_read, guest.disk_written, guest.io_some, guest.io_full) == (30, 40, 99.5, 80)
    assert (rrd.skipped, rrd.torn) == (0, False)


def test_lines_of_proxmox_ve_8() -> None:
    """The older keys give the same values, without pressures."""
    rrd = parse(PVE8)
    assert (rrd.nodes["pve2"].ctime, rrd.nodes["pve2"].io_full) == (1795000095, None)
    assert (rrd.guests[101].template, rrd.guests[101].cpu) == (True, None)
    assert rrd.storages == {NodeStorage("pve2", "local"): StorageStat(1795000096, 100, 50)}


def test_mixed_cluster() -> None:
    """Of an object with lines of both releases the newer one counts, whichever stands first."""
    old, new = b"pve2-storage/n/s:1000:1:1\n", b"pve-storage-9.0/n/s:1200:2:2\n"
    for body in (old + new, new + old):
        assert parse(body).storages[NodeStorage("n", "s")].ctime == 1200
    assert {*parse(PVE8 + PVE9).nodes} == {"pve1", "pve2"}


def test_cut_body() -> None:
    """A line without its end is left out, for half a time would look like an old one; the body says that it is torn."""
    rrd = parse(PVE9[:-5])
    assert rrd.torn
    assert 100 not in rrd.guests
    assert len(rrd.storages) == 2


def test_lines_that_make_no_sense() -> None:
    """Wrong lines are counted and the others kept; kinds of a later release are passed over."""
    rrd = parse(b"pve2-storage/n:1:2\npve2-storage/n/s:U:1:1\npve-vm-9.0/x:1\npve2-node/:1::1\nfuture/n:1\n\npve2-storage/n/t:5:nan:1_0\n")
    assert rrd.skipped == 4
    assert rrd.storages == {NodeStorage("n", "t"): StorageStat(5, None, None)}


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """Any bytes give a value, also as the values of a line."""
    parse(data)
    rrd = parse(b"pve-storage-9.0/n/s:" + data + b"\npve-node-9.0/n:1::" + data + b"\n")
    assert all(stat.ctime > 0 for stat in rrd.storages.values())
