"""Retries what conflicted with a concurrent change."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from .errors import TransactionConflict

P = ParamSpec("P")
T = TypeVar("T")

DELAYS = (0.01, 0.05, 0.1)  # seconds before the second, third and fourth attempt, at most


def retry_on_conflict(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Call `function` again, up to three more times, when it raises TransactionConflict.

    The function must open the block of `connection()` or `transaction()` itself, because the whole
    block is repeated. It must not call anything except the database: another service would be
    called again as well. For an `asyncio.TaskGroup`, decorate what each of its tasks calls: one may
    have committed when another one conflicts.
    """

    @wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        for delay in DELAYS:
            try:
                return await function(*args, **kwargs)
            except TransactionConflict:
                # A random pause, so that the two transactions do not meet again.
                await asyncio.sleep(random.uniform(0, delay))  # noqa: S311
        return await function(*args, **kwargs)

    return wrapper
