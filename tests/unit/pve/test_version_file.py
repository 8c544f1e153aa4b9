import json

import pytest

from pve.errors import FormatError, TornError
from pve.version_file import OBSERVED, moved, parse, steps

BODY = b"""{
"starttime": 1795000000,
"clinfo": 4,
"vmlist": 4294967295,
"storage.cfg": 2,
"ha/rules.cfg": 1,
"kvstore": {
"pve1": { "tasklist": 12, "kv/ceph-osd": 1}
,
"pve2": { "tasklist": 3}
}
}
"""


def changed(**counters: object) -> bytes:
    return json.dumps({**json.loads(BODY), **counters}).encode()


def test_counters() -> None:
    """Counters, the process's start and the nodes' broadcasts are read; clinfo and vmlist are counters like the paths."""
    version = parse(BODY)
    assert version.starttime == 1795000000
    assert version.counters == {"clinfo": 4, "vmlist": 4294967295, "storage.cfg": 2, "ha/rules.cfg": 1}
    assert version.kvstore == {"pve1": {"tasklist": 12, "kv/ceph-osd": 1}, "pve2": {"tasklist": 3}}


def test_what_moved() -> None:
    """A counter that differs, came or went has moved; nothing has when all are equal; a wrap is a move of one."""
    before = parse(BODY)
    assert moved(before, parse(BODY)) == frozenset()
    assert moved(before, parse(changed(vmlist=0, **{"new.cfg": 1}))) == {"vmlist", "new.cfg"}
    assert steps(4294967295, 0) == 1
    assert steps(3, 10) == 7


def test_restart_forgets_everything() -> None:
    """Counters of another pmxcfs process say nothing: everything is read again, also what has the same number."""
    before = parse(BODY)
    assert moved(before, parse(changed(starttime=1795000001))) == frozenset(before.counters)
    assert moved(None, before) == frozenset(before.counters)


def test_unknown_names_are_tolerated() -> None:
    """A name of a later release is kept with its counter, and left out when it holds something else."""
    counters = parse(changed(**{"future.cfg": 9, "other": {"x": 1}, "text": "x", "negative": -1})).counters
    assert counters["future.cfg"] == 9
    assert not {"other", "text", "negative", "starttime", "kvstore"} & counters.keys()


@pytest.mark.parametrize("wrong", [{"storage.cfg": "x"}, {"clinfo": 1 << 32}, {"vmlist": -1}, {"starttime": None}, {"starttime": "soon"}])
def test_wrong_fields_are_named(wrong: dict[str, object]) -> None:
    """A known counter that is none is an error that names it."""
    with pytest.raises(FormatError, match=next(iter(wrong))):
        parse(changed(**wrong))


def test_cut_body() -> None:
    """Half a body is to be read again."""
    with pytest.raises(TornError):
        parse(BODY[: len(BODY) // 2])


def test_tables_of_observed_paths() -> None:
    """The tables hold 42 paths for Proxmox VE 8 and 43 for 9, and differ in the HA rules."""
    assert {release: len(paths) for release, paths in OBSERVED.items()} == {"8": 42, "9": 43}
    assert "ha/rules.cfg" in OBSERVED["9"] - OBSERVED["8"]
    assert "storage.cfg" in OBSERVED["9"] & OBSERVED["8"]
