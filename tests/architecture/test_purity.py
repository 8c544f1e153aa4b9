"""What import contracts cannot see: clocks, IO and waiting in pure code, and errors that are swallowed.

Each rule is a function from source text to offences; each is shown to find what it is for.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("events", "pve", "agent", "controller", "faultline")
PURE = ("events", "pve", "agent/classify", "controller/core", "controller/check")

IMPURE_MODULES = frozenset(
    [
        "asyncio",
        "concurrent",
        "ctypes",
        "glob",
        "http",
        "httpx",
        "io",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "pyinotify",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "smtplib",
        "socket",
        "sqlite3",
        "ssl",
        "structlog",
        "subprocess",
        "sys",
        "systemd",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
        "zmq",
    ]
)
IMPURE_BUILTINS = frozenset(["open", "print", "input", "exec", "eval", "compile", "breakpoint", "__import__"])
CALENDARS = frozenset(
    f"{clock}.{name}"
    for clock, names in {
        "time": "time time_ns clock_gettime clock_gettime_ns gmtime localtime ctime strftime",
        "datetime.datetime": "now utcnow today",
        "datetime.date": "today",
    }.items()
    for name in names.split()
)
"""Clocks that say what time it is. What they say ends up in events and verdicts, so it must come from one place."""
CLOCKS = CALENDARS | {f"time.{name}{unit}" for name in ("monotonic", "perf_counter", "process_time") for unit in ("", "_ns")}
"""These, and the clocks that only measure how long something takes: a deadline of an IO shell may use them, pure code may not."""

CALENDAR_READERS: dict[str, str] = {
    "agent/app.py": "the agent's composition root: hands its clock to everything else",
    "controller/clock.py": "the controller's clock, or one for rehearsals; its composition root is given one of them",
    "faultline/check_command.py": "the command line's composition root: suppressions end on a day",
    "agent/sources/moment.py": "what is polled has no time of its own: the source stamps it, by a function that tests replace",
}
"""Files that may ask what time it is, with the reason. All others are given the time, or a function that tells it."""

CATCH_ALL: dict[str, str] = {
    "agent/pipeline.py:Pipeline._classify": "edge of a record: it costs itself alone, and is told as lost",
    "agent/pipeline.py:Pipeline.run": "edge of a source's task: it is told as failed and begun anew",
    "agent/sources/background.py:Background._work": "the edge of a thread: whoever collects gets it",
    "agent/sources/deadline.py:OneAtATime._work": "edge of a thread: the caller gets the error",
    "agent/sources/late.py:Late._work": "edge of a thread: whoever asks gets the error",
    "agent/sources/handover.py:_Reading.run": "edge of a thread: the consumer gets the error",
    "agent/spool/spool.py:Spool._try": "edge of a thread's request: whoever asked gets the error",
    "controller/engine.py:Engine._take": "edge of an event: it is stored unread and acknowledged",
    "controller/ingest.py:_decode": "edge of an event: it is stored unread and acknowledged",
    "controller/notify/drain.py:Drain._deliver": "edge of a delivery: it is tried again",
    "controller/stream/follow.py:follow": "edge of a sink's task: it stands still and says so",
}
"""``file:function`` that may catch every exception and go on, with the reason: the edge of a task or thread, or of one
item of its work that would come again after each restart (decision 012)."""


def sources(*folders: str) -> dict[str, str]:
    """Return path (relative to the checkout) to text of the Python files below the folders."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for, dotted."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0] for alias in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full dotted name that an expression refers to, or an empty text."""
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    return names.get(node.id, "") if isinstance(node, ast.Name) else ""


def clock_reads(text: str, clocks: frozenset[str]) -> Iterator[str]:
    """Yield each mention of one of the clocks: a call, and also a clock handed on as a function."""
    tree = ast.parse(text)
    names = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (name := dotted(node, names)) in clocks:
            yield f"line {node.lineno}: {name}"


def impurities(text: str) -> Iterator[str]:
    """Yield each thing that a pure module must not contain."""
    tree = ast.parse(text)
    yield from clock_reads(text, CLOCKS)
    for node in ast.walk(tree):
        for module in imported_modules(node):
            if module.split(".")[0] in IMPURE_MODULES:
                yield f"line {node.lineno}: imports {module}"  # type: ignore[attr-defined]
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"line {node.lineno}: waits"
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: keeps state in the module"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
            yield f"line {node.lineno}: calls {node.func.id}"


def imported_modules(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports, wherever in the file it stands."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def catch_alls(text: str) -> Iterator[str]:
    """Yield the function of each handler that catches every exception (bare, Exception, BaseException) and goes on."""

    def visit(node: ast.AST, where: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{where}.{child.name}".lstrip(".") if named else where  # type: ignore[attr-defined]
            if isinstance(child, ast.ExceptHandler) and catches_all(child.type) and not raises_again(child):
                yield where
            yield from visit(child, inner)

    yield from visit(ast.parse(text), "")


def raises_again(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler only cleans up: its last statement is a bare ``raise``."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def catches_all(caught: ast.expr | None) -> bool:
    """Tell whether an ``except`` clause names everything."""
    if isinstance(caught, ast.Tuple):
        return any(catches_all(element) for element in caught.elts)
    return caught is None or (isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException"))


@pytest.mark.parametrize("folder", PURE)
def test_pure_code_is_pure(folder: str) -> None:
    """Vocabulary, classifiers and core import nothing that does IO, read no clock, never wait, and keep nothing in their module."""
    files = sources(folder)

    assert files
    assert [f"{path} {offence}" for path, text in files.items() for offence in impurities(text)] == []


def test_what_time_it_is_comes_from_few_places() -> None:
    """Time is an argument: outside the listed files nothing asks what time it is, and each listed file still does."""
    readers = {path for path, text in sources(*PACKAGES).items() if any(clock_reads(text, CALENDARS))}

    assert readers == set(CALENDAR_READERS)


def test_only_task_edges_catch_everything() -> None:
    """A handler for every exception stands only where the list says, with its reason; each listed place still has one."""
    places = {f"{path}:{function}" for path, text in sources(*PACKAGES).items() for function in catch_alls(text)}

    assert places == set(CATCH_ALL)


def test_no_module_is_named_after_nothing() -> None:
    """No module is called utils, helpers, common, misc or the like: such a file collects what has no place."""
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "lib"}

    assert [path for path in sources(*PACKAGES, "tests") if nothing & set(Path(path).with_suffix("").parts)] == []


def test_every_test_states_its_promise() -> None:
    """Each test has a docstring: what is promised, in words, so that a failure says what broke."""
    silent = [
        f"{path}: {node.name}"
        for path, text in sources("tests").items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


@pytest.mark.parametrize(
    "snippet",
    [
        "import time",
        "import os.path",
        "from os import environ",
        "from pathlib import Path",
        "def f():\n    import random\n",
        "import logging as l",
        "from urllib.request import urlopen",
        "def f(): open('/etc/pve/storage.cfg')",
        "print('x')",
        "async def f(): pass",
        "from datetime import datetime\ndatetime.now()",
        "from datetime import datetime as d\nx = d.utcnow",
        "import datetime\ndatetime.date.today()",
        "import datetime as dt\ndt.datetime.now(dt.UTC)",
        "N = 0\ndef f():\n    global N\n    N += 1\n",
    ],
)
def test_purity_rule_can_fail(snippet: str) -> None:
    """The rule for pure code finds each of these."""
    assert list(impurities(snippet))


@pytest.mark.parametrize(
    "snippet",
    [
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "import re, json, math, enum, dataclasses",
        "class A:\n    def now(self): ...\nA().now()",
        "def step(state, event, now): return now.today",
        "from events.entity import portal",
    ],
)
def test_purity_rule_can_pass(snippet: str) -> None:
    """The rule for pure code lets each of these be."""
    assert list(impurities(snippet)) == []


@pytest.mark.parametrize(
    "snippet",
    [
        "import time\ntime.time()",
        "import time as t\nt.monotonic()",
        "from time import monotonic_ns\nmonotonic_ns()",
        "import time\ndef f(now=time.time): ...",
        "from datetime import datetime, UTC\nf(lambda: datetime.now(UTC))",
    ],
)
def test_clock_rule_can_fail(snippet: str) -> None:
    """The rule for clocks finds calls, aliases, and clocks handed on as functions."""
    assert list(clock_reads(snippet, CLOCKS))


@pytest.mark.parametrize(
    ("snippet", "expected"),
    [
        ("def f():\n try: g()\n except Exception: pass", ["f"]),
        ("def f():\n try: g()\n except: pass", ["f"]),
        ("class A:\n async def f(self):\n  try: g()\n  except (OSError, BaseException): pass", ["A.f"]),
        ("try: g()\nexcept Exception: pass", [""]),
        ("def f():\n try: g()\n except BaseException:\n  undo()\n  raise", []),
        ("def f():\n try: g()\n except OSError: pass", []),
        ("def f():\n try: g()\n except ExceptionGroup: pass", []),
    ],
)
def test_catch_all_rule(snippet: str, expected: list[str]) -> None:
    """The rule for handlers finds each form that catches everything and names its function, and lets others be."""
    assert list(catch_alls(snippet)) == expected


def test_rules_read_the_real_tree() -> None:
    """The rules look at this project's files: a wrong folder would make them pass on nothing."""
    assert {"events/codec.py", "agent/record.py", "controller/core/report.py"} <= sources(*PACKAGES).keys()
