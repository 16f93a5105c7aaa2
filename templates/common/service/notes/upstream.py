"""The client of the API with which notes are synchronized."""

from types import TracebackType
from typing import Self

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from pydantic import ValidationError

from ..logs import request_id
from ..settings import Settings
from .errors import UpstreamFailed, UpstreamTimeout
from .schemas import Content, Note

log = structlog.get_logger()

MAX_BYTES = 2_000_000  # enough for the longest title and body with every character escaped


class Upstream:
    """A pool of connections to the upstream; use it as an async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.upstream_url.rstrip("/")
        self._timeout = ClientTimeout(settings.upstream_timeout)  # for the whole call
        self._connections = settings.upstream_max_connections

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            connector=TCPConnector(limit=self._connections),
            cookie_jar=DummyCookieJar(),  # no cookie of one call goes into the next one
            timeout=self._timeout,
            auto_decompress=False,  # MAX_BYTES limits the bytes that are parsed
        )
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def synchronize(self, note: Note) -> Content:
        """Send a note and return the content that the upstream answers.

        Raises UpstreamTimeout when the whole answer does not arrive within UPSTREAM_TIMEOUT
        seconds, and UpstreamFailed when it is an error, too long or invalid.
        """
        try:
            return Content.model_validate_json(await self._post(note))
        except TimeoutError as error:
            log.warning("upstream failed", cause="no answer in time")
            raise UpstreamTimeout from error
        except (ClientError, ValidationError) as error:
            log.warning("upstream failed", cause=type(error).__name__)
            raise UpstreamFailed from error

    async def _post(self, note: Note) -> bytes:
        request = self._session.post(
            f"{self._url}/notes/{note.id}",
            data=note.model_dump_json(),
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                "X-Request-ID": request_id.get() or "",
            },
            allow_redirects=False,
        )
        body = bytearray()
        async with request as response:
            if not 200 <= response.status < 300:
                log.warning("upstream failed", status=response.status)
                raise UpstreamFailed
            async for part in response.content.iter_any():
                body += part
                if len(body) > MAX_BYTES:
                    log.warning("upstream failed", cause="answer too long")
                    raise UpstreamFailed
        return bytes(body)
