"""Wrong bytes for the parsers of pmxcfs' small files and of HA: ``python -m tests.fuzz.cluster_files --count 400000 --seed 1``.

Bodies that Proxmox VE could have written are cut, spliced, repeated and sprinkled with the marks of their grammars. A parser may raise
nothing but :class:`pve.errors.PveError`, and takes at most 50 ms. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from pve import ceph_conf, corosync_conf, datacenter_cfg, freshness, ha_status, members, rrd, storage_cfg, storage_diff, version_file
from pve.errors import PveError
from pve.ha import unite
from pve.ha_groups import parse as parse_groups
from pve.ha_resources import parse as parse_resources
from pve.ha_rules import parse as parse_rules
from pve.release import Release

LIMIT_S: Final = 0.05
LONGEST: Final = 64 * 1024
"""Bytes; longer bodies are cut."""
_NODES: Final = ("pve1", "pve2", "pve3")


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, bodies to begin with, and the marks of its grammar."""

    run: Callable[[bytes], object]
    bodies: tuple[bytes, ...]
    marks: tuple[bytes, ...]


_JSON: Final = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"null",
    b"1e999",
    b"-1",
    b"NaN",
    b"\\ud800",
    b"\0",
    b"4294967296",
    b"true",
    b"{}",
)
_SECTIONS: Final = (b"\n", b"\n\n", b"\t", b" ", b":", b",", b";", b"0\n", b"#", b"\r\n", b"\0", b"vm:100", b"\xff", b"disable", b"-1")
_RRD: Final = (b":", b"\n", b"U", b"/", b"\0", b"1e400", b"-", b"pve2-node/", b"pve-storage-9.0/", b"pve2.3-vm/", b"nan", b"0")
_CONF: Final = (b"{", b"}", b"\n", b":", b"#", b"[", b"]", b"=", b"\\\n", b";", b"'", b'"', b",", b"v2:", b"/0", b"::", b"\xff", b"=1,")

