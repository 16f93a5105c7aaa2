"""Structured logs: JSON in production, colours on a console.

Logging must not fail a request: a line that cannot be written is reported on standard error. No value
of a line is lost: one that JSON cannot hold is written as its repr, and a field whose name we need
ourselves gets an underscore at its end. Only `logging` itself raises, for an `extra` with a name that
it needs, such as "name" or "args".
"""

import io
import logging
import sys
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .errors import frames, main_error, postgres_details
from .json_values import safe_repr, set_field, to_json_value
from .settings import Settings

# The id of the current request.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

ROOT = logging.getLogger()
LEVELS = ("debug", "info", "warning", "error", "critical")  # the numbers 10, 20, 30, 40, 50

# The attributes of every record of `logging`. uvicorn adds its message in colours.
RECORD_ATTRIBUTES = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}

add_stack = structlog.processors.StackInfoRenderer(additional_ignores=[__name__])


def add_fields(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Add the fields that every line has."""
    for field, value in structlog.contextvars.get_contextvars().items():
        # `event` is the message.
        event.setdefault("event_" if field == "event" else field, value)
    if "stack_info" in event:
        event = add_stack(logger, name, event)
    current = request_id.get()
    if current is not None:
        set_field(event, "request_id", current)
    set_field(event, "level", name)
    set_field(event, "timestamp", datetime.now(UTC))
    return event


def exception_of(event: EventDict) -> BaseException | None:
    """Take the exception out of `exc_info`, which may also be True or what `sys.exc_info` returns."""
    exc_info = event.pop("exc_info", None)
    if exc_info and not isinstance(exc_info, BaseException | tuple):
        exc_info = sys.exc_info()
    parts = exc_info if isinstance(exc_info, tuple) else (exc_info,)
    return next((part for part in parts if isinstance(part, BaseException)), None)


def add_traceback(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    if "exc_info" in event and (exception := exception_of(event)) is not None:
        set_field(event, "exception", "".join(traceback.format_exception(exception)).rstrip())
    return event


def summarize_exception(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Replace an exception by its type, its frames and the constraint that it names.

    Its message may hold SQL and users' data.
    """
    if "exc_info" in event and (exception := exception_of(event)) is not None:
        exception = main_error(exception)
        set_field(event, "error", type(exception).__name__)
        set_field(event, "at", frames(exception))
        for field, value in postgres_details(exception).items():
            set_field(event, field, value)
    return event


def write_json(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Render a line in one step: a chain of structlog's own processors takes twice as long."""
    set_field(event, "message", event.pop("event", None))
    try:
        line = orjson.dumps(event, default=safe_repr, option=orjson.OPT_UTC_Z)
    except TypeError:  # a key that is no string, a number of more than 64 bits, a circle
        line = b"null"
    if b"null" in line:  # This may have been a NaN.
        line = orjson.dumps(to_json_value(event), option=orjson.OPT_UTC_Z)
    return line.decode()


def to_texts(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Replace all values by texts, because structlog's console cannot write every value."""
    return {field: str(to_json_value(value)) for field, value in event.items()}


class Logger(structlog.BoundLoggerBase):
    """Has the methods of structlog's loggers, none of which raises for a message or a field.

    structlog calls a class like this a custom wrapper. It logs what the root logger's level allows.
    """

    def is_enabled_for(self, level: int) -> bool:
        return ROOT.isEnabledFor(level)

    def get_effective_level(self) -> int:
        return ROOT.getEffectiveLevel()

    def log(self, level: int, /, *arguments: Any, **fields: Any) -> None:
        if not ROOT.isEnabledFor(level):
            return
        message, *values = arguments or [fields.pop("event", None)]
        fields = {**structlog.get_context(self), **fields}
        if values:
            try:
                is_mapping = len(values) == 1 and isinstance(values[0], Mapping)
                message %= values[0] if is_mapping else tuple(values)
            except Exception:  # The values do not fit the message.
                set_field(fields, "arguments", values)
        set_field(fields, "event", message)
        # A number between two levels has the name of the lower one: 25 is "info".
        name = LEVELS[min(max(level // 10, 1), 5) - 1]
        try:
            line, options = self._process_event(name, None, fields)
            self._logger.msg(*line, **options)
        except structlog.DropEvent:
            pass
        except Exception:  # The disk is full, or nobody reads our output any more.
            with suppress(Exception):
                traceback.print_exc()  # as `logging` does

    debug = partialmethod(log, logging.DEBUG)
    info = msg = partialmethod(log, logging.INFO)
    warning = warn = partialmethod(log, logging.WARNING)
    error = partialmethod(log, logging.ERROR)
    critical = fatal = partialmethod(log, logging.CRITICAL)

    def exception(self, /, *arguments: Any, **fields: Any) -> None:
        self.log(logging.ERROR, *arguments, **{"exc_info": True, **fields})

    async def alog(self, level: int, /, *arguments: Any, **fields: Any) -> None:
        self.log(level, *arguments, **fields)

    adebug = partialmethod(alog, logging.DEBUG)
    ainfo = amsg = partialmethod(alog, logging.INFO)
    awarning = awarn = partialmethod(alog, logging.WARNING)
    aerror = partialmethod(alog, logging.ERROR)
    acritical = afatal = partialmethod(alog, logging.CRITICAL)

    async def aexception(self, /, *arguments: Any, **fields: Any) -> None:
        self.exception(*arguments, **fields)


class LibraryFormatter(logging.Formatter):
    """Formats the lines of libraries like those of the service."""

    def __init__(self, processors: Iterable[Processor]) -> None:
        super().__init__()
        self.processors = processors

    def format(self, record: logging.LogRecord) -> str:
        # What a library passes as `extra` is in the attributes of the record.
        names = [name for name in vars(record) if name not in RECORD_ATTRIBUTES]
        event: Any = {str(name): vars(record)[name] for name in names}
        try:
            set_field(event, "event", record.getMessage())
        except Exception:  # The arguments do not fit the message.
            set_field(event, "event", record.msg)
            set_field(event, "arguments", record.args)
        if record.exc_info:
            set_field(event, "exc_info", record.exc_info)
        if record.stack_info:
            set_field(event, "stack", record.stack_info)
        for process in self.processors:
            event = process(None, record.levelname.lower(), event)
        return str(event)


def configure(settings: Settings) -> None:
    """Write the logs of this service and its libraries to standard output, one line per event.

    Tracebacks are shown on a console, and in JSON at the level `debug`.
    """
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    processors: list[Processor] = [add_fields]
    if settings.otel_exporter_otlp_endpoint:
        from .tracing import add_trace_ids

        processors.append(add_trace_ids)
    if settings.log_format == "json":
        processors += [add_traceback if level == logging.DEBUG else summarize_exception, write_json]
    else:
        console = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
        processors += [add_traceback, to_texts, console]
    structlog.configure(
        processors=processors,
        wrapper_class=Logger,
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LibraryFormatter(processors))
    ROOT.handlers = [handler]
    ROOT.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    # RequestLogMiddleware writes the line of each request. Without a handler, uvicorn's own is off.
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
