"""Things, signs and faults as people say them: "NFS server 10.1.3.1", "does not reach it", "it does not answer".

Tables, so that a mail, a report and the command line all say the same, and nobody has to know the names of the vocabulary.
"""

from __future__ import annotations

from typing import Final

from controller.core.causes import CAUSES, Cause

_THINGS: Final = {
    "node": "node {key}",
    "storage": "storage {key}",
    "nfs-server": "NFS server {key}",
    "nfs-export": "NFS export {key}",
    "iscsi-portal": "iSCSI portal {key}",
    "iscsi-target": "iSCSI target {key}",
    "iscsi-session": "an iSCSI session of {owner}",
    "lun": "LUN {key}",
    "path": "a path of {owner} to {part}",
    "multipath-map": "multipath device {part} of {owner}",
    "scsi-device": "SCSI device {part} of {owner}",
    "vg": "volume group {key}",
    "ceph": "the Ceph cluster {short}",
    "ceph-osd": "osd.{part}",
    "ceph-host": "Ceph host {part}",
    "ceph-mon": "Ceph monitor mon.{part}",
    "ceph-pool": "Ceph pool {part}",
    "subnet": "storage network {key}",
    "access": "the way of {owner} into {part}",
    "server": "storage server {key}",
    "guest": "guest {key}",
    "ha": "HA service {key}",
    "cluster": "cluster {key}",
}
_IN_SENTENCES: Final = {
    "ceph": "the cluster {short}",
    "ceph-osd": "osd.{part}",
    "ceph-host": "{part}",
    "ceph-mon": "mon.{part}",
    "ceph-pool": "pool {part}",
}
"""Names of what a cause's sentence calls by its kind already; of other things their keys."""
_C: Final = Cause
_SENTENCES: Final[dict[tuple[Cause, str], str]] = {
    (_C.NFS_EXPORT_DENIED, "nfs-server"): "NFS server {key} refuses several of its exports",
    (_C.NFS_STALE_HANDLE, "nfs-export"): "File handles of NFS export {key} went stale",
    (_C.NFS_SLOW, "nfs-server"): "NFS server {key} is slow",
    (_C.NFS_SLOW, "nfs-export"): "NFS export {key} is slow",
    (_C.PATH_REDUNDANCY_LOST, "iscsi-portal"): "The path over portal {key} is lost",
    (_C.PATH_REDUNDANCY_LOST, "multipath-map"): "Multipath device {part} of {owner} lost a path",
    (_C.ALL_PATHS_DOWN, "multipath-map"): "Multipath device {part} of {owner} has no path left",
    (_C.LUN_REMAPPED, "path"): "A live path of {owner} to {part} now leads to another LUN",
    (_C.LUN_WWID_CONFLICT, "multipath-map"): "The identity of multipath device {part} of {owner} conflicts",
    (_C.LUN_WWID_CONFLICT, "node"): "Node {key} has two devices that call themselves one LVM volume",
    (_C.LUN_WWID_CONFLICT, "vg"): "Two volume groups are called {key}",
    (_C.CEPH_MON_QUORUM, "ceph-mon"): "Ceph monitor mon.{part} is out of quorum",
    (_C.CEPH_NEARFULL, "ceph"): "The Ceph cluster {short} is nearly full",
    (_C.CEPH_FULL, "ceph"): "The Ceph cluster {short} is full: writes stop",
    (_C.STORAGE_CONFIG_CHANGED, "storage"): "Storage {key} was changed in storage.cfg, and what it now names does not answer",
}
"""Sentences for causes of things of another kind than the cause's own sentence speaks of."""

