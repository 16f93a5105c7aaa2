"""Structured logs: JSON in production, colours on a console."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .errors import frames
from .settings import Settings

# Of the request that is being answered.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def add_request_id(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    own = request_id.get()
    if own is not None:
        event["request_id"] = own
    return event


def write_json(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Render a line, all at once: structlog's processors for it take as long again."""
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, name, event)
    event["timestamp"] = datetime.now(UTC)
    event["message"] = event.pop("event")
    return orjson.dumps(event, default=repr, option=orjson.OPT_UTC_Z).decode()


def hide_exception(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Tell of an exception in a library's line what it is and where from, but not what it says."""
    exception = event.pop("exc_info", None)
    if isinstance(exception, tuple) and exception[1] is not None:
        event["error"], event["at"] = exception[0].__name__, frames(exception[1])
    return event


def configure(settings: Settings) -> None:
    """Send what this service and its libraries log to standard output, a line an event."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        add_request_id,
        structlog.stdlib.add_log_level,
    ]
    render: list[Processor]
    if settings.log_format == "json":
        render = [write_json]
    else:
        render = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty()),
        ]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            # It may hold SQL and what users wrote, so its text is for debugging only.
            foreign_pre_chain=[*shared, *([hide_exception] if level > logging.DEBUG else [])],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    # A line a request is written by `Requests`; without a handler to reach, uvicorn's own is off.
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
    # The pool replaces what it lost; that a request failed is said by ours, without a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    # Each of these tells of every request or statement at `info`.
    for name in ("alembic", "sqlalchemy.engine"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
