"""The controller of a cluster: ingest, core, store, notifiers and streams."""

from typing import Final

VERSION: Final = "0.1.0"
"""Version of this controller; equal to pyproject.toml's."""
