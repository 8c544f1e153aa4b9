"""The sources that ask: NFS, iSCSI, multipath, LVM and Ceph, each with its looks, its classifier and its thread's memory.

They are made once. When a source is started again, after an error or because a controller lacks what was said, the same looks go on:
one that hangs is not taken a second time, and connections to servers are kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

from agent.classify.ceph import CephClassifier
from agent.classify.iscsi_probe import IscsiClassifier
from agent.classify.lvm_probe import LvmClassifier
from agent.classify.multipath_probe import MultipathClassifier
from agent.classify.nfs_probe import NfsClassifier
from agent.classify.sight import Sighted
from agent.config import Config
from agent.pipeline import Classifier, Line
from agent.record import Batch
from agent.sources.background import Background
from agent.sources.ceph import CephSource, own_place
from agent.sources.configured import Configured
from agent.sources.handover import batches
from agent.sources.iscsi import iscsi_looks
from agent.sources.looking import Look, LookingSource
from agent.sources.lvm import lvm_looks
from agent.sources.multipath import multipath_looks
from agent.sources.nfs_mounts import mount_looks
from agent.sources.nfs_servers import server_looks
from events.base import Source


def probes(config: Config) -> Iterator[Line]:
    """Yield the lines of the probing sources that are enabled."""
    node = config.node.name
    configured = Configured(config.pmxcfs.root, node)
    if config.nfs.enabled:
        nfs = config.nfs
        servers = server_looks(configured, interval=nfs.interval, deadline=nfs.deadline)
        mounts = mount_looks(configured, interval=nfs.mounts_interval, deadline=nfs.mounts_deadline, latency_interval=nfs.latency_interval)
        yield _line(node, Source.NFS, [*servers, *mounts], partial(NfsClassifier, node, limit=nfs.latency_limit))
    if config.iscsi.enabled:
        iscsi = config.iscsi
        portals = iscsi_looks(configured, interval=iscsi.interval, deadline=iscsi.deadline, sessions_interval=iscsi.sessions_interval)
        yield _line(node, Source.ISCSI, portals, partial(IscsiClassifier, node))
    if config.multipath.enabled:
        paths = config.multipath
        maps = multipath_looks(interval=paths.interval, sysfs_interval=paths.sysfs_interval, deadline=paths.deadline, inquiry=paths.inquiry)
        yield _line(node, Source.MULTIPATH, maps, partial(MultipathClassifier, node))
    if config.lvm.enabled:
        groups = lvm_looks(configured, interval=config.lvm.interval, deadline=config.lvm.deadline)
        yield _line(node, Source.LVM, groups, partial(LvmClassifier, node))
    if config.ceph.enabled:
        yield _ceph(config, configured)


def _ceph(config: Config, configured: Configured) -> Line:
    ceph, root = config.ceph, config.pmxcfs.root
    background = Background(Source.CEPH.value)

    def follow(cursor: str | None) -> AsyncIterator[Batch]:
        del cursor  # what is there now is all there is to know
        own = own_place(root, ceph.conf, ceph.client, ceph.keyring)
        source = CephSource(
            own,
            root,
            configured,
            deadline=ceph.deadline,
            interval=ceph.interval,
            map_interval=ceph.map_interval,
            background=background,
        )
        return batches(source, Source.CEPH.value)

    return Line(Source.CEPH, follow, partial(CephClassifier, config.node.name))


def _line(node: str, source: Source, looks: Sequence[Look], classifier: Callable[[dict[str, Any] | None], Classifier]) -> Line:
    background = Background(source.value)

    def follow(cursor: str | None) -> AsyncIterator[Batch]:
        del cursor  # what is asked has a state, not a history
        return batches(LookingSource(source, looks, background=background), source.value)

    return Line(source, follow, lambda memory: Sighted(node, classifier(memory)))
