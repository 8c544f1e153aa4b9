"""jobs.cfg and the pools of user.cfg to events: what backup jobs there are, and which guests each saves.

A job may name a pool, whose guests user.cfg lists; so the two come in one record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from agent.classify.definitions import Definitions
from agent.record import RawRecord
from events.base import Event, Seen
from events.definitions import BackupJobDefined, BackupJobGone
from events.entity import Entity, EntityKind
from pve import jobs_cfg, user_cfg
from pve.jobs_cfg import BackupJob

_DEFINED: Final = "backup.job.defined"
_NAME, _MOST, _DAY = 256, 2048, 1440


def backup_jobs(record: RawRecord, definitions: Definitions) -> Iterator[Event]:
    """Yield what both files together say anew of backup jobs, and the end of those that are gone."""
    fields = record.fields
    pools = user_cfg.pools(fields.get("user", "").encode("latin-1"))
    found = jobs_cfg.parse(fields.get("jobs", "").encode("latin-1"))
    seen = Seen(source=record.source, cursor=record.cursor, excerpt=f"jobs.cfg: {found.digest}")
    offset = _offset(fields.get("offset", ""))
    yield from definitions.news(_definition(one, pools, offset, seen) for one in found.backups.values())
    for name in definitions.missing(_DEFINED, found.backups):
        yield BackupJobGone(subject=Entity(EntityKind.BACKUP_JOB, name), seen=seen)


def _offset(text: str) -> int:
    try:
        return max(-_DAY, min(_DAY, int(text)))
    except ValueError:
        return 0


def _definition(job: BackupJob, pools: Mapping[str, frozenset[str]], offset: int, seen: Seen) -> BackupJobDefined:
    return BackupJobDefined(
        subject=Entity(EntityKind.BACKUP_JOB, job.id),
        seen=seen,
        schedule=job.schedule[:_NAME],
        utc_offset=offset,
        enabled=job.enabled,
        storage=job.storage[:_NAME],
        node=job.node[:_NAME],
        everything=job.everything,
        guests=_vmids(job.guests(pools)),
        exclude=_vmids(job.exclude) if job.everything else (),
        pool=job.pool[:_NAME],
    )


def _vmids(vmids: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(vmids, key=int)[:_MOST])
