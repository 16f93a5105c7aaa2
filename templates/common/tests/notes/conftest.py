"""The service with an upstream, and notes to ask it for."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from httpx2 import AsyncClient

from tests.notes.upstream import Upstream
from tests.serving import Settings, serve


@pytest.fixture(scope="session")
async def upstream_server() -> AsyncIterator[Upstream]:
    async with Upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def upstream(upstream_server: Upstream) -> Upstream:
    upstream_server.reset()
    return upstream_server


@pytest.fixture(scope="session")
def settings(settings: Settings, upstream_server: Upstream) -> Settings:
    return settings.model_copy(update={"upstream_url": upstream_server.url})


@pytest.fixture(scope="session")
async def service(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings) as client:
        yield client


@pytest.fixture
async def note(client: AsyncClient) -> dict[str, Any]:
    """A note that is stored: its id is 1, its version 1."""
    answer = await client.post("/notes", json={"title": "one", "body": "first"})
    assert answer.status_code == 201
    created: dict[str, Any] = answer.json()
    return created
