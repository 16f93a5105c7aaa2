"""What the schema says in addition to what FastAPI reads off the handlers."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from .errors import Problem
from .paths import path_to

REFERENCE = "#/components/schemas/{model}"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route answers."""
    schema = {"$ref": REFERENCE.format(model="Problem")}
    return {
        status: {"content": {"application/problem+json": {"schema": schema}}} for status in statuses
    }


def header(name: str) -> dict[str, Any]:
    """Describe a header that a handler reads from its request."""
    parameter = {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
    return {"parameters": [parameter]}


def links(status: int, links: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Describe OpenAPI links: the operations that take values of this answer."""
    return {status: {"links": links}}


def operation_id(route: APIRoute) -> str:
    """Name an operation by its tags and its handler, such as "books-get_book".

    So two domains may have handlers of the same name.
    """
    return "-".join([*map(str, route.tags), route.name])


class Service(FastAPI):
    """FastAPI that adds the model `Problem`, to which `problems` refers, to its schema."""

    def openapi(self) -> dict[str, Any]:
        schema = super().openapi()
        problem = Problem.model_json_schema(ref_template=REFERENCE)
        models = schema.setdefault("components", {}).setdefault("schemas", {})
        models.update({**problem.pop("$defs"), "Problem": problem})
        schema["servers"] = [{"url": path_to() or "/"}]
        schema["security"] = []  # none, except for operations that name their own
        return schema
