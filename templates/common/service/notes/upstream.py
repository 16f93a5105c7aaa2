"""The client of the API that notes are synchronized with."""

import asyncio
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Self

import httpx2
import structlog
from asgi_correlation_id import correlation_id
from pydantic import ValidationError

from ..settings import Settings
from .errors import UpstreamFailed, UpstreamTimedOut
from .schemas import Content, Note

log = structlog.get_logger()

MAX_BYTES = 2_000_000  # the longest title and body, every character of them escaped


class Upstream:
    """One pool of connections to the upstream, to be used as an async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.upstream_timeout
        connections = settings.upstream_max_connections
        self._client = httpx2.AsyncClient(
            base_url=settings.upstream_url,
            timeout=settings.upstream_timeout,
            # One caller's cookies are not the next one's.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def synchronize(self, note: Note) -> Content:
        """Send a note and return what the upstream makes of it.

        Raises UpstreamTimedOut when the answer is not there, whole, within UPSTREAM_TIMEOUT
        seconds, and UpstreamFailed when it is an error, too long or not as agreed.
        """
        try:
            # One bound for all of it: httpx2's own timeouts start anew with every byte.
            async with asyncio.timeout(self._timeout):
                return Content.model_validate_json(await self._post(note))
        except (TimeoutError, httpx2.TimeoutException) as error:
            log.warning("upstream failed", cause="no answer in time")
            raise UpstreamTimedOut from error
        except (httpx2.HTTPError, ValidationError) as error:
            log.warning("upstream failed", cause=type(error).__name__)
            raise UpstreamFailed from error

    async def _post(self, note: Note) -> bytes:
        request = self._client.stream(
            "POST",
            f"/notes/{note.id}",
            content=note.model_dump_json(),
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",  # what is counted is what is parsed
                "X-Request-ID": correlation_id.get() or "",
            },
        )
        body = bytearray()
        async with request as response:
            if not response.is_success:
                log.warning("upstream failed", status=response.status_code)
                raise UpstreamFailed
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_BYTES:
                    log.warning("upstream failed", cause="answer too long")
                    raise UpstreamFailed
        return bytes(body)
