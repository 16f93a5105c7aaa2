"""The schema, read off the routes and their models."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from openapi_pydantic import (
    Info,
    MediaType,
    OpenAPI,
    Operation,
    Parameter,
    PathItem,
    RequestBody,
    Response,
    Schema,
)
from openapi_pydantic.util import PydanticSchema, construct_open_api_with_schema_class
from pydantic import BaseModel
from starlette.routing import BaseRoute, Route

from .errors import Problem

Handler = TypeVar("Handler", bound=Callable[..., Any])


def describe(
    request: type[BaseModel] | None = None,
    *,
    status: int = 200,
    answer: type[BaseModel] | None = None,
    headers: Sequence[str] = (),
    problems: Sequence[int] = (),
    tag: str = "notes",
) -> Callable[[Handler], Handler]:
    """Say what a handler takes and answers; its docstring says what it does.

    request: a model as for `requests.read`. headers: the names of those it heeds.
    """

    def attach(handler: Handler) -> Handler:
        responses = {str(status): response(status, "application/json", answer)}
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
    return Parameter(name=name, param_in="header", param_schema=Schema(type="string"))


def parameters(request: type[BaseModel], place: str) -> list[Parameter]:
    field = request.model_fields.get(place)
    if field is None or field.annotation is None:
        return []
    model = field.annotation.model_json_schema()
    return [
        Parameter(
            name=name,
            param_in=place,
            required=name in model.get("required", []),
            param_schema=Schema.model_validate(schema),
        )
        for name, schema in model["properties"].items()
    ]


def body(request: type[BaseModel]) -> RequestBody | None:
    field = request.model_fields.get("body")
    if field is None or field.annotation is None:
        return None
    return RequestBody(content={"application/json": media(field.annotation)}, required=True)


def openapi(routes: Sequence[BaseRoute], title: str, description: str) -> dict[str, Any]:
    """Describe every route whose handler is decorated with `describe`."""
    paths: dict[str, PathItem] = {}
    for route in routes:
        operation = getattr(getattr(route, "endpoint", None), "operation", None)
        if isinstance(route, Route) and operation is not None:
            item = paths.setdefault(route.path, PathItem())
            for method in (route.methods or set()) - {"HEAD"}:
                setattr(item, method.lower(), operation)
    schema = OpenAPI(
        info=Info(title=title, description=description, version="0.1.0"), paths=paths
    )
    complete = construct_open_api_with_schema_class(schema)
    return complete.model_dump(mode="json", by_alias=True, exclude_none=True)
