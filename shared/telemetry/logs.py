"""Structured logs: constant event names, facts as fields."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog

WITHOUT_VALUES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
"""Where an error came from, but not what the variables were: some of them are secrets."""


def configure_logs(stream: TextIO = sys.stderr, *, level: int = logging.INFO) -> None:
    """Write one JSON object a line to ``stream``."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(WITHOUT_VALUES),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
