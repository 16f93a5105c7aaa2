"""The OpenAPI schema, made from the routes and their models."""

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
from starlette.routing import BaseRoute, compile_path

from .errors import Problem
from .routing import flatten

Handler = TypeVar("Handler", bound=Callable[..., Any])


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
    """Describe what a handler takes and answers; its docstring describes what it does.

    request: a model as for `requests.read`. headers: the names of the headers that it reads.
    links: where its answer leads. problems: the statuses of the errors that it answers.

    The operation is named by the tag and the handler, such as "books-get_book", so two domains may
    have handlers of the same name.
    """

    def attach(handler: Handler) -> Handler:
        success = response(status, "application/json", answer)
        if links:
            success.links = {name: Link.model_validate(link) for name, link in links.items()}
        responses = {str(status): success}
        if "If-None-Match" in headers:
            responses["304"] = response(304, "application/json", None)
        for problem in problems:
            responses[str(problem)] = response(problem, "application/problem+json", Problem)
        handler.operation = Operation(  # type: ignore[attr-defined]
            tags=[tag],
            summary=handler.__name__.replace("_", " ").capitalize(),
            description=handler.__doc__,
            operationId=f"{tag}-{handler.__name__}",
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


def response(status: int, media_type: str, model: type[BaseModel] | None) -> Response:
    content = {media_type: media(model)} if model else None
    return Response(description=HTTPStatus(status).phrase, content=content)


def media(model: type[BaseModel]) -> MediaType:
    return MediaType(media_type_schema=PydanticSchema(schema_class=model))


def header(name: str) -> Parameter:
    return parameter(name, "header", {"type": "string"}, required=False)


def parameter(name: str, place: str, schema: dict[str, Any], *, required: bool) -> Parameter:
    fields = {"name": name, "in": place, "required": required, "schema": schema}
    return Parameter.model_validate(fields)


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
    """Return the schema of every route whose handler is decorated with `describe`."""
    paths: dict[str, PathItem] = {}
    for path, route in flatten(routes):
        operation = getattr(getattr(route, "endpoint", None), "operation", None)
        if operation is not None:
            _, template, _ = compile_path(path)
            item = paths.setdefault(template, PathItem())
            for method in getattr(route, "methods", set()) - {"HEAD"}:
                setattr(item, method.lower(), operation)
    schema = OpenAPI(info=Info(title=title, description=description, version="0.1.0"), paths=paths)
    complete = construct_open_api_with_schema_class(schema)
    # The defaults of openapi-pydantic are left out: some of them are not allowed in their place.
    text = complete.model_dump_json(by_alias=True, exclude_none=True, exclude_unset=True)
    # openapi-pydantic reads all numbers as floats. 9.2e18 is 2**63 to some readers only.
    exact = json.loads(text, parse_float=whole)
    return {"openapi": complete.openapi, **exact}


def whole(number: str) -> float:
    value = float(number)
    return int(value) if value.is_integer() else value
