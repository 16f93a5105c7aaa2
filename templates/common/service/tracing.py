"""Traces by OpenTelemetry: a span for each request, with one for each statement and call in it.

This module is imported only if OTEL_EXPORTER_OTLP_ENDPOINT is set. For a span of your own:

    with trace.get_tracer(__name__).start_as_current_span("the name"):
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor  # The example
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import EventDict, WrappedLogger

from .json_values import set_field
from .middleware import METHODS, PROBES
from .route_table import route_path, route_table

log = structlog.get_logger()

FLUSH_SECONDS = 5  # for the last spans, when the process stops
# An error's message may hold what users wrote, and its traceback ends with the message.
NOT_EXPORTED = frozenset({"exception.message", "exception.stacktrace"})


class TracingMiddleware:
    """Opens a span for each request, as a child of the caller's span if there is one.

    Probes have none, and neither do their statements, because they would be most of all traces.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.tracer = trace.get_tracer(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = route_path(scope)
        if path in PROBES:
            with suppress_instrumentation():
                await self.app(scope, receive, send)
            return
        # The same labels as in the log and the metrics.
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = route_table(scope["app"]).template(method, path)
        with self.tracer.start_as_current_span(
            f"{method} {route}",
            context=propagate.extract(Headers(scope=scope)),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "http.route": route,
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
            },
        ) as span:

            async def send_with_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            await self.app(scope, receive, send_with_status)


def add_trace_ids(logger: WrappedLogger, name: str, event: EventDict) -> EventDict:
    """Add the ids of the current span to a log line."""
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        set_field(event, "trace_id", trace.format_trace_id(span.trace_id))
        set_field(event, "span_id", trace.format_span_id(span.span_id))
    return event


def without_messages(span: ReadableSpan) -> ReadableSpan:
    """Return the span without the messages of errors, but with the errors' types."""
    if not span.events and not span.status.description:
        return span
    events = []
    for event in span.events:
        attributes = event.attributes or {}
        kept = {name: attributes[name] for name in attributes.keys() - NOT_EXPORTED}
        events.append(Event(event.name, kept, event.timestamp))
    error_type, _, _ = (span.status.description or "").partition(":")
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        span.attributes,
        events,
        span.links,
        span.kind,
        status=Status(span.status.status_code, error_type or None),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class Exporter(OTLPSpanExporter):
    """Sends spans without messages of errors, and logs once when the collector does not take them.

    It runs in a thread of its own, so requests do not wait for it.
    """

    is_failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export([without_messages(span) for span in spans])
        was_failing, self.is_failing = self.is_failing, result is not SpanExportResult.SUCCESS
        if self.is_failing and not was_failing:
            log.warning("traces are lost: the collector does not take them")
        return result


@asynccontextmanager
async def export_traces(endpoint: str) -> AsyncIterator[None]:
    """Send the spans of this process to the collector until the block ends.

    The queue of spans is bounded: when the collector does not keep up, spans are lost.
    """
    instrumentors: list[Any] = [
        AsyncPGInstrumentor(),  # type: ignore[no-untyped-call]
        AioHttpClientInstrumentor(),  # The example
    ]
    # OpenTelemetry reads the OTEL_ variables itself, but not from `.env`.
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    # The environment may set another name.
    default = Resource.create({SERVICE_NAME: __name__.partition(".")[0]})
    resource = default.merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Exporter()))
    trace.set_tracer_provider(provider)
    for instrumentor in instrumentors:
        instrumentor.instrument()
    # From here on it would log each attempt to reach the collector. `Exporter` logs the first one.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()
        # It sends the last spans, and may wait half a minute for the collector. Nothing waits for a
        # daemon thread when the process ends.
        flush = threading.Thread(target=provider.shutdown, daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, FLUSH_SECONDS)
