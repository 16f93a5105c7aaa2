"""How the application is put together: routers in routers, dependencies and their overrides."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from httpx2 import ASGITransport, AsyncClient
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from service.requests import get_database

from tests.serving import Settings, assert_problem, create_app


@asynccontextmanager
async def ask(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Run the application without its lifespan, so without a database."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://testserver") as client:
        yield client


class ReadyDatabase:
    """A database that is always ready."""

    async def ping(self) -> None:
        pass


def rooms() -> APIRouter:
    """Return a router in a router."""
    inner = APIRouter(prefix="/rooms", tags=["rooms"])
    outer = APIRouter(prefix="/test-teams/{team}")

    @inner.get("/{room}")
    async def get_room(team: str, room: int) -> dict[str, str | int]:
        return {"team": team, "room": room}

    @inner.delete("/{room}", status_code=204)
    async def delete_room(team: str, room: int) -> None:
        pass

    outer.include_router(inner)
    return outer


async def test_dependencies_can_be_overridden(settings: Settings) -> None:
    app = create_app(settings)
    app.dependency_overrides[get_database] = ReadyDatabase
    async with ask(app) as client:
        assert (await client.get("/health/ready")).json() == {"status": "ok"}


async def test_dependency_of_an_included_router_guards_its_routes(settings: Settings) -> None:
    async def refuse() -> None:
        raise HTTPException(403, "No.")

    app = create_app(settings)
    app.include_router(rooms(), dependencies=[Depends(refuse)])
    async with ask(app) as client:
        assert_problem(await client.get("/test-teams/red/rooms/5"), 403)


async def test_nested_routers_keep_head_allowed_methods_and_route_template(
    settings: Settings,
) -> None:
    """The same router is included twice, as for two versions of an API."""
    app = create_app(settings)
    for version in ("test-v1", "test-v2"):
        app.include_router(rooms(), prefix=f"/{version}", tags=[version])
    async with ask(app) as client:
        for version in ("test-v1", "test-v2"):
            path = f"/{version}/test-teams/red/rooms/5"
            template = path.replace("red", "{team}").replace("5", "{room}")
            assert (await client.get(path)).json() == {"team": "red", "room": 5}
            with capture_logs() as lines:
                assert (await client.head(path)).status_code == 200
                refused = await client.put(path)
            assert_problem(refused, 405)
            assert refused.headers["allow"] == "DELETE, GET, HEAD"
            requests = [line for line in lines if line["event"] == "request"]
            assert [line["route"] for line in requests] == [template, template]
            for method, status in [("HEAD", "200"), ("PUT", "405")]:
                labels = {"method": method, "route": template, "status": status}
                assert REGISTRY.get_sample_value("http_requests_total", labels) == 1


async def test_handler_of_head_is_preferred_to_that_of_get(settings: Settings) -> None:
    app = create_app(settings)

    @app.get("/test-page")
    async def get_page() -> str:
        return "page"

    @app.head("/test-page", status_code=204)
    async def head_page() -> None:
        pass

    async with ask(app) as client:
        assert (await client.head("/test-page")).status_code == 204


async def test_two_domains_may_have_handlers_of_the_same_name(settings: Settings) -> None:
    """FastAPI warns of two operations with the same id, and here a warning is an error."""

    def domain(tag: str) -> APIRouter:
        router = APIRouter(prefix=f"/{tag}", tags=[tag])

        @router.get("/items")
        async def list_items() -> list[int]:
            return []

        return router

    app = create_app(settings)
    app.include_router(domain("test-books"))
    app.include_router(domain("test-films"))
    for version in ("test-v1", "test-v2"):
        app.include_router(rooms(), prefix=f"/{version}", tags=[version])
    async with ask(app) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert paths["/test-books/items"]["get"]["operationId"] == "test-books-list_items"
    assert paths["/test-films/items"]["get"]["operationId"] == "test-films-list_items"
    room = paths["/test-v2/test-teams/{team}/rooms/{room}"]
    assert {operation["operationId"] for operation in room.values()} == {
        "test-v2-rooms-get_room",
        "test-v2-rooms-delete_room",
    }
