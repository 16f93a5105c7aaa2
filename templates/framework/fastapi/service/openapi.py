"""What the schema says beyond what FastAPI reads off the handlers."""

from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from .errors import Problem

REFERENCE = "#/components/schemas/{model}"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route answers."""
    schema = {"$ref": REFERENCE.format(model="Problem")}
    return {
        status: {"content": {"application/problem+json": {"schema": schema}}} for status in statuses
    }


def linked(status: int, links: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Describe where an answer leads."""
    return {status: {"links": links}}


def heeds(header: str) -> dict[str, Any]:
    """Describe a header that a handler reads itself.

    As a parameter of the handler, a list of lines is looked at several times a request.
    """
    lines = {"type": "array", "items": {"type": "string"}, "title": header}
    return {"parameters": [{"name": header, "in": "header", "required": False, "schema": lines}]}


def describe(app: FastAPI) -> None:
    """Serve the schema of the routes so far at /openapi.json.

    To FastAPI's own it adds the model of a problem, to which the routes only refer; and it calls
    operations what their handlers are called, by which links know them.
    """
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.operation_id or route.name
    schema = app.openapi()
    problem = Problem.model_json_schema(ref_template=REFERENCE)
    models = {**problem.pop("$defs"), "Problem": problem}
    schema.setdefault("components", {}).setdefault("schemas", {}).update(models)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_json() -> JSONResponse:
        return JSONResponse(schema)
