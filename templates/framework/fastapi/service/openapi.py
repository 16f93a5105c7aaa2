"""How errors are described in the schema."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from .errors import Problem

REFERENCE = "#/components/schemas/{model}"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors that a route answers."""
    schema = {"$ref": REFERENCE.format(model="Problem")}
    return {status: {"content": {"application/problem+json": {"schema": schema}}} for status in statuses}


async def openapi_json(request: Request) -> JSONResponse:
    """Answer FastAPI's schema and in it the model of a problem, which it only refers to."""
    app: FastAPI = request.app
    schema = app.openapi()
    problem = Problem.model_json_schema(ref_template=REFERENCE)
    models = {**problem.pop("$defs"), "Problem": problem}
    schema.setdefault("components", {}).setdefault("schemas", {}).update(models)
    return JSONResponse(schema)