_VERSION: Final = (
    b'{\n"starttime": 1795000000,\n"clinfo": 4,\n"vmlist": 7,\n"storage.cfg": 2,\n"kvstore": {\n"pve1": { "tasklist": 12}\n}\n}\n'
)
_MEMBERS: Final = (
    b'{\n"nodename": "pve1",\n"version": 8,\n"cluster": { "name": "c1", "version": 3, "nodes": 2, "quorate": 1 },\n"nodelist": {\n'
    b'  "pve1": { "id": 1, "online": 1, "ip": "10.1.1.11"},\n  "pve2": { "id": 2, "online": 0}\n  }\n}\n'
)
_RRD_BODY: Final = (
    b"pve-node-9.0/pve1:86400::1795000100:0.52:16:0.03:0.001:67430420480:20000000000:0:0:98497780736:1200:1:2:3:4:0.1:2.5:1.5:0:0\n"
    b"pve2-node/pve2:86400:c:1795000100:0.52:16:0.03:0.001:67430420480:20000000000:0:0:98497780736:1200:1:2\n"
    b"pve-storage-9.0/pve1/local:1795000101:98497780736:12000000000\npve2-storage/pve2/san:1795000101:U:U\n"
    b"pve-vm-9.0/100:3600:web1:io-error:0:1795000100:4:0.01:4294967296:1073741824:34359738368:0:10:20:30:40:1:0:0:99.5:80:0:0\n\0"
)
_MANAGER: Final = (
    b'{"master_node":"pve2","timestamp":1795000000,"node_status":{"pve1":"online"},"node_request":{"pve1":{"maintenance":1}},'
    b'"service_status":{"vm:100":{"state":"migrate","node":"pve1","target":"pve2","cmd":["migrate","pve2"],"failed_nodes":["pve3"],"uid":"a"}},'
    b'"disarm":{"mode":"freeze","state":"disarmed"}}'
)
_LRM: Final = b'{"mode":"active","results":{"a":{"exit_code":0,"sid":"vm:100","state":"started"}},"state":"active","timestamp":1795000000}'
_COROSYNC: Final = (
    b"nodelist {\n  node {\n    name: pve1\n    nodeid: 1\n    quorum_votes: 1\n    ring0_addr: 10.1.1.11\n  }\n}\n"
    b"quorum {\n  provider: corosync_votequorum\n  device {\n    model: net\n    net {\n      host: h\n    }\n  }\n}\n"
    b"totem {\n  cluster_name: c\n  config_version: 7\n  interface {\n    linknumber: 0\n  }\n}\n"
)
_CEPH: Final = (
    b"[global]\n\tfsid = 3d2bd8a0\n\tmon host = [v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] [fd00::1]:6789\n\tosd-pool-default-size = 3 ; c\n"
    b"[client]\n\tkeyring = /etc/pve/priv/$cluster.$name.keyring \\\n more\n[mon.a]\n\tpublic_addr = 10.0.0.1\n"
)
_DATACENTER: Final = b"ha: shutdown_policy=migrate\ncrs: ha=static,ha-rebalance-on-start=1\nmigration: insecure,network=10.1.5.0/24\n"
_RESOURCES: Final = b"vm: 100\n\tstate started\n\tgroup g1\n\tmax_restart 2\n\tcomment web\n\nct: 101\n\tstate ignored\n\tfailback 0\n\n"
_GROUPS: Final = b"group: g1\n\tnodes pve1:2,pve2\n\trestricted 1\n\tnofailback 1\n\n"
_STORAGE: Final = (
    b"dir: local\n\tpath /var/lib/vz\n\tcontent iso,backup\n\tprune-backups keep-last=3,keep-daily=7\n\n"
    b"nfs: nas\n\texport /export/pve\n\tpath /mnt/pve/nas\n\tserver 10.0.0.1\n\tcontent images\n\toptions vers=4.2\n\tnodes pve1,pve2\n\n"
    b"iscsi: san\n\tportal [fd00::1]:3260\n\ttarget iqn.2005-10.org.freenas.ctl:pve\n\tcontent none\n\n"
)
_MORE_STORAGE: Final = (
    b"lvm: vg\n\tvgname vg0\n\tbase san:0.0.0.scsi-36001405\n\tshared 1\n\tbwlimit migration=100,clone=2.5e3\n\n"
    b"pbs: pbs\n\tserver h\n\tdatastore d\n\tport 8007\n\tpassword p\n\tmax-protected-backups -1\n\n"
    b"cifs: smb\n\tserver h\n\tshare s\n\tusername u\n\tcontent-dirs iso=a/b,images=c\n\tdisable\n\n"
    b"zfspool: z\n\tpool p\n\tblocksize 8k\n\n"
)
_RULES: Final = (
    b"node-affinity: r1\n\tresources vm:100,ct:101\n\tnodes pve1:2,pve2\n\tstrict 1\n\n"
    b"resource-affinity: r2\n\tresources vm:100,ct:101\n\taffinity negative\n\tdisable 1\n\nresource-affinity: r3\n\tresources vm:1,vm:2\n"
    b"\taffinity positive\n\nnode-affinity: r4\n\tresources vm:100\n\tnodes pve3\n\taffinity negative\n\n"
)


def _judge(data: bytes) -> object:
    found = freshness.judge(rrd.parse(data), 1.0, None, {"pve1": frozenset({"san"})})
    return freshness.judge(rrd.parse(_RRD_BODY), 60.0, freshness.judge(rrd.parse(data), 40.0, found))


def _ha(resources: bytes = _RESOURCES, groups: bytes = b"", rules: bytes = _RULES) -> object:
    ha = unite(parse_resources(resources), parse_groups(groups), parse_rules(rules), _NODES)
    return [(ha.allowed_nodes(sid), ha.preferred(sid, _NODES[:2]), ha.apart(sid), ha.failback(sid)) for sid in ha.resources.resources]


def _storages(data: bytes) -> object:
    configs = [storage_cfg.parse(data, release) for release in Release]
    before, after = (storage_diff.remember(one) for one in configs)
    return [config.vector() for config in configs], storage_diff.compare(before, after, _NODES)


