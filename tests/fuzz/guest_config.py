"""Wrong bytes for the parsers of guests' configurations: ``python -m tests.fuzz.guest_config --count 300000 --seed 1``.

VMs, containers and ``.vmlist`` bodies are built of right lines, wrong lines and noise, cut, repeated and spliced. A parser may raise
nothing but :class:`pve.errors.PveError`, gives the same value for the same bytes, and takes at most 50 ms for 64 KiB. The same seed
gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Final

from pve import lxc_config, qemu_config, vmlist
from pve.errors import PveError

LIMIT_S: Final = 0.05
LONGEST: Final = 64 * 1024
"""Bytes; longer bodies are cut."""

TARGETS: Final[dict[str, Callable[[bytes], object]]] = {
    "qemu": lambda data: qemu_config.parse(data, 101),
    "lxc": lambda data: lxc_config.parse(data, 101),
    "vmlist": vmlist.parse,
}
_VMLIST: Final = (
    b'{\n"version": 31,\n"ids": {\n"100": { "node": "pve1", "type": "qemu", "version": 17 },\n'
    b'"205": { "node": "pve2", "type": "lxc", "version": 29 }}\n\n}\n'
)
_JSON_MARKS: Final = tuple(b'{|}|[|]|"|:|,|null|1e999|-1|NaN|\\ud800|\0|4294967296|true|"ids"|"0"|\xff|[[[[[[[['.split(b"|"))
_COMMON: Final = b"unused0 unused256 hookscript tags lock template onboot delete snapstate "
_KEYS: Final = {
    "qemu": tuple(
        _COMMON.split()
        + b"ide2 cdrom scsi0 scsi30 scsi31 virtio0 sata5 efidisk0 tpmstate0 vmstate cicustom".split()
        + b"vmstatestorage virtiofs0 fleecing-images name".split()
    ),
    "lxc": tuple(_COMMON.split() + b"rootfs mp0 mp255 mp256 dev0 lxc.mount.entry lxc.idmap hostname".split()),
}
_HEADERS: Final = (
    b"[PENDING]",
    b"[pve:pending]",
    b"[special:fleecing]",
    b"[special:cloudinit]",
    b"[snap]",
    b"[snap-2]",
    b"[",
    b"[]",
    b"[a]",
)
_FILES: Final = tuple(
    b"nas:101/vm-101-disk-0.raw|base:base-1-a/vm-101-b|nas:100/base-100-a.raw/101/vm-101-a.raw|/dev/sda|/mnt/pve/nas/x|none".split(b"|")
)
_OPTIONS: Final = (b"media=cdrom", b"shared=1", b"size=4G", b"mp=/a", b"mp=/a", b"mp=/b")
_VALUES: Final = (
    *_FILES,
    *_OPTIONS,
    *b"cdrom|file=a1:x|volume=b1:y|user=nas:u|=|,|,,|:|;|0|1|yes|\0|\r|\xff|\xc3\xa4|#|/../|\\040| |\t".split(b"|"),
)
_NOISE: Final = (b"\n", b"\r\n", b"\r", b" ", b"\0", b"\xff", b":", b"[", b"]", b",", b"=", b"#", b"/", b"snapstate: delete", b"lxc.")


def _line(kind: str, dice: Random) -> bytes:
    chance = dice.random()
    if chance < 0.1:
        return dice.choice(_HEADERS)
    if chance < 0.2:
        return b"".join(dice.choices(_NOISE, k=dice.randint(0, 6)))
    return dice.choice(_KEYS[kind]) + dice.choice((b": ", b": ", b": ", b":", b" = ")) + _value(dice)


def _value(dice: Random) -> bytes:
    if dice.random() < 0.6:
        return b",".join((dice.choice(_FILES), *dice.sample(_OPTIONS, dice.randint(0, 3))))
    return dice.choice((b",", b"", b" ")).join(dice.choices(_VALUES, k=dice.randint(1, 5)))


def _config(kind: str, dice: Random) -> bytes:
    return b"\n".join(_line(kind, dice) for _ in range(dice.randint(0, 20)))


def _list(dice: Random) -> bytes:
    data = bytearray(_VMLIST)
    for _ in range(dice.randint(0, 4)):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.choice((0, 0, 1, 3, 20))] = dice.choice(_JSON_MARKS)
    return bytes(data)


def body(kind: str, dice: Random) -> bytes:
    """Make one body for a parser: mostly short and nearly right, sometimes cut, sometimes up to LONGEST by repetition."""
    data = _list(dice) if kind == "vmlist" else _config(kind, dice)
    chance = dice.random()
    if chance < 0.1:
        data = data[: dice.randrange(len(data) + 1)]
    elif chance < 0.15:
        data = dice.randbytes(dice.randint(0, 200))
    elif chance < 0.16:
        part = dice.choice((*_NOISE, *_VALUES, data or b"a"))
        data = (dice.choice((*_KEYS["qemu"], *_KEYS["lxc"], b"")) + b": " + part * (LONGEST // len(part)))[:LONGEST]
    return data


def took(run: Callable[[bytes], object], data: bytes) -> float:
    """Return the processor seconds that one call takes; only errors of ours are taken for an answer."""
    start = time.process_time()
    try:
        run(data)
    except PveError as error:
        assert str(error)
    return time.process_time() - start


def campaign(count: int, seed: int) -> dict[str, float]:
    """Try ``count`` bodies; return the longest time per target, seconds. AssertionError names the seed and number that fail."""
    slowest = dict.fromkeys(TARGETS, 0.0)
    names = tuple(TARGETS)
    for number in range(count):
        name = names[number % len(names)]
        data = body(name, Random(f"{seed}/{number}"))
        try:
            seconds = took(TARGETS[name], data)
            if seconds > LIMIT_S:  # a loaded machine: the best of three counts
                seconds = min(seconds, *(took(TARGETS[name], data) for _ in range(3)))
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}, {name}: {type(error).__name__}: {error}: {data[:200]!r}") from error
        assert seconds <= LIMIT_S, f"seed {seed}, number {number}, {name}: {seconds:.3f} s for {len(data)} bytes: {data[:200]!r}"
        slowest[name] = max(slowest[name], seconds)
    return slowest


def main() -> None:
    """Run a campaign as the command line says, and print its rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    start = time.perf_counter()
    slowest = campaign(arguments.count, arguments.seed)
    seconds = time.perf_counter() - start
    worst = ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in slowest.items())
    sys.stdout.write(f"{arguments.count} bodies in {seconds:.1f} s, {arguments.count / seconds:.0f}/s; longest: {worst}\n")


if __name__ == "__main__":
    main()
