"""The schema, read off the routes and their models."""

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar, cast

from openapi_pydantic import (
    Info,
    Link,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    RequestBody,
    Response,
)
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from .errors import Problem

Handler = TypeVar("Handler", bound=Callable[..., Any])

LINES = {"type": "array", "items": {"type": "string"}}  # of a header


def describe(
    request: type[BaseModel] | None = None,
    *,
    status: int = 200,
    answer: type[BaseModel] | None = None,
    headers: Sequence[str] = (),
    links: Mapping[str, Any] | None = None,
    problems: Sequence[int] = (),
    tag: str,
) -> Callable[[Handler], Handler]:
    """Say what a handler takes and answers; its docstring says what it does.

    request: a model as for `requests.read`. headers: the names of those it heeds.
    links: where its answer leads.
    """

    def attach(handler: Handler) -> Handler:
        answered = response(status, "application/json", answer)
        if links:
            answered.links = {name: Link.model_validate(link) for name, link in links.items()}
        responses = {str(status): answered}
        if "If-None-Match" in headers:
            responses["304"] = response(304, "application/json", None)
        for problem in problems:
            responses[str(problem)] = response(problem, "application/problem+json", Problem)
        handler.operation = Operation(  # type: ignore[attr-defined]
            tags=[tag],
            summary=handler.__name__.replace("_", " ").capitalize(),
            description=handler.__doc__,
            operationId=handler.__name__,
            parameters=[
                *(parameters(request, "path") if request else []),
                *(parameters(request, "query") if request else []),
                *(header(name) for name in headers),
            ],
            requestBody=body(request) if request else None,
            responses=responses,
        )
        return handler

    return attach


def response(status: int, kind: str, model: type[BaseModel] | None) -> Response:
    content = {kind: media(model)} if model else None
    return Response(description=HTTPStatus(status).phrase, content=content)


def media(model: type[BaseModel]) -> MediaType:
    return MediaType(media_type_schema=PydanticSchema(schema_class=model))


def header(name: str) -> Parameter:
    return parameter(name, "header", LINES, required=False)


def parameter(name: str, place: str, schema: dict[str, Any], *, required: bool) -> Parameter:
    described = {"name": name, "in": place, "required": required, "schema": schema}
    return Parameter.model_validate(described)


def part_of(request: type[BaseModel], place: str) -> type[BaseModel] | None:
    field = request.model_fields.get(place)
    return cast("type[BaseModel] | None", field and field.annotation)


def parameters(request: type[BaseModel], place: str) -> list[Parameter]:
    part = part_of(request, place)
    if part is None:
        return []
    model = part.model_json_schema()
    return [
        parameter(name, place, schema, required=name in model.get("required", []))
        for name, schema in model["properties"].items()
    ]


def body(request: type[BaseModel]) -> RequestBody | None:
    part = part_of(request, "body")
    if part is None:
        return None
    return RequestBody(content={"application/json": media(part)}, required=True)


def openapi(routes: Sequence[BaseRoute], title: str, description: str) -> dict[str, Any]:
    """Describe every route whose handler is decorated with `describe`."""
    paths: dict[str, PathItem] = {}
    for route in routes:
        operation = getattr(getattr(route, "endpoint", None), "operation", None)
        if isinstance(route, Route) and operation is not None:
            item = paths.setdefault(route.path, PathItem())
            for method in (route.methods or set()) - {"HEAD"}:
                setattr(item, method.lower(), operation)
    schema = OpenAPI(info=Info(title=title, description=description, version="0.1.0"), paths=paths)
    complete = construct_open_api_with_schema_class(schema)
    # Its defaults are left out: some of them are not allowed where they stand.
    described = complete.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True)
    # To it all numbers are floats, such as 9.2e18, which is 2**63 to some readers only.
    exact = json.loads(described, parse_float=whole)
    return {"openapi": complete.openapi, **exact}


def whole(number: str) -> float:
    value = float(number)
    return int(value) if value.is_integer() else value
