"""Slots at the connection pool: waiting is first come, first served, and bounded."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from . import metrics
from .errors import DatabaseUnavailable, NestedCheckout, PoolExhausted
from .postgres import translate
from .settings import DatabaseSettings

T = TypeVar("T")


class Slots:
    """As many slots as the pool has connections: first come, first served.

    The pools' own queues let newcomers overtake the requests that wait. A request that has a slot
    finds a connection in the pool.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._semaphore = asyncio.Semaphore(settings.database_pool_size)
        self._timeout = settings.database_pool_timeout
        self._holders: set[asyncio.Task[Any] | None] = set()

    async def checkout(self, connect: Callable[[], Awaitable[T]]) -> T:
        """Wait for a slot, then return what `connect` returns. `release` must follow.

        Raises PoolExhausted after DATABASE_POOL_TIMEOUT seconds, DatabaseUnavailable and
        NestedCheckout.
        """
        if asyncio.current_task() in self._holders:
            raise NestedCheckout("this task already holds a connection: use that one")
        try:
            if self._semaphore.locked():
                async with asyncio.timeout(self._timeout):
                    with metrics.pool_waiting.track_inprogress():
                        await self._semaphore.acquire()
                    return await self._connect(connect)
            await self._semaphore.acquire()
            return await self._connect(connect)  # `connect_options` sets its timeout
        except TimeoutError as error:
            raise PoolExhausted from error
        except Exception as error:
            raise translate(error, is_connected=False) or DatabaseUnavailable() from error

    async def _connect(self, connect: Callable[[], Awaitable[T]]) -> T:
        metrics.pool_in_use.inc()
        self._holders.add(asyncio.current_task())
        try:
            return await connect()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let the request go on that has waited longest."""
        self._holders.discard(asyncio.current_task())
        metrics.pool_in_use.dec()
        self._semaphore.release()
