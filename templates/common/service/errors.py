"""The failures a caller should hear of, answered as problem+json (RFC 9457)."""

import traceback
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from json import dumps
from typing import Any, ClassVar, Literal

import structlog
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

log = structlog.get_logger()


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    place: Literal["body", "path", "query", "header"] = Field(alias="in")
    pointer: str = Field(description="JSON Pointer (RFC 6901) to it within `in`.")
    detail: str


class Problem(BaseModel):
    """What every answer above 399 says."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Fault] | None = Field(None, description="Only where the status is 422.")


class ServiceError(Exception):
    """A failure with an answer of its own."""

    status: ClassVar[int]
    detail: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}


class InvalidRequest(ServiceError):
    """The request is not what the API describes."""

    status = 422
    detail = "The request is not valid: see errors."

    def __init__(self, faults: Sequence[dict[str, str]]) -> None:
        self.faults = faults


class DatabaseUnavailable(ServiceError):
    """The database cannot answer now."""

    status = 503
    detail = "The database is not available: try again later."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class PoolExhausted(DatabaseUnavailable):
    detail = "No database connection became free in time: try again later."


class StatementTimeout(DatabaseUnavailable):
    detail = "The database took too long: try again later."


class DatabaseReadOnly(DatabaseUnavailable):
    detail = "The database takes no changes at the moment: try again later."


class TransactionConflict(DatabaseUnavailable):
    """A concurrent change made the statement fail, so the transaction may be tried again."""

    detail = "Too many changes at once: try again later."


class NestedCheckout(RuntimeError):
    """A task that holds a connection asked for another one, so it might wait for itself."""


class TransactionNotCommitted(RuntimeError):
    """A statement of the transaction failed and its error was swallowed, so nothing is stored."""


def fault(place: str, location: Iterable[object], detail: str) -> dict[str, str]:
    """Describe what is wrong at `location` without repeating what was sent there."""
    steps = (str(step).replace("~", "~0").replace("/", "~1")[:100] for step in location)
    return {"in": place, "pointer": "".join(f"/{step}" for step in steps), "detail": detail}


def faults(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Translate pydantic's errors, whose locations begin with body, path, query or header."""
    found = []
    for error in errors:
        where, *location = error["loc"]
        detail = error["msg"].removeprefix("Value error, ")
        if where == "body" and not location and error["type"] != "value_error":
            detail = "This must be a JSON object, sent as application/json."
        found.append(fault(where, location, detail))
    return found


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[dict[str, str]] | None = None,
) -> Response:
    """Answer with a problem of the generic type, whose title is the status's own."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        content["errors"] = errors
    return Response(dumps(content), status, headers, "application/problem+json")


DETAILS = {
    404: "There is nothing at this path.",
    405: "This path does not take this method: see Allow.",
    413: "The body is larger than this service accepts.",
}


async def on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if isinstance(error, DatabaseUnavailable):
        # Not the cause's message: it may hold SQL, values or the server's address.
        cause = error.__cause__
        log.warning(
            "unavailable",
            reason=type(error).__name__,
            cause=type(cause).__name__ if cause else None,
            sqlstate=getattr(cause, "sqlstate", None),
        )
    found = error.faults if isinstance(error, InvalidRequest) else None
    return problem(error.status, error.detail, error.headers, found)


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, dict(error.headers or {})
    if status == 405:
        headers["Allow"] = ", ".join(sorted(methods(request)))
    return problem(status, DETAILS.get(status, error.detail), headers)


def methods(request: Request) -> set[str]:
    """Collect what a path takes, of which the router tells only its first route's."""
    found: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found


def frames(error: BaseException) -> list[str]:
    """Tell where `error` came from."""
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-8:]
    ]


def unexpected(error: Exception) -> Response:
    """Log where `error` came from, once, and answer 500."""
    log.error(
        "unexpected error",
        error=type(error).__name__,
        at=frames(error),
    )
    # The message may hold SQL and what users wrote, so it is for debugging only.
    log.debug("unexpected error", exc_info=error)
    return problem(500, "The service failed: its log tells why, by the request id.")


handlers: Mapping[Any, Any] = {
    ServiceError: on_service_error,
    HTTPException: on_http_exception,
}
