"""NFS lines of kernel and mount.nfs. Texts: net/sunrpc/clnt.c, fs/nfs/{nfs4state,inode}.c (6.1 to 7.1); nfs-utils utils/mount/error.c."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.entity import Entity, EntityKind
from events.errors import EntityError
from events.nfs import (
    NfsAuthRequired,
    NfsClientIdConflict,
    NfsExportDenied,
    NfsHandleStale,
    NfsLocksLost,
    NfsMountFailed,
    NfsNameUnresolved,
    NfsServerReachable,
    NfsServerUnreachable,
    NfsSilence,
    NfsStateFailed,
)

_FILE_PROGRAMS: Final = frozenset({"nfs", "lockd"})
"""RPC programs whose silence means that the file server is silent; a callback's or statd's does not."""


def _server(text: str) -> Entity:
    return Entity(EntityKind.NFS_SERVER, text.strip("[]"))


def _not_responding(line: Line, match: re.Match[str]) -> Iterator[Event]:
    if match["program"] in _FILE_PROGRAMS:
        how = NfsSilence.STILL_TRYING if match["tail"] == "still trying" else NfsSilence.TIMED_OUT
        yield NfsServerUnreachable(subject=_server(match["server"]), seen=line.seen(), how=how, program=match["program"])


def _answers(line: Line, match: re.Match[str]) -> Iterator[Event]:
    if match["program"] in _FILE_PROGRAMS:
        yield NfsServerReachable(subject=_server(match["server"]), seen=line.seen(), program=match["program"])


def _state_failed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    section = (match["section"] or "").removeprefix(": ")
    yield NfsStateFailed(subject=_server(match["server"]), seen=line.seen(), section=section, errno=int(match["errno"]))


def _file_id_changed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield NfsHandleStale(subject=_server(match["server"]), seen=line.seen(), fsid=match["fsid"] or "")


def _client_id(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield NfsClientIdConflict(subject=_server(match["server"]), seen=line.seen())


def _stronger_auth(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield NfsAuthRequired(subject=_server(match["server"]), seen=line.seen())


def _locks_lost(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield NfsLocksLost(subject=_server(match["server"]), seen=line.seen(), count=int(match["count"]))


KERNEL: Final[tuple[Rule, ...]] = (
    *(
        rule(
            "NFS-01/02",
            f"{program}: server ",
            r"(?P<program>\w+): server (?P<server>\S+) not responding, (?P<tail>still trying|timed out)",
            _not_responding,
        )
        for program in sorted(_FILE_PROGRAMS)
    ),
    *(
        rule("NFS-03", f"{program}: server ", r"(?P<program>\w+): server (?P<server>\S+) OK", _answers)
        for program in sorted(_FILE_PROGRAMS)
    ),
    rule("NFS-04", "RPC: server ", r"RPC: server (?P<server>\S+) requires stronger authentication\.", _stronger_auth),
    rule(
        "NFS-05",
        "NFS: state manager",
        r"NFS: state manager(?P<section>: [\w ]+)? failed on NFSv4 server (?P<server>\S+) with error (?P<errno>\d+)",
        _state_failed,
    ),
    rule("NFS-06", "NFS: Server ", r"NFS: Server (?P<server>\S+) reports our clientid is in use", _client_id),
    rule(
        "NFS-12",
        "NFS: server ",
        r"NFS: server (?P<server>\S+) error: fileid changed(?:\nfsid (?P<fsid>\S+): expected fileid .*)?",
        _file_id_changed,
    ),
    rule("NFS-08", "NFS: ", r"NFS: (?P<server>\S+): lost (?P<count>\d+) locks", _locks_lost),
)


def _export(text: str) -> Entity | None:
    # The export ends the line, but mount options of other senders may follow after " on <mountpoint>".
    spec = text.split(" on /", 1)[0].strip()
    try:
        return Entity(EntityKind.NFS_EXPORT, spec) if ":/" in spec else None
    except EntityError:
        return None


def _denied(line: Line, match: re.Match[str]) -> Iterator[Event]:
    if subject := _export(match["spec"]):
        yield NfsExportDenied(subject=subject, seen=line.seen())


def _mount_failed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    if subject := _export(match["spec"]):
        yield NfsMountFailed(subject=subject, seen=line.seen(), reason=match["reason"][:256])


def _unresolved(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield NfsNameUnresolved(subject=_server(match["server"]), seen=line.seen(), reason=match["reason"][:256])


_MOUNT: Final = r"(?:mount error: )?mount\.nfs4?: "

MOUNT: Final[tuple[Rule, ...]] = tuple(
    rule(name, prefix, _MOUNT + pattern, build)
    for prefix in ("mount.nfs", "mount error: mount.nfs")
    for name, pattern, build in (
        ("MNT-01", r"access denied by server while mounting (?P<spec>.+)", _denied),
        ("MNT-04", r"mounting (?P<spec>.+) failed, reason given by server: (?P<reason>.+)", _mount_failed),
        ("MNT-09", r"Failed to resolve server (?P<server>\S+): (?P<reason>.+)", _unresolved),
        ("MNT-09", r"DNS resolution failed for (?P<server>\S+): (?P<reason>.+)", _unresolved),
        ("MNT-05", r"(?P<reason>requested NFS version or transport protocol is not supported) for (?P<spec>.+)", _mount_failed),
        ("MNT-03", r"(?P<reason>[A-Z][\w ]+) for (?P<spec>\S+:/.*)", _mount_failed),
    )
)
