"""iSCSI lines of kernel and iscsid.

Texts: drivers/scsi/{libiscsi,scsi_transport_iscsi}.c (6.1 to 7.1); open-iscsi usr/{initiator,login,io,auth}.c (2.1.8, 2.1.11).
Kernel lines name only the session's number; :class:`agent.classify.inventory.Inventory` joins it to portal and target.
Lines of a target's own login code (``Security negotiation failed.``) are not read: only the initiator's side counts here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.classify.inventory import SessionPeer
from agent.classify.line import Line, Rule, rule
from events.base import Event
from events.entity import Entity, EntityKind, entity, portal
from events.iscsi import (
    IscsiConnectionFailed,
    IscsiConnectionRecovered,
    IscsiInitiatorStopped,
    IscsiLoginFailed,
    IscsiLoginRejected,
    IscsiNameUnresolved,
    IscsiPortalUnreachable,
    IscsiSessionClosed,
    IscsiSessionEstablished,
    IscsiSessionExpired,
    IscsiTargetAnnouncement,
    LoginRefusal,
)

_ERRORS: Final = {
    1011: "connection failed",
    1014: "header digest mismatch",
    1015: "data digest mismatch",
    1018: "host removed",
    1019: "transmission failed",
    1020: "closed by the target",
    1021: "dropped by SCSI error recovery",
    1022: "ping timed out",
}
"""Meaning of the usual kernel errors (include/scsi/iscsi_if.h ``enum iscsi_err``)."""


def _peer(line: Line, session: int) -> tuple[Entity, str | None]:
    """Return the portal and target of a session, or the session itself while they are not known."""
    peer = line.inventory.sessions.get(session)
    if peer is None:
        return Entity(EntityKind.ISCSI_SESSION, f"{line.node}/{session}"), None
    return entity(f"iscsi-portal/{peer.portal}"), peer.target


def _connection_failed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    groups = match.groupdict()
    session, code = int(groups["session"]), int(groups["code"]) if groups.get("code") else 1022
    if line.inventory.is_attempt(session):
        return  # a login that failed, not a session that broke
    subject, target = _peer(line, session)
    reason = _ERRORS.get(code, groups.get("name") or "")
    yield IscsiConnectionFailed(
        subject=subject, seen=line.seen(), target=target, session=session, connection=int(groups["connection"]), code=code, reason=reason
    )


def _expired(line: Line, match: re.Match[str]) -> Iterator[Event]:
    session = int(match["session"])
    subject, target = _peer(line, session)
    yield IscsiSessionExpired(subject=subject, seen=line.seen(), target=target, session=session, after=float(match["after"]))


KERNEL: Final[tuple[Rule, ...]] = (
    rule(
        "ISK-02", "connection", r"connection(?P<session>\d+):(?P<connection>\d+): detected conn error \((?P<code>\d+)\)", _connection_failed
    ),
    rule(
        "ISK-01", "connection", r"connection(?P<session>\d+):(?P<connection>\d+): ping timeout of \d+ secs expired, .*", _connection_failed
    ),
    rule("ISK-03", "session", r"session(?P<session>\d+): session recovery timed out after (?P<after>\d+) secs", _expired),
)


def _established(line: Line, match: re.Match[str]) -> Iterator[Event]:
    session, subject = int(match["session"]), portal(match["address"], match["port"])
    line.inventory.attempts.pop(session, None)
    line.inventory.join(session, SessionPeer(match["target"], subject.key))
    yield IscsiSessionEstablished(
        subject=subject,
        seen=line.seen(),
        target=match["target"],
        session=session,
        connection=int(match["connection"]),
        interface=match["iface"],
    )


def _closed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    session, where, target = int(match["session"]), portal(match["address"], match["port"]), match["target"]
    subject = Entity(EntityKind.ISCSI_TARGET, target)
    for why in line.inventory.attempts.pop(session, ()):
        if why == LoginRefusal.AUTHORIZATION:
            refusal = LoginRefusal.AUTHORIZATION
            yield IscsiLoginRejected(subject=subject, seen=line.seen(), refusal=refusal, session=session, portal=where)
        else:
            yield IscsiLoginFailed(subject=subject, seen=line.seen(), status=why, session=session, portal=where)
    if line.inventory.close(session, SessionPeer(target, where.key)):
        yield IscsiSessionClosed(subject=where, seen=line.seen(), target=target, session=session)


def _recovered(line: Line, match: re.Match[str]) -> Iterator[Event]:
    session = int(match["session"])
    subject, target = _peer(line, session)
    yield IscsiConnectionRecovered(
        subject=subject,
        seen=line.seen(),
        target=target,
        session=session,
        connection=int(match["connection"]),
        attempts=int(match["attempts"]),
    )


def _portal_unreachable(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield IscsiPortalUnreachable(subject=portal(match["address"], match["port"]), seen=line.seen(), reason=match["reason"])


def _rejected_by_name(line: Line, match: re.Match[str]) -> Iterator[Event]:
    refusal = LoginRefusal.MUTUAL_AUTHENTICATION if "failing authentication" in line.text else LoginRefusal.AUTHENTICATION
    yield IscsiLoginRejected(subject=Entity(EntityKind.ISCSI_TARGET, match["target"]), seen=line.seen(), refusal=refusal)


def _rejected_by_session(line: Line, match: re.Match[str]) -> Iterator[Event]:
    session = int(match["session"])
    where, target = _peer(line, session)
    refusal = LoginRefusal.AUTHORIZATION if "authorization" in line.text else LoginRefusal.AUTHENTICATION
    if line.inventory.is_attempt(session):
        if refusal is LoginRefusal.AUTHORIZATION:  # of a wrong secret iscsid says the target's name in a line of its own
            line.inventory.attempted(session, refusal)
        return
    subject = Entity(EntityKind.ISCSI_TARGET, target) if target else where
    yield IscsiLoginRejected(subject=subject, seen=line.seen(), refusal=refusal, session=session, portal=where if target else None)


def _login_failed(line: Line, match: re.Match[str]) -> Iterator[Event]:
    session = int(match["session"])
    if line.inventory.is_attempt(session):
        line.inventory.attempted(session, match["status"])
        return
    where, target = _peer(line, session)
    subject = Entity(EntityKind.ISCSI_TARGET, target) if target else where
    yield IscsiLoginFailed(subject=subject, seen=line.seen(), status=match["status"], session=session, portal=where if target else None)


def _announcement(line: Line, match: re.Match[str]) -> Iterator[Event]:
    subject, target = _peer(line, int(match["session"]))
    yield IscsiTargetAnnouncement(
        subject=Entity(EntityKind.ISCSI_TARGET, target) if target else subject, seen=line.seen(), text=match["text"][:256]
    )


def _unresolved(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield IscsiNameUnresolved(subject=portal(match["host"]), seen=line.seen(), reason=(match.groupdict().get("reason") or "")[:256])


def _stopped(line: Line, match: re.Match[str]) -> Iterator[Event]:
    yield IscsiInitiatorStopped(subject=Entity(EntityKind.NODE, line.node), seen=line.seen())


_CONNECTION: Final = r"connection(?P<session>\d+):(?P<connection>\d+) "
_PEER: Final = r"Connection(?P<session>\d+):(?P<connection>\d+) to \[target: (?P<target>\S+), portal: (?P<address>[^,\s]+),(?P<port>\d+)\]"

ISCSID: Final[tuple[Rule, ...]] = (
    rule("ISD-01", "Connection", _PEER + r" through \[iface: (?P<iface>[^\]]*)\] is operational now", _established),
    rule("ISD-03", "Connection", _PEER + r" through \[iface: (?P<iface>[^\]]*)\] is shutdown\.", _closed),
    rule("ISD-02", "connection", _CONNECTION + r"is operational after recovery \((?P<attempts>\d+) attempts\)", _recovered),
    rule(
        "ISD-04",
        "Kernel reported",
        r"Kernel reported iSCSI connection (?P<session>\d+):(?P<connection>\d+) error "
        r"\((?P<code>\d+)(?: - (?P<name>[^)]*))?\) state \(\d+\)",
        _connection_failed,
    ),
    rule("ISD-05", "connect to ", r"connect to (?P<address>\S+):(?P<port>\d+) failed \((?P<reason>[^)]*)\)", _portal_unreachable),
    rule(
        "ISD-06",
        "connection",
        _CONNECTION + r"cannot make a connection to (?P<address>\S+):(?P<port>\d+) \((?P<reason>[^)]*)\)",
        _portal_unreachable,
    ),
    rule(
        "ISD-10", "session ", r"session (?P<session>\d+) login rejected: Initiator failed authentication with target", _rejected_by_session
    ),
    rule("ISD-11", "Login failed", r"Login failed to authenticate with target (?P<target>\S+)", _rejected_by_name),
    rule("ISD-12", "Login authentication", r"Login authentication failed with target (?P<target>[^\s,]+)(?:, .*)?", _rejected_by_name),
    rule("ISD-13", "failing authentication", r"failing authentication, .* target (?P<target>\S+)", _rejected_by_name),
    rule("ISD-14", "conn", _CONNECTION + r"login rejected: initiator failed authorization with target", _rejected_by_session),
    rule(
        "ISD-15",
        "conn",
        _CONNECTION + r"login rejected: (?:initiator error(?: - target not found)?|target error) \((?P<status>[0-9a-f]{2}/[0-9a-f]{2})\)",
        _login_failed,
    ),
    rule("ISD-16", "connection", _CONNECTION + r"(?P<text>Target (?:requests logout|dropping) .*)", _announcement),
    rule("ISD-17", "cannot resolve", r"cannot resolve host name (?P<host>\S+)", _unresolved),
    rule("ISD-17", "Cannot resolve", r"Cannot resolve host (?P<host>[^\s.]\S*?)\. getaddrinfo error: \[(?P<reason>.*)\]", _unresolved),
    rule("ISD-21", "iscsid shutting down", r"iscsid shutting down\.", _stopped),
)
