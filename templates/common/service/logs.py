"""Structured logs: JSON in production, colours on a console.

No call of a method of a logger raises, and no value that it gets is lost: a value that JSON cannot
hold is written as its repr, and a field with a name that we need ourselves gets an underscore at its
end. Only `logging` itself refuses an `extra` with a name that it needs, such as "name" or "args".
"""

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from math import isfinite
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from .errors import frames, main_error, postgres_details
from .settings import Settings

# The id of the current request.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

DEEPEST = 50  # levels of lists and dictionaries in a line; what is deeper is written as its repr

# The parameters of structlog's methods, which a caller's fields must not be called.
PARAMETERS = frozenset({"self", "event", "method_name"})
METHODS = ("debug", "info", "msg", "warning", "warn", "error", "critical", "fatal", "exception")

# The attributes of every record of `logging`. uvicorn adds its message in colours.
RECORD = {*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"}

add_stack = structlog.processors.StackInfoRenderer(additional_ignores=[__name__])


def put(event: EventDict, name: str, value: object) -> None:
    """Set a field. If there is one of this name already, that one gets an underscore at its end."""
    if name in event:
        put(event, f"{name}_", event[name])
    event[name] = value


def safe_repr(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr raises {type(error).__name__}>"


def plain(value: Any, parents: tuple[int, ...] = ()) -> Any:
    """Return `value` as JSON can hold it. What JSON does not have is replaced by its repr.

    parents: the ids of the lists and dictionaries around `value`, which it may contain again.
    """
    cls = type(value)  # `isinstance` would ask the value, which may be a proxy of something else
    if value is None or cls is bool or (cls is int and value.bit_length() < 64):
        return value  # These are the most common ones, and the last step is slow.
    if cls is float:
        return value if isfinite(value) else repr(value)  # orjson would write null
    if issubclass(cls, str):  # It may have halves of surrogate pairs.
        return str.encode(value, errors="backslashreplace").decode()
    if issubclass(cls, dict | list) or cls is tuple:
        if id(value) in parents or len(parents) == DEEPEST:
            return plain(safe_repr(value))
        parents = (*parents, id(value))
        if not issubclass(cls, dict):
            return [plain(item, parents) for item in value]
        fields: dict[str, object] = {}
        for key, item in value.items():
            put(fields, str(plain(key)), plain(item, parents))
        return fields
    try:
        # orjson has a form for dates, UUIDs, members of an Enum and dataclasses.
        return orjson.loads(orjson.dumps(value, default=safe_repr, option=orjson.OPT_UTC_Z))
    except Exception:
        return plain(safe_repr(value))


def add_fields(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    for field, value in structlog.contextvars.get_contextvars().items():
        # `event` is the message.
        event.setdefault("event_" if field == "event" else field, value)
    if "stack_info" in event:
        event = add_stack(logger, name, event)
    current = request_id.get()
    if current is not None:
        put(event, "request_id", current)
    put(event, "level", name)
    put(event, "timestamp", datetime.now(UTC))
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
        put(event, "exception", "".join(traceback.format_exception(exception)).rstrip())
    return event


def summarize_exception(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Replace an exception by its type, its frames and the constraint that it names.

    Its message may hold SQL and users' data.
    """
    if "exc_info" in event and (exception := exception_of(event)) is not None:
        exception = main_error(exception)
        put(event, "error", type(exception).__name__)
        put(event, "at", frames(exception))
        for field, value in postgres_details(exception).items():
            put(event, field, value)
    return event


def write_json(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Render a line in one step: a chain of structlog's own processors takes twice as long."""
    put(event, "message", event.pop("event", None))
    try:
        line = orjson.dumps(event, default=safe_repr, option=orjson.OPT_UTC_Z)
    except TypeError:  # a key that is no string, a number of more than 64 bits, a circle
        line = b"null"
    if b"null" in line:  # This may have been a NaN.
        line = orjson.dumps(plain(event), option=orjson.OPT_UTC_Z)
    return line.decode()


def write_text(render: Processor) -> Processor:
    """Return a processor that renders for a console, also what has no repr."""

    def write(logger: WrappedLogger, name: str, event: EventDict) -> Any:
        try:
            return render(logger, name, {**event})
        except Exception:
            return render(logger, name, {key: str(plain(event[key])) for key in event})

    return write


def any_call(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of structlog's logger take calls that it would answer with a TypeError.

    Such calls have a field that is called like a parameter of the method, or arguments that do not
    fit the message.
    """

    @wraps(method)
    def call(self: Any, /, *arguments: Any, **fields: Any) -> Any:
        message, *values = arguments or [fields.pop("event", None)]
        for name in PARAMETERS & fields.keys():
            put(fields, f"{name}_", fields.pop(name))
        bound = structlog.get_context(self)
        if "event" in bound:
            put(fields, "event_", bound["event"])
        if values:
            try:
                one = len(values) == 1 and isinstance(values[0], Mapping)
                message %= values[0] if one else tuple(values)
            except Exception:
                put(fields, "arguments", values)
        return method(self, message, **fields)

    return call


def logger_class(level: int) -> Any:
    """Return structlog's class of loggers for this level, changed so that no call raises."""
    base: Any = structlog.make_filtering_bound_logger(level)

    def method_name(level: int) -> str:
        return str(logging.getLevelName(min(max(level // 10, 1), 5) * 10)).lower()

    def log(self: Any, level: int, /, *arguments: Any, **fields: Any) -> Any:
        return getattr(self, method_name(level))(*arguments, **fields)

    def alog(self: Any, level: int, /, *arguments: Any, **fields: Any) -> Any:
        return getattr(self, f"a{method_name(level)}")(*arguments, **fields)

    methods = [*METHODS, *(f"a{name}" for name in METHODS)]
    wrapped = {name: any_call(getattr(base, name)) for name in methods}
    return type("Logger", (base,), {**wrapped, "log": log, "alog": alog})


class Output(structlog.WriteLogger):
    """Writes lines to standard output. One that cannot be written fails no request."""

    def msg(self, message: str) -> None:
        try:
            super().msg(message)
        except (OSError, ValueError):  # The disk is full, or nobody reads our output any more.
            with suppress(Exception):
                traceback.print_exc()  # as `logging` does

    debug = info = warning = error = critical = msg


class LibraryFormatter(logging.Formatter):
    """Formats the lines of libraries like those of the service."""

    def __init__(self, processors: Iterable[Processor]) -> None:
        super().__init__()
        self.processors = processors

    def format(self, record: logging.LogRecord) -> str:
        # What a library passes as `extra` is in the attributes of the record.
        event: Any = {str(key): vars(record)[key] for key in vars(record) if key not in RECORD}
        try:
            put(event, "event", record.getMessage())
        except Exception:  # The arguments do not fit the message.
            put(event, "event", record.msg)
            put(event, "arguments", record.args)
        if record.exc_info:
            put(event, "exc_info", record.exc_info)
        if record.stack_info:
            put(event, "stack", record.stack_info)
        for process in self.processors:
            event = process(None, record.levelname.lower(), event)
        return str(event)


def configure(settings: Settings) -> None:
    """Write the logs of this service and its libraries to standard output, one line an event.

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
        processors += [add_traceback, write_text(console)]
    structlog.configure(
        processors=processors,
        wrapper_class=logger_class(level),
        logger_factory=lambda *_: Output(sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(LibraryFormatter(processors))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    # RequestLogMiddleware writes the line of each request. Without a handler, uvicorn's own is off.
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
    logging.getLogger("alembic").setLevel(max(level, logging.WARNING))
