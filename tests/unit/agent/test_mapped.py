"""Pages of libraries that are given back, in a process of its own: how much is mapped there depends on nothing else."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import pathlib
from agent.sources.mapped import give_back, mapped

def resident():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1])

before = mapped()
import sqlite3
loaded = mapped() - before
assert any("sqlite" in one for one in loaded), loaded
full = resident()
give_back(loaded)
lean = resident()
connection = sqlite3.connect(":memory:")
assert connection.execute("SELECT upper('still works'), count(*) FROM sqlite_schema").fetchone() == ("STILL WORKS", 0)
give_back(mapped())  # everything of this process, Python itself included
assert connection.execute("SELECT 6 * 7").fetchone() == (42,)
print(full, lean)
"""


def test_pages_that_are_given_back_are_resident_no_more_and_come_back_when_they_are_needed() -> None:
    """A library takes less memory once its pages were given back, and works as before; so does the interpreter itself."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr
    full, lean = map(int, done.stdout.split())
    assert lean < full
