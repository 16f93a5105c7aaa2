"""Paths of resources: any text can be a part of one."""

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.paths import path_to

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


@pytest.mark.parametrize(
    "name", ["plain", "größe", "日本", "a b", "50%", "a/b", "a?b#c", "a\r\nX-Other: b", "%C3%BC"]
)
async def test_location_leads_to_the_resource(settings: Settings, name: str) -> None:
    async with serve(settings, routes=ROUTES) as client:
        created = await client.post("/test-tags", content=name.encode())
        assert created.status_code == 201
        location = created.headers["location"]
        assert location.isascii()
        assert "x-other" not in created.headers
        assert (await client.get(location)).text == name


def test_numbers_are_as_they_are() -> None:
    assert path_to("cities", 7, "streets") == "/cities/7/streets"
