"""Wrong bytes for the parser of storage.cfg: ``python -m tests.fuzz.storage_cfg --count 300000 --seed 1``.

Files are the conformance vectors after some changes, files built from the grammar, and noise; a few are repeated up to 1 MiB. Whatever
the bytes: no error, the same answer twice, Proxmox VE's digest, JSON that can be read again, no planted password in anything that is
shown, and at most 50 ms, or for a large file 4 s per MiB. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from pve import storage_cfg, storage_diff
from pve.release import Release
from pve.storage_cfg import StorageConfig
from pve.storage_secrets import SECRETS
from pve.storage_types import PROPERTIES, TYPES

LIMIT_S: Final = 0.05
LIMIT_S_PER_BYTE: Final = 4 / 2**20
"""What makes a quadratic search fail and a busy machine not."""
LONGEST: Final = 2**20
"""Bytes: the longest file of pmxcfs (memdb.h)."""
SECRET: Final = "Hunter2Hunter2"
_NODES: Final = ("pve1", "pve2", "pve3")
_SAMPLES: Final = Path(__file__).resolve().parents[1] / "samples" / "conformance"
BODIES: Final = tuple(
    vector["raw_latin1"].encode("latin-1")
    for name in ("storage_cfg_vectors.json", "storage_cfg_more.json")
    for vector in json.loads((_SAMPLES / name).read_text(encoding="utf-8"))["vectors"]
)
_MARKS: Final = (
    *(b"\n|\n\n|\t| |:|,|;|0\n|#|\r\n|\0|\xff|\xa0|\x85|\x0b|=|.|-|[|]|/|none|local|'|+|%|\\|_".split(b"|")),
    b"\n\tnodes ",
    b"\n\tcontent ",
    b"\xc3\xa4",
)
_PLAIN_WORDS: Final = (
    "0 1 yes -1 +1 65536 99999999999999999999 1e3 images,iso none none,images bogus / /x /a//../b /x;y 10.0.0.1 nas.lan fd00::1 1::2::3"
    " [fd00::1]:3260 [host]: pve1,pve2 pve_1 vers=4.2 raw vmdk off keep-all=1 keep-last=3,keep-all=yes keep-last=x default=1.5,move=2e3"
    " vg-x san:0.0.0.scsi-3600 iso=a/b iso=.. 4k 3k tcp 3.11 aa:bb"
)
_WORDS: Final = (*_PLAIN_WORDS.split(), "a\0b", "images\xa0iso")
_TYPES: Final = (*TYPES[Release.PVE8], "linstor", "NFS", "0", "\xcdscsi")
_NAMES: Final = (*PROPERTIES[Release.PVE8], *PROPERTIES[Release.PVE9], "type", "storage", "bogus")
_MISTYPED: Final = ("\t{} {}\n", "{} {}\n", "x {}: {}\n", "\n{}: {}\n", "\t{}={}\n", "\toptions a {}={}\n", "\t{}\t{}\r\n", "\t{} {}\n\n")


def _section(dice: Random) -> str:
    header = f"{dice.choice(_TYPES)}: {dice.choice(('local', 'a1', 'b2', 'x', 'san-1', '1a'))}"
    lines = [f"{dice.choice(chr(9) * 8 + ' ')}{dice.choice(_NAMES)} {dice.choice(_WORDS)}" for _ in range(dice.randint(0, 7))]
    return "\n".join((header, *lines)) + dice.choice(("\n\n", "\n\n", "\n", "\n0\n", "\n \n", "\r\n\r\n"))


def _built(dice: Random) -> bytes:
    return "".join(_section(dice) for _ in range(dice.randint(1, 5))).encode("latin-1")


def _changed(dice: Random) -> bytes:
    data: bytes = dice.choice(BODIES)
    for _ in range(dice.randint(1, 6)):
        start = dice.randint(0, len(data))
        end = min(len(data), start + dice.randint(0, 30))
        data = data[:start] + dice.choice(_CHANGES)(data[start:end], dice) + data[end:]
    return data


_CHANGES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    lambda _part, _dice: b"",
    lambda part, dice: part * dice.choice((2, 3, 20)),
    lambda part, dice: dice.choice(_MARKS) + part,
    lambda part, dice: dice.choice(_MARKS) + part[1:],
    lambda part, dice: dice.randbytes(1) + part[1:],
    lambda _part, dice: dice.choice(BODIES)[dice.randint(0, 80) :],
)


def body(dice: Random) -> tuple[bytes, bool]:
    """Make one file; return it and whether a password stands in it, in a line of its own that may be mistyped."""
    chance = dice.random()
    if chance < 0.03:
        return dice.randbytes(dice.randint(0, 400)), False
    if chance < 0.0305:
        part = dice.choice((*_MARKS, *filter(None, BODIES), b"x\n", b"dir: d1\n", b"\tserver a\n"))
        return (dice.choice(BODIES) + part * (LONGEST // len(part)))[:LONGEST], False
    data = _changed(dice) if chance < 0.6 else _built(dice)
    if chance < 0.9:
        return data, False
    lines = data.split(b"\n")
    place = dice.randint(0, len(lines))
    planted = dice.choice(_MISTYPED).format(dice.choice(sorted(SECRETS)), SECRET).encode()
    return b"\n".join((*lines[:place], planted, *lines[place:])), True


def _shown(config: StorageConfig) -> str:
    """Return everything that is meant to be shown or kept."""
    memory = storage_diff.remember(config)
    changes = storage_diff.compare({}, memory, _NODES), storage_diff.compare(memory, {}, _NODES)
    return f"{config!r} {config.public_warnings} {[one.public for one in config.storages.values()]} {memory} {changes}"


def check(data: bytes, release: Release, *, planted: bool) -> float:
    """Parse a file and look whether the answer keeps every promise; return the parser's seconds.

    :raises AssertionError: for an answer that breaks a promise.
    """
    start = time.process_time()
    config = storage_cfg.parse(data, release)
    seconds = time.process_time() - start
    form = config.vector()
    lines = data.count(b"\n") + 1
    assert config.digest == hashlib.sha1(data, usedforsecurity=False).hexdigest(), "digest"
    assert json.loads(json.dumps(form, allow_nan=False)) == form, "JSON"
    assert storage_cfg.parse(data, release).vector() == form, "two answers"
    assert config.storages["local"].type == "dir", "local"
    assert sorted(config.order.values()) == sorted(set(config.order.values())), "order"
    assert config.order.keys() <= config.ids.keys(), "ids"
    assert all(1 <= one.line <= lines for one in config.warnings), "lines"
    assert len(config.public_warnings) == len(config.warnings), "warnings"
    assert not planted or SECRET not in _shown(config), "a secret is shown"
    return seconds


def campaign(count: int, seed: int) -> float:
    """Try ``count`` files, each as both releases read it; return the longest seconds for a file of at most 64 KiB.

    :raises AssertionError: for a file that breaks a promise; seed and number are in the message.
    """
    slowest = 0.0
    for number in range(count):
        data, planted = body(Random(f"{seed}/{number}"))
        limit = max(LIMIT_S, LIMIT_S_PER_BYTE * len(data))
        for release in Release:
            try:
                seconds = check(data, release, planted=planted)
                if seconds > limit:  # a busy machine: the best of three counts
                    seconds = min(seconds, *(check(data, release, planted=planted) for _ in range(2)))
                assert seconds <= limit, f"{seconds:.3f} s for {len(data)} bytes"
            except Exception as error:
                raise AssertionError(f"seed {seed}, number {number}, PVE {release}: {error!r}: {data[:2000]!r}") from error
            slowest = max(slowest, seconds if len(data) <= LONGEST // 16 else 0.0)
    return slowest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign and print its rate."""
    parser = argparse.ArgumentParser(description="Wrong bytes for the parser of storage.cfg.")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    slowest = campaign(options.count, options.seed)
    seconds = time.perf_counter() - start
    rate = options.count / seconds
    sys.stdout.write(f"{options.count} files in {seconds:.1f} s, {rate:.0f}/s; longest up to 64 KiB {slowest * 1000:.1f} ms; no error\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
