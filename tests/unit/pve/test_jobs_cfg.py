"""jobs.cfg and the pools of user.cfg: which guests a backup job saves, where to and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pve import jobs_cfg, user_cfg

JOBS = b"""vzdump: backup-5d2f6a1e-9c1b
\tschedule mon..fri 22:30
\tall 1
\tcomment nightly
\tcompress zstd
\tenabled 1
\texclude 101,105
\tfleecing 0
\tmode snapshot
\tnotes-template {{guestname}}
\tprune-backups keep-daily=7,keep-last=3
\trepeat-missed 1
\tstorage nas-backup

vzdump: backup-pool
\tschedule sun 01:00
\tenabled 0
\tpool web
\tstorage pbs

realm-sync: sync-ldap
\tschedule daily
\trealm ldap
\tscope both

vzdump: backup-some
\tschedule */6:00
\tnode pve2
\tvmid 100,200

vzdump: backup-broken
\tschedule whenever
\tvmid 100

vzdump: backup-never
\tvmid 100
"""


def test_jobs() -> None:
    """Jobs are read with when, where, what and defaults; one whose schedule is none is no job, and other kinds of jobs are no backups."""
    found = jobs_cfg.parse(JOBS)
    assert list(found.backups) == ["backup-5d2f6a1e-9c1b", "backup-pool", "backup-some"]
    every, pool, some = found.backups.values()
    assert (every.everything, every.exclude, every.storage, every.repeat_missed) == (True, frozenset({"101", "105"}), "nas-backup", True)
    assert (pool.enabled, pool.pool, pool.guests({"web": {"300"}})) == (False, "web", frozenset({"300"}))
    assert (some.node, some.storage, some.enabled, some.guests({})) == ("pve2", "", True, frozenset({"100", "200"}))
    assert [warning.section for warning in found.warnings] == ["backup-broken", "backup-broken", "backup-never"]


def test_of_several_choices_the_first_holds() -> None:
    """Proxmox VE takes a pool before a list of guests, and that before all."""
    found = jobs_cfg.parse(
        b"vzdump: a1\n\tschedule 1:00\n\tall 1\n\tvmid 100\n\nvzdump: a2\n\tschedule 1:00\n\tvmid 100\n\tpool p\n"
    ).backups
    assert (found["a1"].everything, found["a1"].vmids) == (False, frozenset({"100"}))
    assert (found["a2"].guests({"p": ["7"]}), found["a2"].guests({})) == (frozenset({"7"}), frozenset())


def test_pools() -> None:
    """A guest is in the first pool that names it; all else in user.cfg is passed over."""
    data = b"user:root@pam:1:0:::::\npool:web:the web:100,101:nas:\npool:web/inner::101,102::\npool:empty\npool:b@d::1::\n"
    assert user_cfg.pools(data) == {"web": {"100", "101"}, "web/inner": {"102"}, "empty": frozenset()}


@given(st.binary(max_size=400))
def test_any_bytes_are_some_jobs(data: bytes) -> None:
    """Whatever the files hold, there is a value, and no VMID that is none."""
    jobs_cfg.parse(b"vzdump: job\n\tschedule daily\n" + data)
    assert all(vmid.isdigit() for vmids in user_cfg.pools(b"pool:" + data).values() for vmid in vmids)
