"""How the agent logs: one line an entry to stderr, which the journal stamps; no secrets, no colours."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure() -> None:
    """Set up structlog for a service: priority prefix for journald (sd-daemon(3)), then message and facts."""
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.KeyValueRenderer(key_order=["event"]), _prefixed],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def _prefixed(_: Any, method: str, line: Any) -> str:
    return f"<{_PRIORITIES.get(method, 6)}>{line}"
