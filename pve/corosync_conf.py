"""``corosync.conf``: who votes, and over which links the nodes talk.

Sources: corosync.conf(5), votequorum(5) and ``exec/coroparse.c`` for the grammar (``name {``, ``key: value``, ``}``, ``#`` begins a comment
line); pve-cluster ``PVE/Corosync.pm`` for how a node is named. The parser goes on after a line that it does not understand. Only the
fields named here are kept: ``totem.key`` may hold the cluster's secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pve.notice import Notice, Notices

FILE: Final = "corosync.conf"
LINKS: Final = 8
"""knet has links 0 to 7."""
_MAX_DEPTH: Final = 8
"""``quorum.device.heuristics`` and its like are nested three deep."""


@dataclass(frozen=True, slots=True)
class CorosyncNode:
    """A node of the nodelist. ``id`` is None when it is not set; ``addresses`` are those of its links, by link number."""

    name: str
    id: int | None
    addresses: Mapping[int, str]
    votes: int = 1


@dataclass(frozen=True, slots=True)
class Qdevice:
    """The device with further votes, as a rule a ``corosync-qnetd`` on another host. ``votes`` is None when it is not set."""

    model: str
    host: str = ""
    algorithm: str = ""
    votes: int | None = None


@dataclass(frozen=True, slots=True)
class CorosyncConf:
    """The configuration of one cluster."""

    cluster: str
    config_version: int | None
    nodes: tuple[CorosyncNode, ...]
    transport: str = "knet"
    link_mode: str = "passive"
    links: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Per link number its options, as ``knet_link_priority``; links without options are only in the nodes' addresses."""
    two_node: bool = False
    """One of two nodes stays quorate alone."""
    wait_for_all: bool = False
    """After a start there is no quorum until all nodes were seen once; ``two_node`` sets it unless it is told off."""
    expected_votes: int | None = None
    qdevice: Qdevice | None = None
    digest: str = ""
    """SHA-1 of the bytes, as Proxmox VE forms it."""
    notices: tuple[Notice, ...] = ()

    @property
    def total_votes(self) -> int:
        """All votes: ``expected_votes`` if set, else those of the nodes and of the device."""
        if self.expected_votes is not None:
            return self.expected_votes
        return sum(node.votes for node in self.nodes) + ((self.qdevice.votes or 0) if self.qdevice else 0)

    @property
    def needed_votes(self) -> int:
        """Votes that a partition needs to be quorate."""
        return 1 if self.two_node else self.total_votes // 2 + 1


class _Section(NamedTuple):
    values: dict[str, str]
    inner: list[tuple[str, _Section]]

    def all(self, name: str) -> Iterator[_Section]:
        return (section for inner, section in self.inner if inner == name)

    def merged(self, name: str) -> _Section:
        """Return all sections of this name as one; later values win, as in corosync."""
        one = _Section({}, [])
        for section in self.all(name):
            one.values.update(section.values)
            one.inner.extend(section.inner)
        return one

    def number(self, name: str) -> int | None:
        text = self.values.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def parse(data: bytes) -> CorosyncConf:
    """Read the file's bytes. Any bytes give a value; ``notices`` name the lines that were left out."""
    notices = Notices()
    root = _sections(data.decode("utf-8", "replace"), notices)
    totem, quorum = root.merged("totem"), root.merged("quorum")
    two_node = quorum.number("two_node") == 1
    return CorosyncConf(
        totem.values.get("cluster_name", ""),
        totem.number("config_version"),
        tuple(map(_node, root.merged("nodelist").all("node"))),
        totem.values.get("transport", "knet"),
        totem.values.get("link_mode", "passive"),
        dict(_links(totem)),
        two_node,
        bool(quorum.number("wait_for_all") if "wait_for_all" in quorum.values else two_node),
        quorum.number("expected_votes"),
        _qdevice(quorum.merged("device")),
        hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        notices.all(),
    )


def _sections(text: str, notices: Notices) -> _Section:
    stack = [_Section({}, [])]
    ignored = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.endswith("{"):
            ignored += len(stack) > _MAX_DEPTH
            if ignored:
                notices.add(number, "a section that is nested too deep")
                continue
            section = _Section({}, [])
            stack[-1].inner.append((line[:-1].strip(), section))
            stack.append(section)
        elif line == "}":
            if ignored:
                ignored -= 1
            elif len(stack) > 1:
                stack.pop()
            else:
                notices.add(number, "a '}' with no section to end")
        elif ":" in line:
            name, _, value = line.partition(":")
            stack[-1].values[name.strip()] = value.strip()
        else:
            notices.add(number, "neither a section nor 'key: value'")
    if len(stack) > 1 or ignored:
        notices.add(text.count("\n") + 1, "the file ends inside a section: a '}' is missing, or the file was cut")
    return stack[0]


def _node(section: _Section) -> CorosyncNode:
    addresses = {link: address for link in range(LINKS) if (address := section.values.get(f"ring{link}_addr"))}
    votes = section.number("quorum_votes")
    name = section.values.get("name") or addresses.get(0, "")
    return CorosyncNode(name, section.number("nodeid"), addresses, 1 if votes is None else votes)


def _links(totem: _Section) -> Iterator[tuple[int, dict[str, str]]]:
    for section in totem.all("interface"):
        name = "linknumber" if "linknumber" in section.values else "ringnumber"
        if (link := section.number(name)) is not None and link < LINKS:
            yield link, {key: value for key, value in section.values.items() if key != name}


def _qdevice(device: _Section) -> Qdevice | None:
    if not (model := device.values.get("model")):
        return None
    net = device.merged("net").values
    return Qdevice(model, net.get("host", ""), net.get("algorithm", ""), device.number("votes"))
