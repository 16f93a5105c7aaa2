"""The errors that callers see, answered as problem+json (RFC 9457)."""

import os
import traceback
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from json import dumps
from pathlib import Path
from typing import Any, ClassVar, Literal

import structlog
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from . import metrics
from .route_table import route_path, route_table

log = structlog.get_logger()

PACKAGE = f"{Path(__file__).parent}{os.sep}"


class ValidationProblem(BaseModel):
    """One part of a request that is not valid."""

    place: Literal["body", "path", "query", "header"] = Field(alias="in")
    pointer: str = Field(description="JSON Pointer (RFC 6901) to the part within `in`.")
    detail: str


class Problem(BaseModel):
    """The body of every answer with a status of 400 or more."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ValidationProblem] = Field(
        default_factory=list, description="Only where the status is 422."
    )


class ServiceError(Exception):
    """An error that is reported to the caller. Raise it anywhere in a handler.

    The answer has its `status` and `detail`.
    """

    status: ClassVar[int]
    detail: ClassVar[str]
    headers: ClassVar[Mapping[str, str]] = {}


class InvalidRequest(ServiceError):
    """The request does not match the description of the API."""

    status = 422
    detail = "The request is not valid: see errors."

    def __init__(self, problems: Sequence[dict[str, str]]) -> None:
        self.problems = problems


class NotAuthenticated(ServiceError):
    """The request does not prove who sends it."""

    status = 401
    detail = "This needs a valid access token, sent as Authorization: Bearer <token>."
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    """The sender of the request is known, but may not do this."""

    status = 403
    detail = "You may not do this."


class DatabaseUnavailable(ServiceError):
    """The database cannot answer now."""

    status = 503
    detail = "The database is not available: try again later."
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}

    def __init_subclass__(cls) -> None:
        # Shown as 0 from the start. Otherwise Prometheus would not see that the first one is new.
        metrics.unavailable.labels(cls.__name__)


metrics.unavailable.labels(DatabaseUnavailable.__name__)


class PoolExhausted(DatabaseUnavailable):
    detail = "No database connection became free in time: try again later."


class ConnectTimeout(DatabaseUnavailable):
    detail = "The database did not accept a new connection in time: try again later."


class StatementTimeout(DatabaseUnavailable):
    detail = "The database took too long: try again later."


class DatabaseReadOnly(DatabaseUnavailable):
    detail = "The database is read-only at the moment: try again later."


class TransactionConflict(DatabaseUnavailable):
    """A concurrent change was in the way. What failed may be tried again, see retry.py."""

    detail = "Too many changes at once: try again later."


class StatementOutdated(TransactionConflict):
    """A table or a type was altered after the statement had been prepared."""

    detail = "The database was altered at this moment: try again later."


class ConstraintViolation(ServiceError):
    """A constraint of the database refuses the change: see constraints.py."""

    status = 409
    detail = "The change conflicts with what is stored."


class UniqueViolation(ConstraintViolation):
    detail = "A value that must be unique is used already."


class ForeignKeyViolation(ConstraintViolation):
    detail = "The change refers to something that does not exist, or removes what is referred to."


class ExclusionViolation(ConstraintViolation):
    detail = "The change overlaps with something that is stored."


class ValueRefused(InvalidRequest):
    """The database refuses a value. PostgreSQL does not say in which field: a pydantic model can.

    The answer names the body, although the value may have come from the path or the query.
    """

    reason: ClassVar[str]

    def __init__(self) -> None:
        super().__init__([validation_problem("body", [], self.reason)])


class ValueMissing(ValueRefused):
    reason = "a value is missing or null"


class ValueNotAllowed(ValueRefused):
    reason = "a value is not allowed"


class CharacterNotAllowed(ValueRefused):
    reason = "a string contains a character that cannot be stored"


class TextTooLong(ValueRefused):
    reason = "a string is too long"


class NumberOutOfRange(ValueRefused):
    reason = "a number is out of range"


class NestedCheckout(RuntimeError):
    """A task that holds a connection asked for another one, so it might wait for itself."""


class TransactionNotCommitted(RuntimeError):
    """A statement of the transaction failed and its error was swallowed, so nothing is stored."""


# pydantic's types of error for a body that is no JSON object.
NOT_AN_OBJECT = ("missing", "model_type", "model_attributes_type", "dict_type")


def validation_problem(place: str, location: Iterable[object], detail: str) -> dict[str, str]:
    """Describe the problem at `location` without repeating the input."""
    steps = (str(step).replace("~", "~0").replace("/", "~1")[:100] for step in location)
    return {"in": place, "pointer": "".join(f"/{step}" for step in steps), "detail": detail}


def validation_problems(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Translate pydantic's errors, whose locations begin with body, path, query or header."""
    problems = []
    for error in errors:
        place, *location = error["loc"]
        detail = error["msg"].removeprefix("Value error, ")
        if place == "body" and not location and error["type"] in NOT_AN_OBJECT:
            detail = "This must be a JSON object, sent as application/json."
        problems.append(validation_problem(place, location, detail))
    return problems


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[dict[str, str]] | None = None,
) -> Response:
    """Return a problem of the generic type, whose title is the phrase of its status."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if errors is not None:
        content["errors"] = errors
    return Response(dumps(content), status, headers, "application/problem+json")


# The framework's own errors only repeat the phrase of their status. These details replace it.
DETAILS = {
    404: "There is nothing at this path.",
    405: "This path does not take this method: see Allow.",
    413: "The body is larger than this service accepts.",
}


async def on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    # The message of the cause is left out: it may hold SQL, values or the server's address.
    details = postgres_details(error)
    if isinstance(error, DatabaseUnavailable):
        cause = type(error.__cause__).__name__ if error.__cause__ else None
        reason = type(error).__name__
        metrics.unavailable.labels(reason).inc()
        log.warning("unavailable", reason=reason, cause=cause, **details)
    elif details:
        log.info("refused by the database", reason=type(error).__name__, **details)
    problems = error.problems if isinstance(error, InvalidRequest) else None
    return problem(error.status, error.detail, error.headers, problems)


async def on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status, headers = error.status_code, dict(error.headers or {})
    if status == 405:
        # The router knows the methods of the first route with this path only.
        methods = route_table(request.app).methods(route_path(request.scope))
        if "GET" in methods:
            methods.add("HEAD")
        headers["Allow"] = ", ".join(sorted(methods))
    says_nothing = error.detail == HTTPStatus(status).phrase
    detail = DETAILS.get(status, error.detail) if says_nothing else error.detail
    return problem(status, detail, headers)


async def on_exception_group(request: Request, error: Exception) -> Response:
    main = main_error(error)
    if isinstance(main, ServiceError):
        return await on_service_error(request, main)
    if isinstance(main, HTTPException):
        return await on_http_exception(request, main)
    raise error  # it is unexpected


def on_authentication_error(connection: HTTPConnection, error: Exception) -> Response:
    """Answer 401. Starlette's middleware for authentication takes this function as `on_error`."""
    return problem(NotAuthenticated.status, NotAuthenticated.detail, NotAuthenticated.headers)


