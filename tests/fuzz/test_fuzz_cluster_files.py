import pytest

from pve.errors import FormatError
from tests.fuzz import cluster_files
from tests.fuzz.cluster_files import TARGETS, Target, campaign, took

HANG_S = 20.0
"""Seconds that no linear parser takes on any machine; a quadratic one takes minutes. How fast they are is for the campaigns to say."""


def test_short_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong bytes give values or typed errors, and none of them hangs."""
    monkeypatch.setattr(cluster_files, "LIMIT_S", HANG_S)
    campaign(2_000, 7)


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_reads_its_own_body(name: str) -> None:
    """The bodies to begin with are right: a campaign from wrong ones would try nothing."""
    target = TARGETS[name]
    assert target.run(target.bodies[0]) is not None


def test_campaign_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error without a type of ours is noticed, a typed one is not."""

    def broken(data: bytes) -> object:
        raise KeyError(len(data))

    def typed(data: bytes) -> object:
        raise FormatError(f"{len(data)} bytes")

    monkeypatch.setitem(TARGETS, "rrd", Target(broken, (b"x",), (b"y",)))
    with pytest.raises(AssertionError, match="rrd: KeyError"):
        campaign(50, 1)
    assert took(typed, b"") < 1


@pytest.mark.parametrize("name", TARGETS)
def test_linear_in_length(name: str) -> None:
    """Whatever repeats in a body, 256 KiB of it are read without hanging: what took so long would not be linear."""
    target = TARGETS[name]
    for data in (*target.bodies, *target.marks):
        assert took(target.run, data * (256 * 1024 // max(len(data), 1))) < HANG_S, data
