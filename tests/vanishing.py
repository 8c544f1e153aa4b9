"""Directories that come and go, as those of sysfs do while somebody reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def vanishing(places: Iterable[Path], away: Path) -> Iterator[None]:
    """Take each of several directories away and put it back, one after the other and without pause, for as long as this lasts."""
    end, wanted = threading.Event(), list(places)

    def churn() -> None:
        while not end.is_set():
            for place in wanted:
                place.rename(away)
                away.rename(place)

    churning = threading.Thread(target=churn)
    churning.start()
    try:
        yield
    finally:
        end.set()
        churning.join()
