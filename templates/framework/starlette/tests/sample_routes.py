"""The routes of samples, as a domain writes them, and their OpenAPI schema."""

from functools import partial
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import openapi as service_openapi
from service.fields import Id
from service.lifespan import State
from service.requests import answer, read

from tests import sample_queries as queries
from tests import sample_schemas as schemas

describe = partial(service_openapi.describe, tag="samples")


class SamplePath(BaseModel):
    sample_id: UUID


class CreateSample(BaseModel):
    body: schemas.NewSample


class OneSample(BaseModel):
    path: SamplePath


class EchoPath(BaseModel):
    number: Id


class EchoRequest(BaseModel):
    path: EchoPath
    query: schemas.EchoQuery
    body: schemas.Change


@describe(CreateSample, status=201, answer=schemas.Sample)
async def create_sample(request: Request[State]) -> Response:
    content = (await read(request, CreateSample)).body
    database = request.state["database"]
    async with database.transaction() as transaction:
        sample_id = await queries.create(transaction, content.status, content.data)
    async with database.connection() as connection:
        sample = await queries.get(connection, sample_id)
    return answer(schemas.Sample.model_validate(sample), 201)


@describe(OneSample, answer=schemas.Sample)
async def get_sample(request: Request[State]) -> Response:
    sample_id = (await read(request, OneSample)).path.sample_id
    async with request.state["database"].connection() as connection:
        sample = await queries.get(connection, sample_id)
    return answer(schemas.Sample.model_validate(sample))


@describe(EchoRequest, answer=schemas.Echo)
async def echo(request: Request[State]) -> Response:
    requested = await read(request, EchoRequest)
    return answer(
        schemas.Echo(number=requested.path.number, query=requested.query, change=requested.body)
    )


routes = [
    Route("/test-samples", create_sample, methods=["POST"]),
    Route("/test-samples/uuid/{sample_id}", get_sample),
    Route("/test-samples/echo/{number}", echo, methods=["POST"]),
]


def openapi() -> dict[str, Any]:
    return service_openapi.openapi(routes, title="samples", description="")
