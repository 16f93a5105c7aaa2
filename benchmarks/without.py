"""The service without one of the things that it does at every request; WITHOUT names which.

Only to weigh what each costs: nobody serves this.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import service.app
from service import logs, metrics, middleware

DROPPED = os.environ["WITHOUT"]


class Nothing:
    """What is counted, observed or kept here is forgotten."""

    def inc(self, amount: float = 1) -> None:
        pass

    dec = observe = set = inc

    def get(self) -> None:
        return None

    def track_inprogress(self) -> AbstractContextManager[None]:
        return nullcontext()


nothing = Nothing()


def answered(method: str, route: str, status: int) -> tuple[Nothing, Nothing]:
    return nothing, nothing


def others(settings: Any) -> list[Any]:
    """List the middleware, but for what is dropped."""
    return [each for each in listed(settings) if each.cls is not dropped]


if DROPPED == "metrics":
    metrics.answered = answered
    metrics.pool_in_use = metrics.pool_waiting = nothing
elif DROPPED == "request ids":
    middleware.getrandbits = lambda bits: 0
    middleware.request_id = logs.request_id = nothing
elif DROPPED:
    dropped, listed = getattr(middleware, DROPPED), middleware.middleware
    service.app.middleware = others

from service.main import app  # noqa: E402

__all__ = ["app"]
