"""Slots at the connection pool: whoever has one may use a connection of the pool."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from . import metrics
from .errors import ConnectTimeout, DatabaseUnavailable, NestedCheckout, PoolExhausted
from .postgres import translate
from .settings import DatabaseSettings

T = TypeVar("T")


class Slots:
    """As many slots as the pool has connections. Requests wait for them in order of arrival.

    In the pool's own queue newcomers overtake the requests that wait. With a slot a request does
    not wait in that queue, because there is a connection for each slot.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._semaphore = asyncio.Semaphore(settings.database_pool_size)
        self._timeout = settings.database_pool_timeout
        self._holders: set[asyncio.Task[Any] | None] = set()

    async def checkout(self, open_connection: Callable[[], Awaitable[T]]) -> T:
        """Wait for a slot, then return what `open_connection` returns. `release` must follow.

        A request that waits is refused after DATABASE_POOL_TIMEOUT seconds, the time to open a
        connection included. Raises PoolExhausted, DatabaseUnavailable, and NestedCheckout if this
        task holds a slot already. (A task that it has started is another one.)
        """
        if asyncio.current_task() in self._holders:
            raise NestedCheckout("this task already holds a connection: use that one")
        if not self._semaphore.locked():
            await self._semaphore.acquire()  # this does not wait, because a slot is free
            return await self._open(open_connection)  # `connect_options` sets its timeouts
        try:
            async with asyncio.timeout(self._timeout):
                with metrics.pool_waiting.track_inprogress():
                    await self._semaphore.acquire()
                return await self._open(open_connection)
        except TimeoutError as error:
            raise PoolExhausted from error

    async def _open(self, open_connection: Callable[[], Awaitable[T]]) -> T:
        metrics.pool_in_use.inc()
        self._holders.add(asyncio.current_task())
        try:
            return await open_connection()
        except asyncio.CancelledError:
            self.release()
            raise
        except Exception as error:
            self.release()
            if isinstance(error, TimeoutError):
                raise ConnectTimeout from error
            # Whatever prevented the connection, the caller can only try again later.
            raise translate(error, is_usable=False) or DatabaseUnavailable() from error

    def release(self) -> None:
        """Give the slot back, to the request that has waited longest.

        A block must end in the task in which it began.
        """
        self._holders.discard(asyncio.current_task())
        metrics.pool_in_use.dec()
        self._semaphore.release()