_SIGNS: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("", "reach"): ("does not reach {it}", "reaches {it}"),
    ("ceph-mon", "reach"): ("gets no word from {it}", "hears {it}"),
    ("", "answer"): ("gets no answer from {it}", "gets answers from {it}"),
    ("", "session"): ("lost its session over {it}", "keeps its session over {it}"),
    ("", "state"): ("cannot recover its locks on {it}", "has its locks on {it}"),
    ("", "name"): ("cannot resolve the name of {it}", "resolves the name of {it}"),
    ("", "export"): ("is refused by {it}", "is let in by {it}"),
    ("", "writable"): ("may only read {it}", "may write to {it}"),
    ("", "handle"): ("has stale file handles of {it}", "has valid file handles of {it}"),
    ("", "latency"): ("waits long for {it}", "gets quick answers from {it}"),
    ("", "mount"): ("cannot mount {it}", "has mounted {it}"),
    ("", "client-id"): ("is taken for another client by {it}", "is known to {it}"),
    ("", "security"): ("must sign in to {it} in another way", "is signed in to {it}"),
    ("", "auth"): ("is rejected at the login by {it}", "is logged in to {it}"),
    ("", "service"): ("finds {it} out of service", "finds {it} in service"),
    ("ha", "service"): ("finds {it} in error", "finds {it} in order"),
    ("", "login"): ("has no session with {it}", "has a session with {it}"),
    ("", "identity"): ("finds another LUN behind a path to {it}", "finds the right LUN behind all paths to {it}"),
    ("", "conflict"): ("finds two things that call themselves {it}", "finds {it} once"),
    ("", "duplicate"): ("finds one LVM volume on two devices on {it}", "finds each LVM volume once on {it}"),
    ("", "presence"): ("is not offered {it} any more", "is offered {it}"),
    ("", "paths"): ("has no path left to {it}", "has a path to {it}"),
    ("", "path"): ("lost {it}", "has {it}"),
    ("", "redundancy"): ("lost a path to {it}", "has all paths to {it}"),
    ("ceph", "redundancy"): ("hears that data of {it} lacks copies", "hears that data of {it} has all its copies"),
    ("", "reservation"): ("is locked out of {it} by a reservation", "may use {it}"),
    ("", "capacity"): ("hears that {it} is nearly full", "hears that {it} has room"),
    ("", "full"): ("hears that {it} is full", "hears that {it} is not full"),
    ("", "vg"): ("does not see {it}, or not all of it", "sees all of {it}"),
    ("", "active"): ("cannot use {it}", "can use {it}"),
    ("ceph", "active"): ("hears that some data of {it} serves no reads and writes", "hears that all data of {it} is served"),
    ("", "daemon"): ("has no working multipathd on {it}", "has a working multipathd on {it}"),
    ("", "up"): ("hears that {it} is down", "hears that {it} is up"),
    ("", "recovery"): ("hears that recovery starves the clients of {it}", "hears that recovery leaves room for the clients of {it}"),
    ("", "ops"): ("hears that requests to {it} are blocked", "hears that no request to {it} is blocked"),
    ("", "check"): ("hears a health warning of {it}", "hears no health warning of {it}"),
    ("", "quorum"): ("has no quorum in {it}", "has quorum in {it}"),
    ("ceph", "quorum"): ("gets no answer from the monitors of {it}", "gets answers from the monitors of {it}"),
    ("", "valid"): ("finds storage.cfg of {it} broken", "reads storage.cfg of {it}"),
    ("", "served"): ("has no /etc/pve on {it}", "has /etc/pve on {it}"),
    ("", "status"): ("gets no status from pvestatd of {it}", "gets the status from pvestatd of {it}"),
    ("", "agent"): ("hears nothing from the agent of {it}", "hears the agent of {it}"),
    ("", "source"): ("cannot look at all of {it}", "looks at all of {it}"),
    ("", "member"): ("does not see {it} in the cluster", "sees {it} in the cluster"),
    ("", "fence"): ("sees HA fence {it}", "sees {it} well in HA"),
    ("", "lrm"): ("does not see HA's service of {it}", "sees HA's service of {it}"),
    ("", "link"): ("lost a cluster link to {it}", "has all cluster links to {it}"),
}
"""What a node says of a thing that is bad, and well: by the thing's kind where that matters, and the question."""
OTHER: Final = ("finds trouble with {it}", "finds {it} well")
"""The same for questions without words of their own."""


def key_of(entity: str) -> str:
    """Return an entity's key without its kind."""
    return entity.partition("/")[2]


def _filled(form: str, entity: str) -> str:
    key = key_of(entity)
    owner, _, part = key.partition("/")
    return form.format(key=key, owner=owner, part=part or key, short=owner[:8])


def thing(entity: str) -> str:
    """Return what an entity is and its name."""
    form = _THINGS.get(entity.partition("/")[0])
    return _filled(form, entity) if form else entity.replace("/", " ", 1)


def sign(entity: str, aspect: str, *, bad: bool) -> str:
    """Return what a node says of an entity, as the rest of a sentence that begins with the node's name."""
    kind = entity.partition("/")[0]
    words = _SIGNS.get((kind, aspect)) or _SIGNS.get(("", aspect), OTHER)
    return words[0 if bad else 1].format(it=thing(entity))


def fault(cause: str, entity: str, scope: str = "") -> str:
    """Return a sentence that says what broke. ``scope``: the one thing to which a node lost its way.

    A report may be of a newer version, with a cause that nobody knows here.
    """
    kind, _, key = entity.partition("/")
    if cause not in CAUSES:
        return f"{cause}: {thing(entity)}"
    cause = Cause(cause)
    if cause is Cause.NODE_STORAGE_NETWORK and scope:
        return f"Node {key} lost its way to {thing(scope)}"
    if (cause, kind) in _SENTENCES:
        return _filled(_SENTENCES[cause, kind], entity)
    name = thing(entity) if cause is Cause.UNEXPLAINED else _filled(_IN_SENTENCES.get(kind, "{key}"), entity)
    return CAUSES[cause].sentence.format(entity=name)


def counted(number: int, name: str) -> str:
    """Return ``1 guest``, ``2 guests``."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def listed(names: list[str], most: int = 5) -> str:
    """Return names in a row, of many the first ones and how many there are besides."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
