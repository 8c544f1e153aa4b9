from random import Random

import pytest

from pve.errors import FormatError
from tests.fuzz import guest_config
from tests.fuzz.guest_config import LONGEST, TARGETS, body, campaign, took

HANG_S = 20.0
"""Seconds that no linear parser takes on any machine; a quadratic one takes minutes. How fast they are is for the campaigns to say."""


def test_short_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong bytes give guests, lists or typed errors, and none of them hangs."""
    monkeypatch.setattr(guest_config, "LIMIT_S", HANG_S)
    campaign(3_000, 7)


def test_campaign_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error without a type of ours is noticed, a typed one is not."""

    def broken(data: bytes) -> object:
        raise KeyError(len(data))

    def typed(data: bytes) -> object:
        raise FormatError(f"{len(data)} bytes")

    assert took(typed, b"") < 1
    monkeypatch.setitem(TARGETS, "lxc", broken)
    with pytest.raises(AssertionError, match="lxc: KeyError"):
        campaign(10, 1)


def test_bodies_follow_the_seed() -> None:
    """What a campaign finds can be found again."""
    assert [body(name, Random("1/1")) for name in TARGETS] == [body(name, Random("1/1")) for name in TARGETS]


@pytest.mark.parametrize("name", ["qemu", "lxc"])
def test_bodies_reach_the_parser(name: str) -> None:
    """The bodies are near enough to right ones: most campaigns' guests use something."""
    guests = [TARGETS[name](body(name, Random(number))) for number in range(200)]
    assert sum(bool(getattr(guest, "uses", ())) for guest in guests) > 40


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("part", [b"\n", b" ", b"a\n", b"[", b"[a1]\n", b"scsi0: a1:b\n", b"snapstate:", b"/", b'{"ids":', b"tags: ;"])
def test_linear_in_length(name: str, part: bytes) -> None:
    """A megabyte, the longest file that pmxcfs keeps, is read without hanging, whatever repeats in it."""
    assert took(TARGETS[name], part * (16 * LONGEST // len(part))) < HANG_S
