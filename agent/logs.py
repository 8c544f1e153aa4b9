"""How the agent logs: one line an entry to stderr, which the journal stamps; no secrets, no colours."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog levels, which journald reads from a line's beginning (sd-daemon(3))."""


def configure() -> None:
    """Set up structlog for a service."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, _line],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _line(_: Any, method: str, facts: Any) -> str:
    text = facts.pop("event")
    return f"<{_PRIORITIES.get(method, 6)}>{text}" + "".join(f" {name}={value!r}" for name, value in facts.items())
