"""Fixtures: the service with a stub of its upstream, and a stored note."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.notes.upstream import UpstreamStub
from tests.serving import Settings, serve


@pytest.fixture(scope="session")
async def upstream_server() -> AsyncIterator[UpstreamStub]:
    async with UpstreamStub() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(upstream_server: UpstreamStub) -> UpstreamStub:
    upstream_server.reset()
    return upstream_server


@pytest.fixture(scope="session")
def settings(settings: Settings, upstream_server: UpstreamStub) -> Settings:
    return settings.model_copy(update={"upstream_url": upstream_server.url, "upstream_timeout": 3})


@pytest.fixture(scope="session")
async def shared_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings) as client:
        yield client


@pytest.fixture
async def note(client: AsyncClient) -> dict[str, Any]:
    """A stored note with id 1 and version 1."""
    response = await client.post("/notes", json={"title": "one", "body": "first"})
    assert response.status_code == 201
    created: dict[str, Any] = response.json()
    return created
