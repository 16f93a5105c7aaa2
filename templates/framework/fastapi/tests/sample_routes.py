"""The routes of samples, as a domain writes them, and their OpenAPI schema."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, FastAPI, Path, Query

from service.fields import Id
from service.requests import DatabaseDependency

from tests import sample_queries as queries
from tests import sample_schemas as schemas

router = APIRouter(prefix="/test-samples", tags=["samples"])


@router.post("", status_code=201)
async def create_sample(content: schemas.NewSample, database: DatabaseDependency) -> schemas.Sample:
    async with database.transaction() as transaction:
        sample_id = await queries.create(transaction, content.status, content.data)
    async with database.connection() as connection:
        sample = await queries.get(connection, sample_id)
    return schemas.Sample.model_validate(sample)


@router.get("/uuid/{sample_id}")
async def get_sample(sample_id: UUID, database: DatabaseDependency) -> schemas.Sample:
    async with database.connection() as connection:
        sample = await queries.get(connection, sample_id)
    return schemas.Sample.model_validate(sample)


@router.post("/echo/{number}")
async def echo(
    number: Annotated[Id, Path()],
    query: Annotated[schemas.EchoQuery, Query()],
    change: schemas.Change,
) -> schemas.Echo:
    return schemas.Echo(number=number, query=query, change=change)


routes = router.routes


def openapi() -> dict[str, Any]:
    app = FastAPI()
    app.include_router(router)
    return app.openapi()
