"""A collector of traces that receives OTLP over HTTP, and may hang."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Span:
    trace_id: str
    span_id: str
    parent_id: str  # "" if it has none
    name: str
    start: int  # nanoseconds
    attributes: dict[str, Any]
    text: str  # everything that the collector knows of it

    @property
    def statement(self) -> str | None:
        return self.attributes.get("db.statement")


def spans_in(body: bytes) -> Iterator[Span]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = {each.key: each.value for each in span.attributes}
                yield Span(
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.name,
                    span.start_time_unix_nano,
                    {key: getattr(x, x.WhichOneof("value")) for key, x in values.items()},
                    f"{resource.resource} {span}",
                )


class Collector:
    """Holds the spans that were received. While `answers` is cleared, requests are not answered."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[Span] = []
        self.requests = 0
        self.answers = threading.Event()
        self.answers.set()

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a service that sends its spans here, without delay."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}

    async def wait_for(self, *names: str) -> list[Span]:
        """Wait until there are spans with these names, and return them in the order of `names`."""
        for _ in range(500):
            by_name = {span.name: span for span in self.received}
            if by_name.keys() >= {*names}:
                return [by_name[name] for name in names]
            await asyncio.sleep(0.02)
        raise AssertionError(f"of {names} only {by_name.keys()} were received")

    def tree(self, root: Span) -> list[Span]:
        """Return the spans below `root`, its children first, in the order of their start."""
        spans = sorted(self.received, key=lambda span: span.start)
        children = [span for span in spans if span.parent_id == root.span_id]
        return [*children, *(below for child in children for below in self.tree(child))]


@contextmanager
def collect() -> Iterator[Collector]:
    """Run a collector until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests += 1
            collector.answers.wait()
            collector.received += spans_in(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield collector
        collector.answers.set()
        server.shutdown()
