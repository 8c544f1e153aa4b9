from __future__ import annotations

import json

from pve.storage_cfg import parse
from pve.storage_diff import PropertyDiff, StorageChanges, compare, remember
from pve.storage_secrets import MASK

NODES = ("pve1", "pve2", "pve3")
NFS = "nfs: a1\n\tserver 10.0.0.1\n\texport /x\n"


def changes(before: str, after: str) -> StorageChanges:
    """Compare two files, the first one as it comes back from storage."""
    kept = json.loads(json.dumps(remember(parse(before.encode()))))
    return compare(kept, remember(parse(after.encode())), NODES)


def test_nothing_differs_when_only_order_does() -> None:
    """Proxmox VE writes lists in random order and drops comments: that is no change."""
    found = changes(f"{NFS}\tnodes pve1,pve2\n\tcontent images,iso\n", f"# x\n{NFS}\tcontent iso,images\n\tnodes pve2,pve1\n")

    assert (found.added, found.removed, found.properties, found.hidden, found.revealed) == ((), (), (), {}, {})


def test_added_and_removed() -> None:
    """A storage that comes or goes is named, with the nodes that see more or less."""
    found = changes(NFS, NFS.replace("a1", "b2"))

    assert (found.added, found.removed) == (("b2",), ("a1",))
    assert (found.hidden, found.revealed) == ({"a1": NODES}, {"b2": NODES})


def test_changed_property() -> None:
    """A property that differs is named with both values, one that came or went with nothing on one side."""
    found = changes(f"{NFS}\toptions vers=3\n", NFS.replace("10.0.0.1", "10.0.0.2"))

    assert found.changed == ("a1",)
    assert found.properties == (
        PropertyDiff("a1", "options", "vers=3", None),
        PropertyDiff("a1", "server", "10.0.0.1", "10.0.0.2"),
    )


def test_who_can_no_longer_see_it() -> None:
    """Limiting a storage to some nodes, or disabling it, hides it from the others."""
    assert changes(NFS, f"{NFS}\tnodes pve1,unknown\n").hidden == {"a1": ("pve2", "pve3")}
    assert changes(f"{NFS}\tnodes pve1\n", f"{NFS}\tdisable\n").hidden == {"a1": ("pve1",)}
    assert changes(f"{NFS}\tdisable\n", f"{NFS}\tdisable 0\n").revealed == {"a1": NODES}


def test_broken_section_hides_its_storage() -> None:
    """A section that lost what it cannot do without is gone for everybody."""
    assert changes(NFS, "nfs: a1\n\tserver 10.0.0.1\n").hidden == {"a1": NODES}


def test_secret_changes_without_being_told() -> None:
    """That a password changed is told; neither value is, nor is one remembered."""
    cifs = "cifs: c1\n\tserver h\n\tshare s\n\tpassword {}\n"
    found = changes(cifs.format("hunter2"), cifs.format("hunter3"))

    assert found.properties == (PropertyDiff("c1", "password", MASK, MASK),)
    assert "hunter" not in json.dumps(remember(parse(cifs.format("hunter2").encode())))


def test_secret_among_mount_options() -> None:
    """A password inside the mount options is no less a secret: that it changed is told, the other options are shown."""
    cifs = "cifs: c1\n\tserver h\n\tshare s\n\toptions vers=3,password={}\n"
    found = changes(cifs.format("hunter2"), cifs.format("hunter3"))

    assert found.properties == (PropertyDiff("c1", "options", f"vers=3,password={MASK}", f"vers=3,password={MASK}"),)


def test_type_change() -> None:
    """A section that keeps its id and becomes another type has changed, not gone and come."""
    found = changes("dir: a1\n\tpath /x\n", NFS)

    assert found.removed == ()
    assert PropertyDiff("a1", "type", "dir", "nfs") in found.properties
