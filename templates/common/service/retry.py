"""Transactions that collided with another are tried again."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import stamina

from .errors import Collision

P = ParamSpec("P")
T = TypeVar("T")


def retry_on_conflict(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Run `function` again, up to three times more, if its transaction collided.

    It must open the transaction itself (what is retried is the whole of it), and do nothing but
    ask the database: an upstream would be called again as well.
    """

    @wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except Collision:
            pass
        async for attempt in stamina.retry_context(
            on=Collision, attempts=3, wait_initial=0.01, wait_max=0.1, wait_jitter=0.05
        ):
            with attempt:
                return await function(*args, **kwargs)
        raise AssertionError("unreachable: the last attempt returns or raises")

    return wrapper
