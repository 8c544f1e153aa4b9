from random import Random

import pytest

from pve import storage_cfg
from pve.release import Release
from pve.storage_cfg import StorageConfig
from tests.fuzz import storage_cfg as fuzz


def test_short_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any bytes give a value that keeps every promise, and none of them hangs."""
    monkeypatch.setattr(fuzz, "LIMIT_S", 20.0)
    fuzz.campaign(2_000, 7)


def test_files_follow_the_seed() -> None:
    """What a campaign finds can be found again."""
    assert [fuzz.body(Random(f"1/{number}")) for number in range(50)] == [fuzz.body(Random(f"1/{number}")) for number in range(50)]


def test_files_reach_the_parser() -> None:
    """The files are near enough to right ones: most have a storage of their own, many a warning, some a broken section."""
    configs = [storage_cfg.parse(fuzz.body(Random(f"2/{number}"))[0]) for number in range(300)]

    assert sum(len(one.storages) > 1 for one in configs) > 100
    assert sum(bool(one.warnings) for one in configs) > 100
    assert sum(bool(one.broken) for one in configs) > 20


def test_campaign_notices_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that raises fails the campaign, with the seed and number that show it."""

    def broken(data: bytes, release: Release) -> StorageConfig:
        raise KeyError(release, len(data))

    monkeypatch.setattr(storage_cfg, "parse", broken)
    with pytest.raises(AssertionError, match="seed 3, number 0, PVE 8: KeyError"):
        fuzz.campaign(10, 3)


def test_campaign_notices_a_shown_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that repeats a password in what it shows fails the check."""
    data = f"cifs: c1\n\tserver h\n\tshare s\n\tpassword {fuzz.SECRET}\n".encode()
    assert fuzz.check(data, Release.PVE9, planted=True) < 1
    monkeypatch.setattr("pve.storage_cfg.public_value", lambda _name, value: str(value))

    with pytest.raises(AssertionError, match="a secret is shown"):
        fuzz.check(data, Release.PVE9, planted=True)
