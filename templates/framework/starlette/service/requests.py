"""Requests into models, models into responses."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from .errors import InvalidRequest, validation_problem, validation_problems

Model = TypeVar("Model", bound=BaseModel)


async def read(request: Request[Any], model: type[Model]) -> Model:
    """Validate a request by a model whose fields are its `path`, its `query` and its `body`.

    Raises InvalidRequest, which lists all problems at once.
    """
    fields = model.__pydantic_fields__
    parts: dict[str, object] = {"path": request.path_params}
    if "query" in fields:
        query, lists = request.query_params, list_parameters(model)
        parts["query"] = {
            name: query.getlist(name) if name in lists else query[name] for name in query
        }
    if "body" in fields and (body := await request.body()):
        parts["body"] = decode(body) if is_json(request) else body
    try:
        return model.model_validate(parts)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise InvalidRequest(validation_problems(errors)) from None


@cache
def list_parameters(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of the query parameters that are lists, which a request repeats."""
    query: Any = model.model_fields["query"].annotation
    properties = TypeAdapter(query).json_schema().get("properties", {})
    return frozenset(
        name
        for name, schema in properties.items()
        if any(each.get("type") == "array" for each in [schema, *schema.get("anyOf", [])])
    )


def is_json(request: Request[Any]) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )


def decode(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested too deeply
        raise InvalidRequest([validation_problem("body", [], "This is not valid JSON.")]) from None


def answer(
    model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(model.model_dump_json(by_alias=True), status, headers, "application/json")
