"""``faultline topology``: what depends on what, as a tree in the terminal or a graph for Graphviz.

What only one node sees is drawn together with the thing itself, so that a cluster of 32 nodes stays readable.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text
from rich.tree import Tree

from controller.core.topology.names import split
from controller.core.topology.topology import Topology
from faultline import render
from faultline.cluster import ConfigOption, NodeOption, PveOption, cluster
from faultline.errors import CommandError

_DEADLINE: Final = 60
"""Seconds that Graphviz may take."""
_SHAPES: Final = {"storage": "folder", "node": "box3d", "subnet": "hexagon", "guest": "note"}
_DRAWN: Final = frozenset({"guest", "access", "cluster"})
"""Kinds that are no boxes of their own."""


class DrawFormat(StrEnum):
    """How to draw."""

    TEXT = "text"
    JSON = "json"
    DOT = "dot"
    SVG = "svg"


def topology(
    pve: PveOption = None,
    node: NodeOption = None,
    output: Annotated[DrawFormat, typer.Option("--format")] = DrawFormat.TEXT,
    file: Annotated[Path | None, typer.Option("--output", help="Write here; default is standard output.")] = None,
    config: ConfigOption = None,
) -> None:
    """Draw what depends on what: guests, storages, servers, portals, networks."""
    found = cluster(pve, node or [], config).topology
    match output:
        case DrawFormat.TEXT:
            console = render.console()
            with console.capture() as captured:
                console.print(_tree(found))
            text = captured.get()
        case DrawFormat.JSON:
            text = json.dumps(_as_json(found), indent=2) + "\n"
        case DrawFormat.DOT:
            text = dot(found)
        case DrawFormat.SVG:
            text = _svg(dot(found))
    if file is None:
        print(text, end="")
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror or error}") from error


def edges(found: Topology) -> list[tuple[str, str]]:
    """Return who needs whom, without guests and with each node's views folded into the thing itself."""
    pairs = set()
    for name in found.graph.names():
        entity = split(name)[0]
        for group in found.graph.needs(name):
            for member in group.members:
                pairs.add((entity, split(member)[0]))
    return sorted({pair for pair in _folded(pairs) if pair[0] != pair[1]})


def _folded(pairs: set[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Fold ``storage -> access/pve1/net -> subnet/net`` into ``storage -> subnet/net`` and ``node/pve1 -> subnet/net``."""
    for user, needed in pairs:
        if user.partition("/")[0] in _DRAWN:
            continue
        kind, _, rest = needed.partition("/")
        if kind == "access":
            node, _, network = rest.partition("/")
            yield user, f"subnet/{network}"
            yield f"node/{node}", f"subnet/{network}"
        elif not (kind == "node" and user.startswith("storage/")):
            yield user, needed


def _guest_counts(found: Topology) -> Counter[str]:
    return Counter(f"storage/{one}" for guest in found.guests.values() if not guest.template for one in found.storages_of(guest, "runtime"))


def _tree(found: Topology) -> Tree:
    counts, below = _guest_counts(found), edges(found)
    tree = Tree(Text(f"{len(found.nodes)} node(s), {len(found.storages)} storage(s), {len(found.guests)} guest(s)", style="bold"))
    for name in sorted(found.storages):
        storage = found.storages[name]
        where = "all nodes" if storage.nodes is None else ", ".join(storage.nodes)
        notes = [storage.type, where, *(["shared"] if storage.shared else ["local"]), *(["disabled"] if storage.disabled else [])]
        branch = tree.add(Text.assemble((f"storage/{name}", "bold"), f" ({'; '.join(notes)}), {counts[f'storage/{name}']} guest(s)"))
        _grow(branch, f"storage/{name}", below, {f"storage/{name}"})
    networks = tree.add(Text("nodes", style="bold"))
    for node in found.nodes:
        known = found.networks.get(node)
        networks.add(f"node/{node}: {', '.join(known.connected()) if known else 'its agent told no addresses'}")
    return tree


def _grow(branch: Tree, name: str, below: list[tuple[str, str]], above: set[str]) -> None:
    for user, needed in below:
        if user == name and needed not in above:
            _grow(branch.add(needed), needed, below, above | {needed})


def dot(found: Topology) -> str:
    """Return the graph in Graphviz' DOT language."""
    counts, drawn = _guest_counts(found), edges(found)
    names = sorted({name for pair in drawn for name in pair} | {f"storage/{one}" for one in found.storages})
    lines = ["digraph faultline {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif", fontsize=10];']
    for name in names:
        kind = name.partition("/")[0]
        label = f"{name}\\n{counts[name]} guest(s)" if kind == "storage" else name
        lines.append(f"  {_quoted(name)} [label={_quoted(label, keep=True)}, shape={_SHAPES.get(kind, 'box')}];")
    lines += [f"  {_quoted(user)} -> {_quoted(needed)};" for user, needed in drawn]
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str, *, keep: bool = False) -> str:
    escaped = text if keep else text.replace("\\", "\\\\")
    return '"' + escaped.replace('"', '\\"') + '"'


def _svg(text: str) -> str:
    try:
        done = subprocess.run(["dot", "-Tsvg"], input=text, capture_output=True, text=True, timeout=_DEADLINE, check=False)  # noqa: S607 - wherever it is
    except FileNotFoundError as error:
        raise CommandError("Graphviz is not installed: apt install graphviz, or take --format dot") from error
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"Graphviz did not finish within {_DEADLINE} s: take --format dot") from error
    if done.returncode:
        raise CommandError(f"Graphviz failed: {done.stderr.strip()[:500]}")
    return done.stdout


def _as_json(found: Topology) -> dict[str, object]:
    counts = _guest_counts(found)
    return {
        "nodes": [{"node": node, "networks": found.networks[node].connected() if node in found.networks else None} for node in found.nodes],
        "storages": [
            {
                "storage": name,
                "type": one.type,
                "shared": one.shared,
                "disabled": one.disabled,
                "nodes": None if one.nodes is None else list(one.nodes),
                "guests": counts[f"storage/{name}"],
            }
            for name, one in sorted(found.storages.items())
        ],
        "edges": [{"from": user, "to": needed} for user, needed in edges(found)],
    }
