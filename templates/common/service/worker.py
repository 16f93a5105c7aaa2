"""gunicorn's worker, which runs uvicorn with the additions that our deployment needs."""

import asyncio
from secrets import token_hex
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

MAX_HEAD_BYTES = 65_536  # The head is the request line and the headers. nginx's limit is lower.
PART_BYTES = 8_192
FIRST_REQUEST_SECONDS = 2
UNIX_SOCKET = "unix"  # The address that we give to clients of the Unix socket.
BAD_REQUEST = b"""{"type": "about:blank", "title": "Bad Request", "status": 400, \
"detail": "This is not valid HTTP, or its line and headers are too long."}"""
BAD_REQUEST_RESPONSE = b"""HTTP/1.1 400 Bad Request\r
Content-Type: application/problem+json\r
Content-Length: %d\r
X-Request-ID: %s\r
Connection: close\r
\r
%s"""


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, changed where uvicorn has no setting for what we need.

    uvicorn's setting `http` accepts such a class. It overrides public methods only. Each of them is
    needed: without it, a test in tests/test_worker.py fails.
    """

    unparsed_bytes = 0  # Received since the last complete head, or the last part of a body.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give an address to clients of the Unix socket, so that `Worker` can trust only them.

        uvicorn decides by a client's address whether it trusts the X-Forwarded headers, but clients
        of a Unix socket have no address.
        """
        super().connection_made(transport)
        self.client = self.client or (UNIX_SOCKET, 0)

    def data_received(self, data: bytes) -> None:
        """Refuse a head that is too long. uvicorn would keep even an endless one in memory.

        One read can be of 256 kB, and so contain a whole head that is too long. Therefore the data
        is parsed in parts, and a head that is a part longer than the limit may be accepted.
        """
        for start in range(0, len(data), PART_BYTES):
            part = data[start : start + PART_BYTES]
            self.unparsed_bytes += len(part)
            super().data_received(part)
            if self.transport.is_closing():
                return
            if self.unparsed_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The request line and headers are too long.")
                return

    def on_headers_complete(self) -> None:
        self.unparsed_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.unparsed_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answer with problem+json and a request id, as the service answers all other errors."""
        request_id = token_hex(16).encode()
        self.transport.write(BAD_REQUEST_RESPONSE % (len(BAD_REQUEST), request_id, BAD_REQUEST))
        self.transport.close()

    def shutdown(self) -> None:
        """Wait a moment for the first request of a connection that has just been accepted.

        uvicorn closes a connection without a request at once when the worker stops. But nginx opens
        a connection for each request, so the request is on its way, and it would be lost.
        """
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()


class Worker(UvicornWorker):
    """uvicorn-worker's worker, with timeouts that agree with those of gunicorn."""

    CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {"http": Protocol}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # uvicorn must cancel unfinished requests, which rolls back their transactions, before
        # gunicorn kills the worker.
        self.config.timeout_graceful_shutdown = max(1, int(self.cfg.graceful_timeout * 0.9))
        trusted = self.cfg.forwarded_allow_ips
        self.config.forwarded_allow_ips = "*" if "*" in trusted else [*trusted, UNIX_SOCKET]
        self.config.root_path = self.cfg.root_path
        # gunicorn's wrappers log an error at a stop if uvloop has closed the sockets in them.
        self.sockets = [listener.sock for listener in self.sockets]
        self.heartbeat: asyncio.Task[None] | None = None

    async def callback_notify(self) -> None:
        """Start the heartbeat, which goes on while the worker finishes its last requests.

        uvicorn stops calling this method when the worker begins to stop. gunicorn kills a worker
        without a heartbeat after `timeout`, even if `graceful_timeout` is longer.
        """
        if self.heartbeat is None:
            self.heartbeat = asyncio.create_task(self.beat())

    async def beat(self) -> None:
        while True:
            self.notify()  # type: ignore[no-untyped-call]
            await asyncio.sleep(1)
