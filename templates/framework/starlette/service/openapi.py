"""The OpenAPI schema, made from the routes and their models."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from inspect import getdoc
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.routing import BaseRoute, compile_path

from .errors import Problem
from .routing import flatten

REFERENCE = "#/components/schemas/{model}"
Handler = TypeVar("Handler", bound=Callable[..., Any])
Schema: TypeAlias = dict[str, Any]
# A model, and whether a request has it ("validation") or an answer ("serialization").
ModelUse: TypeAlias = tuple[type[BaseModel], JsonSchemaMode]


class Models:
    """The schemas of all models, by name. Two models of the same name get longer names."""

    def __init__(self, uses: Iterable[ModelUse]) -> None:
        self._references, generated = models_json_schema(
            [*dict.fromkeys(uses)], ref_template=REFERENCE
        )
        self.schemas: dict[str, Schema] = without_null_defaults(generated.get("$defs", {}))

    def content(
        self, model: type[BaseModel], mode: JsonSchemaMode, media_type: str = "application/json"
    ) -> Schema:
        return {media_type: {"schema": self._references[model, mode]}}

    def parameters(self, model: type[BaseModel], place: str) -> list[Schema]:
        schema = self.schemas[self._references[model, "validation"]["$ref"].rpartition("/")[2]]
        required = schema.get("required", [])
        return [
            parameter(name, place, field, required=name in required)
            for name, field in schema["properties"].items()
        ]


class Description(NamedTuple):
    """What `describe` says of a handler."""

    models: Sequence[ModelUse]
    operation: Callable[[Models], Schema]
    security_schemes: Mapping[str, Any]


def describe(
    request_model: type[BaseModel] | None = None,
    *,
    status: int = 200,
    answer: type[BaseModel] | None = None,
    headers: Sequence[str] = (),
    links: Mapping[str, Any] | None = None,
    problems: Sequence[int] = (),
    security: Mapping[str, Any] | None = None,
    anonymous: bool = False,
    tag: str,
) -> Callable[[Handler], Handler]:
    """Describe what a handler takes and answers; its docstring describes what it does.

    request_model: a model as for `requests.read`. headers: the names of the headers that it reads.
    links: where its answer leads. problems: the statuses of the errors that it answers.
    security: the security schemes of OpenAPI, by their names, of which its callers need one.
    anonymous: whether it also answers callers who use none of them.

    The operation is named by the tag and the handler, such as "books-get_book", so two domains may
    have handlers of the same name.
    """
    fields = request_model.model_fields if request_model else {}
    parts: dict[str, Any] = {name: field.annotation for name, field in fields.items()}
    uses: list[ModelUse] = [
        *((part, "validation") for part in parts.values()),
        *((model, "serialization") for model in [answer, Problem if problems else None] if model),
    ]

    def attach(handler: Handler) -> Handler:
        def operation(models: Models) -> Schema:
            content = models.content(answer, "serialization") if answer else None
            success = response(status, content)
            if links:
                success["links"] = links
            responses = {str(status): success}
            if "If-None-Match" in headers:
                responses["304"] = response(304)
            for problem_status in problems:
                content = models.content(Problem, "serialization", "application/problem+json")
                responses[str(problem_status)] = response(problem_status, content)
            schema: Schema = {
                "tags": [tag],
                "summary": handler.__name__.replace("_", " ").capitalize(),
                "description": getdoc(handler) or "",
                "operationId": f"{tag}-{handler.__name__}",
                "responses": responses,
            }
            parameters = [
                *(models.parameters(parts["path"], "path") if "path" in parts else []),
                *(models.parameters(parts["query"], "query") if "query" in parts else []),
                *(header(name) for name in headers),
            ]
            if parameters:
                schema["parameters"] = parameters
            if "body" in parts:
                content = models.content(parts["body"], "validation")
                schema["requestBody"] = {"content": content, "required": True}
            if security:
                without_scheme: list[Schema] = [{}] if anonymous else []
                schema["security"] = [{name: []} for name in security] + without_scheme
            return schema

        handler.description = Description(uses, operation, security or {})  # type: ignore[attr-defined]
        return handler

    return attach


def response(status: int, content: Schema | None = None) -> Schema:
    described = {"description": HTTPStatus(status).phrase}
    return {**described, "content": content} if content else described


def header(name: str) -> Schema:
    return parameter(name, "header", {"type": "string"}, required=False)


def parameter(name: str, place: str, schema: Schema, *, required: bool) -> Schema:
    return {"name": name, "in": place, "required": required, "schema": schema}


def without_null_defaults(schema: Any) -> Any:
    """Leave out the defaults that only mean that a caller may leave out the field."""
    if isinstance(schema, list):
        return [without_null_defaults(each) for each in schema]
    if isinstance(schema, dict):
        return {
            key: without_null_defaults(value)
            for key, value in schema.items()
            if (key, value) != ("default", None)
        }
    return schema


def openapi(routes: Sequence[BaseRoute], title: str, description: str) -> Schema:
    """Return the schema of every route whose handler is decorated with `describe`."""
    described: list[tuple[str, BaseRoute, Description]] = []
    for path, route in flatten(routes):
        handler_description = getattr(getattr(route, "endpoint", None), "description", None)
        if handler_description is not None:
            _, template, _ = compile_path(path)
            described.append((template, route, handler_description))

    models = Models(
        use for _, _, handler_description in described for use in handler_description.models
    )
    paths: dict[str, Schema] = {}
    components: Schema = {}
    for template, route, handler_description in described:
        for method in sorted(getattr(route, "methods", set()) - {"HEAD"}):
            paths.setdefault(template, {})[method.lower()] = handler_description.operation(models)
        if handler_description.security_schemes:
            components.setdefault("securitySchemes", {}).update(
                handler_description.security_schemes
            )
    # Nothing refers to a model whose fields are only parameters.
    references = json.dumps([paths, models.schemas])
    components["schemas"] = {
        name: schema
        for name, schema in models.schemas.items()
        if f'"{REFERENCE.format(model=name)}"' in references
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": "0.1.0"},
        "servers": [{"url": "/"}],
        "security": [],  # none, except for operations that name their own
        "paths": paths,
        "components": components,
    }
