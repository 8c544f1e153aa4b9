"""NFS: servers, exports, mounts (rows N1 to N6)."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Literal

from events.base import BadEvent, Count, InfoEvent, Name, OkEvent, Seconds, Text


class NfsSilence(StrEnum):
    """How a server was found not to answer."""

    STILL_TRYING = "still-trying"
    """Kernel, hard mount: a request passed a major timeout (180 s with defaults) and goes on waiting."""
    TIMED_OUT = "timed-out"
    """Kernel, soft mount or lease renewal: the request failed; no line will ever say that it is over."""
    NO_REPLY = "no-reply"
    """Probe: no answer within its deadline."""
    REFUSED = "refused"
    """Probe: TCP connection refused."""
    NO_ROUTE = "no-route"
    """Probe: host or network unreachable."""
    CLOSED = "closed"
    """Probe: the connection was taken and closed without an answer."""
    GARBLED = "garbled"
    """Probe: what came is no answer of an RPC server."""
    NOT_SERVED = "not-served"
    """Probe: something answers, but it serves no NFS, or not the version that is configured."""


class NfsServerUnreachable(BadEvent):
    """An NFS server does not answer this node."""

    aspect: ClassVar[str] = "reach"
    kind: Literal["nfs.server.unreachable"] = "nfs.server.unreachable"
    how: NfsSilence
    program: Text = "nfs"


class NfsServerReachable(OkEvent):
    """An NFS server answers this node."""

    aspect: ClassVar[str] = "reach"
    kind: Literal["nfs.server.reachable"] = "nfs.server.reachable"
    program: Text = "nfs"
    rtt: Seconds | None = None


class NfsNameUnresolved(BadEvent):
    """The name of an NFS server does not resolve on this node."""

    aspect: ClassVar[str] = "name"
    kind: Literal["nfs.name.unresolved"] = "nfs.name.unresolved"
    reason: Text = ""


class NfsNameResolved(OkEvent):
    """The name of an NFS server resolves on this node."""

    aspect: ClassVar[str] = "name"
    kind: Literal["nfs.name.resolved"] = "nfs.name.resolved"
    addresses: tuple[Name, ...] = ()


class NfsExportDenied(BadEvent):
    """An NFS server refuses an export to this node."""

    aspect: ClassVar[str] = "export"
    kind: Literal["nfs.export.denied"] = "nfs.export.denied"


class NfsExportGranted(OkEvent):
    """An NFS server serves an export to this node."""

    aspect: ClassVar[str] = "export"
    kind: Literal["nfs.export.granted"] = "nfs.export.granted"


class NfsHandleStale(BadEvent):
    """A file handle of an NFS server or export went stale: files changed identity under a live mount."""

    aspect: ClassVar[str] = "handle"
    kind: Literal["nfs.handle.stale"] = "nfs.handle.stale"
    fsid: Text = ""


class NfsHandleValid(OkEvent):
    """The file handles of an NFS server or export are valid again."""

    aspect: ClassVar[str] = "handle"
    kind: Literal["nfs.handle.valid"] = "nfs.handle.valid"


class NfsLatencyHigh(BadEvent):
    """Operations on an NFS mount take longer than the limit, sustained."""

    aspect: ClassVar[str] = "latency"
    kind: Literal["nfs.latency.high"] = "nfs.latency.high"
    per_operation: Seconds
    limit: Seconds
    execute: Seconds | None = None
    """The same with the time that requests waited on this node before they were sent."""
    backlog: Count | None = None
    """Requests that waited for a free slot whenever one was sent, on average."""


class NfsLatencyNormal(OkEvent):
    """Operations on an NFS mount are faster than the limit again."""

    aspect: ClassVar[str] = "latency"
    kind: Literal["nfs.latency.normal"] = "nfs.latency.normal"
    per_operation: Seconds


class NfsRequestsRepeated(InfoEvent):
    """Requests of an NFS mount were sent again: a connection broke, or no answer came within a major timeout."""

    kind: Literal["nfs.requests.repeated"] = "nfs.requests.repeated"
    count: Count
    seconds: Seconds


class NfsMountUnresponsive(BadEvent):
    """A question to an NFS mount that only its server can answer got no answer: files on it cannot be read now."""

    aspect: ClassVar[str] = "answer"
    kind: Literal["nfs.mount.unresponsive"] = "nfs.mount.unresponsive"
    mountpoint: Text = ""
    reason: Text = ""


class NfsMountResponsive(OkEvent):
    """An NFS mount answers."""

    aspect: ClassVar[str] = "answer"
    kind: Literal["nfs.mount.responsive"] = "nfs.mount.responsive"
    mountpoint: Text = ""


class NfsMountReadOnly(BadEvent):
    """A storage is mounted read-only although its configuration does not say so."""

    aspect: ClassVar[str] = "writable"
    kind: Literal["nfs.mount.read_only"] = "nfs.mount.read_only"
    mountpoint: Text = ""


class NfsMountWritable(OkEvent):
    """A storage that was mounted read-only is mounted for writing again."""

    aspect: ClassVar[str] = "writable"
    kind: Literal["nfs.mount.writable"] = "nfs.mount.writable"
    mountpoint: Text = ""


class NfsMountFailed(BadEvent):
    """Mounting an NFS export failed for a reason other than permission."""

    aspect: ClassVar[str] = "mount"
    kind: Literal["nfs.mount.failed"] = "nfs.mount.failed"
    reason: Text


class NfsMounted(OkEvent):
    """An NFS export is mounted on this node."""

    aspect: ClassVar[str] = "mount"
    kind: Literal["nfs.mount.mounted"] = "nfs.mount.mounted"
    mountpoint: Text = ""


class NfsStateFailed(BadEvent):
    """The kernel's NFSv4 state manager could not recover state with a server."""

    aspect: ClassVar[str] = "state"
    kind: Literal["nfs.state.failed"] = "nfs.state.failed"
    section: Text = ""
    errno: Count


class NfsClientIdConflict(BadEvent):
    """A server says that another machine uses this node's NFSv4 client id."""

    aspect: ClassVar[str] = "client-id"
    kind: Literal["nfs.client_id.conflict"] = "nfs.client_id.conflict"


class NfsAuthRequired(BadEvent):
    """A server requires stronger authentication than the mount uses."""

    aspect: ClassVar[str] = "security"
    kind: Literal["nfs.auth.required"] = "nfs.auth.required"


class NfsLocksLost(InfoEvent):
    """Locks or open files were lost while recovering from a server's restart."""

    kind: Literal["nfs.locks.lost"] = "nfs.locks.lost"
    count: Count = 0
