"""iSCSI: portals, targets, sessions, logins (rows I1, I2, I4)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import StringConstraints

from events.base import BadEvent, Count, InfoEvent, OkEvent, Seconds, Text
from events.entity import Entity

Iqn = Annotated[str, StringConstraints(min_length=1, max_length=223)]
"""iSCSI name, at most 223 bytes (RFC 7143 §4.2.7.1)."""


class LoginRefusal(StrEnum):
    """Why a login was refused, by RFC 7143 §11.13.5 status class and detail."""

    AUTHENTICATION = "authentication"
    """02/01: CHAP wrong or missing."""
    AUTHORIZATION = "authorization"
    """02/02: this initiator is not in the target's access list."""
    MUTUAL_AUTHENTICATION = "mutual-authentication"
    """The target failed to prove itself to the initiator."""


class IscsiConnectionFailed(BadEvent):
    """The connection of an established session broke; the subject is its portal."""

    aspect: ClassVar[str] = "session"
    kind: Literal["iscsi.connection.failed"] = "iscsi.connection.failed"
    target: Iqn | None = None
    session: Count
    connection: Count = 0
    code: Count | None = None
    """Kernel error, 1000 + n of ``enum iscsi_err`` (include/scsi/iscsi_if.h): 1020 closed by target, 1022 ping timeout."""
    reason: Text = ""


class IscsiConnectionRecovered(OkEvent):
    """A broken session logged in again; the subject is its portal."""

    aspect: ClassVar[str] = "session"
    kind: Literal["iscsi.connection.recovered"] = "iscsi.connection.recovered"
    target: Iqn | None = None
    session: Count
    connection: Count = 0
    attempts: Count = 0


class IscsiSessionEstablished(OkEvent):
    """A new session logged in; the subject is its portal."""

    aspect: ClassVar[str] = "session"
    kind: Literal["iscsi.session.established"] = "iscsi.session.established"
    target: Iqn
    session: Count
    connection: Count = 0
    interface: Text = ""


class IscsiSessionExpired(BadEvent):
    """A broken session was not recovered in time: the kernel now fails its I/O upwards."""

    aspect: ClassVar[str] = "session"
    kind: Literal["iscsi.session.expired"] = "iscsi.session.expired"
    target: Iqn | None = None
    session: Count
    after: Seconds


class IscsiSessionClosed(InfoEvent):
    """A session was shut down on purpose or given up; nothing is known of its portal any more."""

    aspect: ClassVar[str] = "session"
    kind: Literal["iscsi.session.closed"] = "iscsi.session.closed"
    target: Iqn | None = None
    session: Count


class IscsiPortalUnreachable(BadEvent):
    """A TCP connection to a portal could not be made."""

    aspect: ClassVar[str] = "reach"
    kind: Literal["iscsi.portal.unreachable"] = "iscsi.portal.unreachable"
    reason: Text


class IscsiPortalReachable(OkEvent):
    """A TCP connection to a portal was made."""

    aspect: ClassVar[str] = "reach"
    kind: Literal["iscsi.portal.reachable"] = "iscsi.portal.reachable"
    rtt: Seconds | None = None


class IscsiLoginRejected(BadEvent):
    """A target refused this node's credentials or name: CHAP or access list. Also a security event."""

    aspect: ClassVar[str] = "auth"
    kind: Literal["iscsi.login.rejected"] = "iscsi.login.rejected"
    refusal: LoginRefusal
    session: Count | None = None
    portal: Entity | None = None
    repeats: Count = 0
    """How many equal lines this event stands for beside its own."""


class IscsiLoginFailed(BadEvent):
    """A target answered the login with an error that is not about credentials."""

    aspect: ClassVar[str] = "service"
    kind: Literal["iscsi.login.failed"] = "iscsi.login.failed"
    status: Text
    """Status class/detail in hex, ``03/01`` service unavailable, ``02/03`` target not found."""
    session: Count | None = None
    portal: Entity | None = None


class IscsiLoginAccepted(OkEvent):
    """A target accepted this node's login."""

    aspect: ClassVar[str] = "auth"
    kind: Literal["iscsi.login.accepted"] = "iscsi.login.accepted"
    session: Count | None = None
    portal: Entity | None = None


class IscsiTargetAnnouncement(InfoEvent):
    """A target asked to log out or announced that it drops connections: planned work on the array."""

    kind: Literal["iscsi.target.announcement"] = "iscsi.target.announcement"
    text: Text


class IscsiNameUnresolved(BadEvent):
    """The name of a portal does not resolve on this node."""

    aspect: ClassVar[str] = "name"
    kind: Literal["iscsi.name.unresolved"] = "iscsi.name.unresolved"
    reason: Text = ""


class IscsiNameResolved(OkEvent):
    """The name of a portal resolves on this node."""

    aspect: ClassVar[str] = "name"
    kind: Literal["iscsi.name.resolved"] = "iscsi.name.resolved"


class IscsiSessionMissing(BadEvent):
    """A target that storage.cfg names has had no session on this node for longer than its activation takes."""

    aspect: ClassVar[str] = "login"
    kind: Literal["iscsi.session.missing"] = "iscsi.session.missing"


class IscsiSessionPresent(OkEvent):
    """A target that storage.cfg names has a session on this node."""

    aspect: ClassVar[str] = "login"
    kind: Literal["iscsi.session.present"] = "iscsi.session.present"


class IscsiInitiatorStopped(InfoEvent):
    """iscsid stopped: sessions live on in the kernel, but nothing reconnects them."""

    kind: Literal["iscsi.initiator.stopped"] = "iscsi.initiator.stopped"