def main_error(error: BaseException) -> BaseException:
    """Return the error that stands for a group of errors, or `error` itself if it is no group.

    `asyncio.TaskGroup` raises a group, even of one error. An unexpected error that is not PostgreSQL's
    stands for the group: it is a bug, and gets into the log. If there is none, the first unexpected
    error stands for it, or else the first error.
    """
    while isinstance(error, BaseExceptionGroup):
        _, unexpected = error.split((ServiceError, HTTPException))
        candidates = (unexpected or error).exceptions
        bugs = (candidate for candidate in candidates if not postgres_details(candidate))
        error = next(bugs, candidates[0])
    return error


def postgres_details(error: BaseException | None) -> dict[str, str]:
    """Return the SQLSTATE, schema, table, column and constraint that PostgreSQL's error names.

    error: an error of asyncpg, or one that was raised `from` it. Other errors have no details.
    """
    seen: set[int] = set()  # An error can be its own cause.
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error = main_error(error)
        if hasattr(error, "constraint_name"):
            break
        error = error.__cause__
    fields = {
        "sqlstate": "sqlstate",
        "schema": "schema_name",
        "table": "table_name",
        "column": "column_name",
        "constraint": "constraint_name",
    }
    details = {name: getattr(error, field, None) for name, field in fields.items()}
    return {name: value for name, value in details.items() if value}


def frames(error: BaseException) -> list[str]:
    """Return where `error` was raised: the last 8 frames of this package, and the last frame of all.

    Those of libraries in between are left out: there may be more than twenty.
    """
    stack = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in stack[:-1] if frame.filename.startswith(PACKAGE)]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in [*own[-8:], *stack[-1:]]]


def unexpected(error: Exception) -> Response:
    """Log `error`, and return a 500. Report it to an error tracker, such as Sentry, here."""
    log.error("unexpected error", exc_info=error)
    return problem(500, "The service failed. Its log has the reason under the request id.")


handlers: Mapping[Any, Any] = {
    ServiceError: on_service_error,
    HTTPException: on_http_exception,
    ExceptionGroup: on_exception_group,
}
