"""``faultline what-if`` and ``faultline domains``: what a failure would take down, and which failures would be worst."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.core.state import CoreState
from controller.core.topology.domains import Domain, domains, network_of_node
from controller.core.topology.graph import State
from controller.core.topology.impact import Effect, GuestImpact, Impact, impact
from controller.core.topology.names import split
from controller.core.topology.topology import Topology
from events.entity import Entity
from events.errors import EntityError
from faultline import render
from faultline.cluster import ConfigOption, NodeOption, PveOption, cluster
from faultline.errors import InputError
from faultline.formats import ListFormat

NETWORK: Final = "storage-network/"
"""``storage-network/pve1``: all of a node's ways to storages at once."""
_WORDS: Final = {
    Effect.FROZEN: "stands still: its I/O hangs, HA does nothing",
    Effect.STOPPED: "stopped with its node, nothing starts it",
    Effect.RESTARTED: "stopped with its node, HA starts it elsewhere",
    Effect.AT_RISK: "runs on what is left",
    Effect.NO_START: "runs, but cannot start or migrate",
}
_STYLES: Final = {
    Effect.FROZEN: "red",
    Effect.STOPPED: "red",
    Effect.RESTARTED: "yellow",
    Effect.AT_RISK: "yellow",
    Effect.NO_START: "yellow",
}
_MOST: Final = 200
"""Guests listed in text; JSON has all."""


def what_if(
    fail: Annotated[list[str], typer.Option(help="What fails: nfs-server/10.0.0.5, node/pve1, storage-network/pve1, …; repeatable.")],
    pve: PveOption = None,
    node: NodeOption = None,
    output: Annotated[ListFormat, typer.Option("--format")] = ListFormat.TEXT,
    config: ConfigOption = None,
) -> None:
    """Say which storages, guests and HA services a failure would take down."""
    state = cluster(pve, node or [], config)
    found = impact(state.topology, [vertex for one in fail for vertex in vertices(state.topology, one)])
    if output is ListFormat.JSON:
        print(json.dumps(as_json(found), indent=2))
    else:
        _print(render.console(), state, found)


def vertices(topology: Topology, text: str) -> list[str]:
    """Return what fails by a name that a user gave.

    :raises InputError: when this cluster has nothing of that name; proposes what it has.
    """
    if text.startswith(NETWORK):
        ways = list(network_of_node(topology, text.removeprefix(NETWORK)))
        if not ways:
            raise InputError(f"{text}: no network of this node leads to a storage, or its agent told no addresses")
        return ways
    if text in topology.graph:
        return [text]
    try:
        Entity.parse(split(text)[0])
    except EntityError as error:
        raise InputError(f"--fail {error}") from error
    known = sorted({split(name)[0] for name in topology.graph.names()})
    near = get_close_matches(text, known, 3, 0.6) or [one for one in known if one.partition("/")[0] == text.partition("/")[0]][:5]
    hint = f"; known are {', '.join(near)}" if near else ""
    raise InputError(f"--fail {text}: nothing in this cluster depends on it{hint}")


def _print(console: Console, state: CoreState, found: Impact) -> None:
    console.print(Text(f"If {' and '.join(found.failed)} fails:", style="bold"))
    if found.quorum_lost:
        console.print("  The cluster loses its quorum: /etc/pve is read-only, nothing can be started or moved,", style="red")
        console.print("  and nodes that run HA services fence themselves after a minute.", style="red")
    _storages(console, found)
    _guests(console, found)
    entities = sorted(name for name, state_ in found.entities.items() if state_ is State.FAILED and not name.startswith("access/"))
    if entities:
        console.print(f"  Takes along: {', '.join(entities[:20])}")
    console.print(f"  {_sentence(state, found)}", style="bold")


def _storages(console: Console, found: Impact) -> None:
    for one in found.storages:
        parts = [
            f"{word} {_nodes(nodes)}"
            for word, nodes in (("gone on", one.failed), ("without redundancy on", one.degraded), ("works on", one.works))
            if nodes
        ]
        console.print(f"  storage {one.storage}: {'; '.join(parts)}")


