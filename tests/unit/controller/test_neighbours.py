"""The document of causes says of each how it is told from its neighbours, and names no cause that is not one."""

from __future__ import annotations

import re

import pytest

from controller.core.causes import CAUSES, Cause
from controller.core.neighbours import TOLD_BY


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_says_how_it_is_told(cause: Cause) -> None:
    """Whole sentences; what is named in them is another cause."""
    text = TOLD_BY[cause]

    assert text.endswith(".")
    assert set(re.findall("`([^`]+)`", text)) <= {one.value for one in CAUSES} - {cause.value}
