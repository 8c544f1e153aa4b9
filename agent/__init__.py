"""The agent of one node: sources, classifiers, spool, uplink."""

from typing import Final

VERSION: Final = "0.1.0"
"""Version of this agent, told to controllers and in ``agent.started``; equal to pyproject.toml's."""
