"""Checks of what is so right now: of states that only a running controller knows.

Keys of states are those of the controller's evidence: the node that says so, the entity, and the aspect of the event's kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.check.finding import Check, Hit, Need, Severity
from controller.check.view import View

_NEEDS: Final = (Need.STATES,)
_BAD: Final = "bad"
_CEPH: Final = ("ceph/", "ceph-")


def _inactive(view: View) -> Iterator[Hit]:
    for name, storage, _ in view.of_type():
        for node in view.visible(storage):
            if (view.states or {}).get((node, f"storage/{name}", "active")) == _BAD:
                yield Hit(f"storage/{name}", "inactive", node)


def _silent(view: View) -> Iterator[Hit]:
    heard = {node for node, _, _ in view.states or {}}
    yield from (Hit(f"node/{node}", "no agent of it says anything", node) for node in view.nodes if node not in heard)


def _stuck(view: View) -> Iterator[Hit]:
    yield from _of_nodes(view, "status", "pvestatd does not report")


def _no_quorum(view: View) -> Iterator[Hit]:
    yield from _of_nodes(view, "quorum", "has no quorum")


def _of_nodes(view: View, aspect: str, message: str) -> Iterator[Hit]:
    bad = {entity for (_, entity, about), state in (view.states or {}).items() if about == aspect and state == _BAD}
    yield from (Hit(entity, message, entity.partition("/")[2]) for entity in sorted(bad) if entity.startswith("node/"))


def _ceph(view: View) -> Iterator[Hit]:
    bad = {(entity, aspect) for (_, entity, aspect), state in (view.states or {}).items() if state == _BAD and entity.startswith(_CEPH)}
    yield from (Hit(entity, f"Ceph is not HEALTH_OK: {aspect}") for entity, aspect in sorted(bad))


def unknown_storages(view: View) -> Iterator[tuple[str, str]]:
    """Yield (node, reason) for storages of which no state is known on a node."""
    for node in view.nodes:
        states = view.states or {}
        dark = [
            name
            for name, storage, _ in view.of_type()
            if node in view.visible(storage) and states.get((node, f"storage/{name}", "active"), "unknown") == "unknown"
        ]
        if dark:
            yield node, f"no state of {', '.join(dark)} is known there: is pvestatd's word heard (agent running, storage enabled)?"


def unknown_ceph(view: View) -> Iterator[tuple[str, str]]:
    """Yield ("", reason) when no state of the nodes' Ceph cluster is known."""
    heard, fsid = {entity for _, entity, _ in view.states or {}}, view.facts.own_ceph()
    of_it = (f"ceph/{fsid}", f"ceph-osd/{fsid}/", f"ceph-mon/{fsid}/", f"ceph-host/{fsid}/")
    if fsid and not any(one.startswith(of_it) for one in heard):
        yield "", f"no state of ceph/{fsid} is known: no agent reads Ceph's health"


CHECKS: Final = (
    Check(
        "storage-inactive",
        Severity.ERROR,
        "a storage is not active on a node that is offered it",
        "Guests there stand still or cannot start; HA does nothing about it, for it looks at processes and never at storages.",
        "`faultline incidents` names the failure domain; on {node}: `pvesm status --storage {name}`.",
        _inactive,
        _NEEDS,
    ),
    Check(
        "node-unwatched",
        Severity.WARNING,
        "nobody watches storages on a node",
        "Proxmox VE notifies of no storage failure at all (its events are fencing, replication, backups, updates and mail): without an "
        "agent an outage "
        "there is first told by users.",
        "Install and start faultline-agent on {name}.",
        _silent,
        _NEEDS,
    ),
    Check(
        "node-status-stuck",
        Severity.ERROR,
        "the status daemon of a node is stuck",
        "One helper in state D on a dead mount stops pvestatd for good: no state of any guest or storage of this node is current.",
        "On {node}: `ps -eo pid,stat,wchan:30,cmd | grep ' D'` shows what hangs; bring that server back, or `umount -f -l` its mount.",
        _stuck,
        _NEEDS,
    ),
    Check(
        "quorum-lost",
        Severity.ERROR,
        "a node has no quorum",
        "/etc/pve is read-only there, nothing starts or moves, and with active HA services the node resets itself after 60 s.",
        "On {node}: `pvecm status` and `journalctl -u corosync`.",
        _no_quorum,
        _NEEDS,
    ),
    Check(
        "ceph-not-healthy",
        Severity.ERROR,
        "Ceph is not HEALTH_OK",
        "A degraded cluster has less in hand than its design says: planned work now can freeze guests.",
        "`ceph health detail`; bring it to HEALTH_OK before any maintenance.",
        _ceph,
        _NEEDS,
    ),
)
