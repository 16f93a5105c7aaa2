"""What holds for every request: request ids, CORS, allowed hosts and HEAD."""

from collections.abc import AsyncIterator

import pytest
from httpx2 import AsyncClient

from tests.serving import Settings, assert_problem, serve

ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
async def cors_client(settings: Settings) -> AsyncIterator[AsyncClient]:
    async with serve(settings, cors_origins=(ORIGIN,)) as client:
        yield client


@pytest.mark.parametrize("request_id", ["a", "01H-x_y.z", "x" * 128])
async def test_valid_request_id_is_returned(client: AsyncClient, request_id: str) -> None:
    response = await client.get("/health/live", headers={"X-Request-ID": request_id})
    assert response.headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", [None, "", "a b", "a\tb", "<b>", "é", "x" * 129])
async def test_missing_or_invalid_request_id_is_replaced(
    client: AsyncClient, request_id: str | None
) -> None:
    headers = {} if request_id is None else {b"X-Request-ID": request_id.encode()}
    returned = [
        (await client.get(path, headers=headers)).headers["x-request-id"]
        for path in ("/health/live", "/unknown")
    ]
    assert len({*returned, request_id}) == 3
    assert all(returned)


async def test_other_origins_cannot_read_without_cors_origins(client: AsyncClient) -> None:
    response = await client.get("/health/live", headers={"Origin": ORIGIN})
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_cors_origin_can_read_responses_and_errors(cors_client: AsyncClient) -> None:
    for path in ("/health/live", "/unknown"):
        headers = (await cors_client.get(path, headers={"Origin": ORIGIN})).headers
        assert headers["access-control-allow-origin"] == ORIGIN
        exposed = headers["access-control-expose-headers"]
        assert set(exposed.split(", ")) == {"ETag", "Location", "Retry-After", "X-Request-ID"}
    other = await cors_client.get("/health/live", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("origin", "method", "status"),
    [
        (ORIGIN, "PATCH", 200),
        (ORIGIN, "PUT", 200),
        (ORIGIN, "TRACE", 400),
        ("https://evil.example", "GET", 400),
    ],
)
async def test_cors_preflight_allows_only_known_origins_and_methods(
    cors_client: AsyncClient, origin: str, method: str, status: int
) -> None:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "Authorization, If-Match, Content-Type",
    }
    response = await cors_client.options("/health/live", headers=headers)
    assert response.status_code == status
    if status == 400:
        assert_problem(response, status)


async def test_other_hosts_are_refused_except_for_health_and_metrics(settings: Settings) -> None:
    async with serve(settings, allowed_hosts=("api.example.com", "*.example.org")) as client:
        for path, host, status in [
            ("/openapi.json", "api.example.com", 200),
            ("/openapi.json", "any.example.org", 200),
            ("/openapi.json", "10.0.0.1", 400),
            ("/health/live", "10.0.0.1", 200),
            ("/health/ready", "10.0.0.1", 200),
            ("/metrics", "10.0.0.1", 200),
        ]:
            response = await client.get(path, headers={"Host": host})
            assert response.status_code == status, (path, host)
            if status == 400:
                assert_problem(response, status)


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/openapi.json", "/docs"])
async def test_head_returns_the_headers_of_get(client: AsyncClient, path: str) -> None:
    """The server removes the body, but Content-Length still tells its size."""
    head, get = await client.head(path), await client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.headers["content-type"] == get.headers["content-type"]
    assert "content-length" in head.headers
