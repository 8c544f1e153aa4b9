import json

import pytest

from pve.errors import FormatError, TornError
from pve.ha_status import Age, Disarm, LrmResult, LrmStatus, ManagerStatus, age, parse_lrm, parse_manager

MANAGER = {
    "master_node": "pve2",
    "timestamp": 1795000000,
    "node_status": {"pve1": "online", "pve2": "online", "pve3": "fence"},
    "node_request": {"pve1": {"maintenance": 1}, "pve2": {}},
    "service_status": {
        "vm:100": {"state": "started", "node": "pve1", "uid": "abc", "running": 1},
        "vm:101": {
            "state": "migrate",
            "node": "pve1",
            "target": "pve2",
            "cmd": ["migrate", "pve2"],
            "uid": "d",
            "failed_nodes": ["pve3"],
            "maintenance_node": "pve1",
        },
        "ct:102": {"state": "request_stop", "node": "pve2", "cmd": ["stop", 60]},
    },
}


def bytes_of(value: object) -> bytes:
    return json.dumps(value).encode()


def test_manager() -> None:
    """Master, nodes, requested maintenance and services with their commands are read."""
    status = parse_manager(bytes_of(MANAGER))
    assert (status.master, status.timestamp, status.disarm) == ("pve2", 1795000000, None)
    assert status.nodes["pve3"] == "fence"
    assert status.maintenance == {"pve1"}
    assert status.services["vm:100"].running
    moving = status.services["vm:101"]
    assert (moving.node, moving.target, moving.command) == ("pve1", "pve2", ("migrate", "pve2"))
    assert (moving.failed_nodes, moving.maintenance_node) == (("pve3",), "pve1")
    assert status.services["ct:102"].command == ("stop", "60")


def test_disarmed() -> None:
    """HA that is switched off for the cluster shows how far that is."""
    assert parse_manager(bytes_of({**MANAGER, "disarm": {"mode": "freeze", "state": "disarmed"}})).disarm == Disarm("freeze", "disarmed")


def test_never_used() -> None:
    """An empty file, as before HA's first use, is a status without anything."""
    assert parse_manager(b"") == parse_manager(b"{}") == ManagerStatus()
    assert parse_lrm(b"") == LrmStatus()


def test_lrm() -> None:
    """State, mode and results are read; a mode that is not told is active; the watchdog is held with the agent lock."""
    body = {"state": "active", "timestamp": 7, "results": {"abc": {"sid": "vm:100", "state": "started", "exit_code": 0}}}
    status = parse_lrm(bytes_of(body))
    assert (status.state, status.mode, status.timestamp, status.watchdog) == ("active", "active", 7, True)
    assert status.results == {"abc": LrmResult("vm:100", "started", 0)}
    assert not parse_lrm(bytes_of({"state": "wait_for_agent_lock", "mode": "disarm"})).watchdog


@pytest.mark.parametrize(("behind", "expected"), [(0, Age.ACTIVE), (30, Age.ACTIVE), (31, Age.OLD), (-2, Age.ACTIVE), (-3, Age.DRIFT)])
def test_age(behind: int, expected: Age) -> None:
    """More than 30 s is old, more than 2 s in the future is a drift, as Proxmox VE's status says it."""
    assert age(1795000000, 1795000000 + behind) is expected
    assert age(0, 1795000000) is Age.NEVER


def test_wrong_bytes() -> None:
    """Half a file is to be read again; a field of another type is an error that names it."""
    with pytest.raises(TornError):
        parse_manager(bytes_of(MANAGER)[:100])
    with pytest.raises(FormatError, match="service_status/vm:100"):
        parse_manager(bytes_of({"service_status": {"vm:100": 3}}))
    with pytest.raises(FormatError, match="results/u/exit_code"):
        parse_lrm(bytes_of({"results": {"u": {"exit_code": "x"}}}))