def _nodes(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"


def _guests(console: Console, found: Impact) -> None:
    if not found.guests:
        return
    table = Table("guest", "name", "node", "what happens", "because of", "could run on", "HA", box=None, pad_edge=False)
    order = list(Effect)
    for one in sorted(found.guests, key=lambda guest: order.index(guest.effect))[:_MOST]:
        table.add_row(
            one.vmid,
            one.name,
            one.node,
            Text(_WORDS[one.effect], style=_STYLES[one.effect]),
            ", ".join(one.storages),
            _nodes(one.targets, 3) or "-",
            one.service or "-",
        )
    console.print(table)
    if len(found.guests) > _MOST:
        console.print(f"  … and {len(found.guests) - _MOST} more (--format json lists all)")


def _sentence(state: CoreState, found: Impact) -> str:
    counts = {effect: len(found.with_effect(effect)) for effect in Effect}
    fine = sum(not guest.template for guest in state.topology.guests.values()) - len(found.guests)
    still = counts[Effect.FROZEN] + counts[Effect.STOPPED]
    restarted = counts[Effect.RESTARTED]
    at_risk = counts[Effect.AT_RISK] + counts[Effect.NO_START]
    verdict = f"{still} guest(s) stand still, {restarted} restart elsewhere, {at_risk} run without redundancy, {fine} notice nothing."
    if not still:
        return verdict
    movable = sum(bool(one.targets) for one in found.with_effect(Effect.FROZEN, Effect.STOPPED))
    return f"{verdict} {f'{movable} of those that stand still could run on another node.' if movable else 'No other node could run them.'}"


def as_json(found: Impact) -> dict[str, Any]:
    """Return an impact as plain data, the form of ``what-if --format json``."""
    return {
        "failed": list(found.failed),
        "quorum_lost": found.quorum_lost,
        "ha_can_help": found.ha_can_help,
        "storages": [
            {"storage": one.storage, "failed": list(one.failed), "degraded": list(one.degraded), "works": list(one.works)}
            for one in found.storages
        ],
        "guests": [_guest_json(one) for one in found.guests],
        "entities": {name: state.name.lower() for name, state in sorted(found.entities.items())},
    }


def _guest_json(one: GuestImpact) -> dict[str, Any]:
    return {
        "vmid": one.vmid,
        "name": one.name,
        "node": one.node,
        "effect": one.effect.value,
        "storages": list(one.storages),
        "could_run_on": list(one.targets),
        "ha": one.service or None,
    }


def list_domains(
    pve: PveOption = None,
    node: NodeOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Worst N.")] = 40,
    output: Annotated[ListFormat, typer.Option("--format")] = ListFormat.TEXT,
    config: ConfigOption = None,
) -> None:
    """List the failure domains, the worst first: what freezes, restarts or loses redundancy when each fails."""
    state = cluster(pve, node or [], config)
    found = domains(state.topology)
    if output is ListFormat.JSON:
        print(json.dumps([_domain_json(one) for one in found[:limit]], indent=2))
        return
    console = render.console()
    table = Table("if this fails", "stand still", "restart", "at risk", "storages", "quorum", "single point", box=None, pad_edge=False)
    for one in found[:limit]:
        still, restart, risk = one.weight
        hit = tuple(storage.storage for storage in one.impact.storages)
        table.add_row(
            one.name,
            str(still),
            str(restart),
            str(risk),
            _nodes(hit, 3),
            "lost" if one.impact.quorum_lost else "",
            Text("yes", style="red") if one.is_single_point else "",
        )
    console.print(table)
    single = sum(one.is_single_point for one in found)
    console.print(f"{len(found)} failure domains, {single} of them stop guests that nothing starts again.", style="bold")


def _domain_json(one: Domain) -> dict[str, Any]:
    still, restart, risk = one.weight
    return {
        "domain": one.name,
        "members": list(one.members),
        "single_point_of_failure": one.is_single_point,
        "stand_still": still,
        "restart": restart,
        "at_risk": risk,
        **as_json(one.impact),
    }
