"""Paths of resources: any text can be a part of one."""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.paths import path_to, root_path, set_root_path

from tests.serving import Settings, serve


async def create(request: Request) -> Response:
    name = (await request.body()).decode()
    return Response(status_code=201, headers={"Location": path_to("test-tags", name)})


async def get(request: Request) -> Response:
    return Response(request.path_params["name"])


ROUTES = [
    Route("/test-tags", create, methods=["POST"]),
    Route("/test-tags/{name:path}", get),
]


@pytest.mark.parametrize("name", ["plain", "größe", "日本", "a b", "50%", "a/b", "a?b#c", "%C3%BC"])
async def test_location_leads_to_the_resource(settings: Settings, name: str) -> None:
    async with serve(settings, routes=ROUTES) as client:
        created = await client.post("/test-tags", content=name.encode())
        assert created.status_code == 201
        location = created.headers["location"]
        assert location.isascii()
        assert (await client.get(location)).text == name


def test_path_has_no_line_breaks() -> None:
    """They would end the header, and what follows would be another one."""
    assert path_to("cities", 7, "a\r\nX-Other: b") == "/cities/7/a%0D%0AX-Other%3A%20b"


@pytest.mark.parametrize(
    ("prefix", "path"),
    [
        ("/api", "/api/cities"),
        ("api/", "/api/cities"),
        ("/api/v1", "/api/v1/cities"),
        ("/", "/cities"),
        ("/a b/ö", "/a%20b/%C3%B6/cities"),
        ("/a%20b", "/a%20b/cities"),
    ],
)
def test_path_begins_with_the_prefix_that_a_proxy_removes(prefix: str, path: str) -> None:
    token = root_path.set("")
    set_root_path(prefix)
    assert path_to("cities") == path
    root_path.reset(token)