TARGETS: Final = {
    "storage": Target(_storages, (_STORAGE, _MORE_STORAGE), _SECTIONS),
    "version": Target(version_file.parse, (_VERSION,), _JSON),
    "members": Target(members.parse, (_MEMBERS,), _JSON),
    "rrd": Target(_judge, (_RRD_BODY,), _RRD),
    "manager_status": Target(ha_status.parse_manager, (_MANAGER,), _JSON),
    "lrm_status": Target(ha_status.parse_lrm, (_LRM,), _JSON),
    "corosync": Target(corosync_conf.parse, (_COROSYNC,), _CONF),
    "ceph": Target(ceph_conf.parse, (_CEPH,), _CONF),
    "datacenter": Target(datacenter_cfg.parse, (_DATACENTER,), _CONF),
    "resources": Target(lambda data: _ha(resources=data), (_RESOURCES, _GROUPS), _SECTIONS),
    "groups": Target(lambda data: _ha(groups=data), (_GROUPS, _RESOURCES), _SECTIONS),
    "rules": Target(lambda data: _ha(rules=data), (_RULES, _GROUPS), _SECTIONS),
}


def mutated(target: Target, chance: Random) -> bytes:
    """Return wrong bytes for a parser: one of its bodies after one to eight changes, sometimes nothing but noise."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randint(0, 400))
    data = chance.choice(target.bodies)
    for _ in range(chance.randint(1, 8)):
        data = chance.choice(_CHANGES)(data, target, chance)[:LONGEST]
    return data


def _span(data: bytes, chance: Random) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(start + chance.randint(0, 40), len(data))


def _cut(data: bytes, _target: Target, chance: Random) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + data[end:]


def _repeat(data: bytes, _target: Target, chance: Random) -> bytes:
    start, end = _span(data, chance)
    return data[:end] + data[start:end] * chance.choice((1, 2, 30, 300)) + data[end:]


def _mark(data: bytes, target: Target, chance: Random) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + chance.choice(target.marks) * chance.choice((1, 1, 1, 2, 200)) + data[chance.choice((start, end)) :]


def _flip(data: bytes, _target: Target, chance: Random) -> bytes:
    place = chance.randint(0, max(len(data) - 1, 0))
    return data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]


def _splice(data: bytes, target: Target, chance: Random) -> bytes:
    other = chance.choice(target.bodies)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


_CHANGES: Final[tuple[Callable[[bytes, Target, Random], bytes], ...]] = (_cut, _repeat, _mark, _mark, _flip, _splice)


def took(run: Callable[[bytes], object], data: bytes) -> float:
    """Return for how many seconds a parser ran. A slow run is made again twice: the machine may have been busy.

    :raises Exception: whatever the parser raises that is no :class:`pve.errors.PveError`.
    """
    best = _once(run, data)
    return best if best <= LIMIT_S else min(best, _once(run, data), _once(run, data))


def _once(run: Callable[[bytes], object], data: bytes) -> float:
    began = time.perf_counter()
    with suppress(PveError):  # a typed error is one of the two right answers
        run(data)
    return time.perf_counter() - began


def campaign(count: int, seed: int) -> tuple[str, float]:
    """Run ``count`` inputs over all targets in turn; return the slowest target and its seconds.

    :raises AssertionError: for an input that breaks a promise; it is in the message.
    """
    chance = Random(seed)
    slowest = ("", 0.0)
    for name in (list(TARGETS) * (count // len(TARGETS) + 1))[:count]:
        data = mutated(TARGETS[name], chance)
        try:
            seconds = took(TARGETS[name].run, data)
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__} for {data!r}") from error
        if seconds > LIMIT_S:
            raise AssertionError(f"{name}: {seconds * 1000:.0f} ms for {len(data)} bytes: {data[:2000]!r}")
        slowest = max(slowest, (name, seconds), key=lambda pair: pair[1])
    return slowest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign and print its rate."""
    parser = argparse.ArgumentParser(description="Wrong bytes for the parsers of cluster files.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    name, seconds = campaign(options.count, options.seed)
    rate = options.count / (time.perf_counter() - began)
    sys.stdout.write(f"{options.count} inputs, {rate:.0f}/s, slowest {name} {seconds * 1000:.1f} ms, nothing but typed errors\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
