"""Slots at the connection pool: a request must have one to use a connection of the pool."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Generic, TypeVar

import structlog

from . import metrics
from .connect_failures import explain
from .errors import ConnectTimeout, DatabaseUnavailable, NestedCheckout, PoolExhausted
from .postgres import translate
from .settings import DatabaseSettings

log = structlog.get_logger()

T = TypeVar("T")


class Slots(Generic[T]):
    """As many slots as the pool has connections. Requests wait for them in order of arrival.

    In the pool's own queue newcomers overtake the requests that wait. With a slot a request does
    not wait in that queue, because there is a connection for each slot.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._semaphore = asyncio.Semaphore(settings.database_pool_size)
        self._timeout = settings.database_pool_timeout
        self._holders: dict[T, asyncio.Task[Any] | None] = {}
        self._explained: set[str] = set()
        self._held_since: dict[T, float] = {}

    async def checkout(self, open_connection: Callable[[], Awaitable[T]]) -> T:
        """Wait for a slot, then return what `open_connection` returns: a connection of the pool.

        `release` must follow, unless this raises. A request is refused after DATABASE_POOL_TIMEOUT
        seconds, the time to open a connection included. Raises PoolExhausted, ConnectTimeout,
        DatabaseUnavailable, and NestedCheckout if this task holds a connection already. (A task
        that it has started is another task.)
        """
        if asyncio.current_task() in self._holders.values():
            raise NestedCheckout("this task already holds a connection: use that one")
        started = perf_counter()
        must_wait = self._semaphore.locked()
        try:
            async with asyncio.timeout(self._timeout):
                if must_wait:
                    with metrics.pool_waiting.track_inprogress():
                        await self._semaphore.acquire()
                else:
                    await self._semaphore.acquire()  # a slot is free
                connection = await self._open(open_connection)
        except TimeoutError as error:
            if not must_wait:
                self._log(error)
            raise (PoolExhausted if must_wait else ConnectTimeout) from error
        now = self._held_since[connection] = perf_counter()
        metrics.pool_wait.observe(now - started)
        return connection

    async def _open(self, open_connection: Callable[[], Awaitable[T]]) -> T:
        metrics.pool_in_use.inc()
        try:
            connection = await open_connection()
        except (asyncio.CancelledError, TimeoutError):
            self._free()
            raise
        except Exception as error:
            self._free()
            self._log(error)
            # Whatever prevented the connection, the caller can only try again later.
            raise translate(error, is_usable=False) or DatabaseUnavailable() from error
        self._explained.clear()  # so that the next outage is explained again
        self._holders[connection] = asyncio.current_task()
        return connection

    def _log(self, error: Exception) -> None:
        """Log why no connection was opened and where to look, once for each reason in an outage.

        `errors.py` logs each request that this fails.
        """
        if (explanation := explain(error)) not in self._explained:
            self._explained.add(explanation)
            log.warning("no connection", cause=type(error).__name__, explanation=explanation)

    def release(self, connection: T) -> None:
        """Give the slot of a connection to the request that has waited longest."""
        del self._holders[connection]
        metrics.observe_held(perf_counter() - self._held_since.pop(connection))
        self._free()

    def _free(self) -> None:
        metrics.pool_in_use.dec()
        self._semaphore.release()
