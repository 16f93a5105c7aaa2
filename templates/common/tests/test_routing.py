"""Routing: HEAD, Allow and route templates, in mounts and behind a prefix as well."""

from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from structlog.testing import capture_logs

from service.paths import path_to

from tests.serving import Settings, assert_problem, behind_prefix, serve


async def show(request: Request) -> Response:
    return PlainTextResponse("{team} {room}".format(**request.path_params))


async def feed(request: Request) -> Response:
    return PlainTextResponse("the feed")


async def remove(request: Request) -> Response:
    return Response(status_code=204)


ROOM = [Route("/{room:int}", show), Route("/{room:int}", remove, methods=["DELETE"])]
# No service has these paths, so that its own routes cannot answer.
ROUTES = [
    Route("/test-articles/feed", feed),
    Route("/test-articles/{slug}", remove, methods=["DELETE"]),
    Mount("/test-teams/{team}", routes=[Mount("/rooms", routes=ROOM)]),
    Mount("/test-files", app=PlainTextResponse("a file")),
]
PREFIXES = ["", "/api"]


@pytest.fixture(scope="module", params=PREFIXES)
async def client_behind_prefix(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[AsyncClient]:
    """A client of the service behind each prefix, with the routes of these tests."""
    async with serve(settings, routes=ROUTES, wrap=behind_prefix(request.param)) as client:
        yield client


def counted(method: str, route: str, status: int) -> float:
    labels = {"method": method, "route": route, "status": str(status)}
    return REGISTRY.get_sample_value("http_requests_total", labels) or 0


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", "/test-teams/red/rooms/5", 200, "/test-teams/{team}/rooms/{room}"),
        ("HEAD", "/test-teams/red/rooms/5", 200, "/test-teams/{team}/rooms/{room}"),
        ("DELETE", "/test-teams/red/rooms/5", 204, "/test-teams/{team}/rooms/{room}"),
        ("PUT", "/test-teams/red/rooms/5", 405, "/test-teams/{team}/rooms/{room}"),
        ("GET", "/test-teams/red/rooms/five", 404, "none"),
        ("GET", "/test-teams/red", 404, "none"),
        ("GET", "/test-files/a/b", 200, "/test-files/{path}"),
        ("GET", "/openapi.json", 200, "/openapi.json"),
        ("GET", "/docs/nothing", 404, "/docs/{name}"),
    ],
)
async def test_logs_and_metrics_show_whole_route_template(
    client_behind_prefix: AsyncClient, method: str, path: str, status: int, route: str
) -> None:
    before = counted(method, route, status)
    with capture_logs() as lines:
        assert (await client_behind_prefix.request(method, path)).status_code == status
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["route"], line["status"]) == (method, route, status)
    assert counted(method, route, status) == before + 1


async def test_mount_answers_head_and_names_allowed_methods(
    client_behind_prefix: AsyncClient,
) -> None:
    assert (await client_behind_prefix.get("/test-teams/red/rooms/5")).text == "red 5"
    head = await client_behind_prefix.head("/test-teams/red/rooms/5")
    assert (head.status_code, head.headers["content-length"]) == (200, "5")
    refused = await client_behind_prefix.put("/test-teams/red/rooms/5")
    assert_problem(refused, 405)
    assert refused.headers["allow"] == "DELETE, GET, HEAD"


async def test_fixed_path_allows_the_methods_of_a_parameter_in_its_place(
    settings: Settings,
) -> None:
    async with serve(settings, routes=ROUTES) as client:
        assert (await client.get("/test-articles/feed")).text == "the feed"
        assert (await client.delete("/test-articles/feed")).status_code == 204
        refused = await client.put("/test-articles/feed")
        assert_problem(refused, 405)
        assert refused.headers["allow"] == "DELETE, GET, HEAD"


async def test_every_path_answers_head_as_it_answers_get(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for template, operations in paths.items():
        assert "head" not in operations
        path = template.replace("{", "").replace("}", "")
        expected = (await client.get(path)).status_code if "get" in operations else 405
        assert (await client.head(path)).status_code == expected, template


@pytest.mark.parametrize("prefix", ["", "/api", "/api/", "/a/b"])
async def test_paths_for_callers_begin_with_the_prefix_of_the_server(
    settings: Settings, prefix: str
) -> None:
    async def create(request: Request) -> Response:
        return Response(status_code=201, headers={"Location": path_to("test-items", 7)})

    route = Mount("/test-mount", routes=[Route("/test-items", create, methods=["POST"])])
    async with serve(settings, routes=[route], wrap=behind_prefix(prefix)) as client:
        created = await client.post("/test-mount/test-items")
        assert created.headers["location"] == f"{prefix.rstrip('/')}/test-items/7"
        schema = (await client.get("/openapi.json")).json()
        assert schema["servers"] == [{"url": prefix.rstrip("/") or "/"}]
        page = (await client.get("/docs")).text
        assert 'url: "openapi.json"' in page  # relative, so it needs no prefix


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_probes_are_answered_for_any_host_behind_a_prefix(
    settings: Settings, prefix: str
) -> None:
    hosts = ("api.example.com",)
    async with serve(settings, wrap=behind_prefix(prefix), allowed_hosts=hosts) as client:
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200
        assert_problem(await client.get("/openapi.json"), 400)
