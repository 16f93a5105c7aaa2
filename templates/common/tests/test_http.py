"""What is true of every request: its id, CORS, hosts and HEAD."""

import pytest
from httpx2 import AsyncClient

from tests.serving import Settings, problem, serve


@pytest.mark.parametrize("sent", ["a", "01H-x_y.z", "x" * 128])
async def test_a_sane_request_id_is_kept(client: AsyncClient, sent: str) -> None:
    answer = await client.get("/health/live", headers={"X-Request-ID": sent})
    assert answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", [None, "", "a b", "a\tb", "<b>", "é", "x" * 129])
async def test_any_other_request_id_is_replaced(client: AsyncClient, sent: str | None) -> None:
    headers = {} if sent is None else {b"X-Request-ID": sent.encode()}
    ids = [
        (await client.get(path, headers=headers)).headers["x-request-id"]
        for path in ("/health/live", "/nothing")
    ]
    assert len({*ids, sent}) == 3
    assert all(ids)


async def test_without_cors_origins_no_other_origin_may_read(client: AsyncClient) -> None:
    answer = await client.get("/health/live", headers={"Origin": "https://app.example.com"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_cors_origin_may_read_answers_errors_included(settings: Settings) -> None:
    origin = "https://app.example.com"
    async with serve(settings, cors_origins=(origin,)) as client:
        for path in ("/health/live", "/nothing"):
            headers = (await client.get(path, headers={"Origin": origin})).headers
            assert headers["access-control-allow-origin"] == origin
            exposed = headers["access-control-expose-headers"]
            assert set(exposed.split(", ")) == {"ETag", "Location", "Retry-After", "X-Request-ID"}
        stranger = await client.get("/health/live", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize(
    ("origin", "method", "status"),
    [
        ("https://app.example.com", "PATCH", 200),
        ("https://app.example.com", "PUT", 400),
        ("https://evil.example", "GET", 400),
    ],
)
async def test_a_browser_may_ask_beforehand(
    settings: Settings, origin: str, method: str, status: int
) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "If-Match, Content-Type",
    }
    async with serve(settings, cors_origins=("https://app.example.com",)) as client:
        answer = await client.options("/health/live", headers=asked)
    assert answer.status_code == status
    if status == 400:
        problem(answer, status)


async def test_only_allowed_hosts_are_served_save_to_probes(settings: Settings) -> None:
    async with serve(settings, allowed_hosts=("api.example.com", "*.example.org")) as client:
        for path, host, status in [
            ("/openapi.json", "api.example.com", 200),
            ("/openapi.json", "any.example.org", 200),
            ("/openapi.json", "10.0.0.1", 400),
            ("/health/live", "10.0.0.1", 200),
            ("/health/ready", "10.0.0.1", 200),
            ("/metrics", "10.0.0.1", 200),
        ]:
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code == status, (path, host)
            if status == 400:
                problem(answer, status)


@pytest.mark.parametrize("path", ["/health/live", "/metrics", "/openapi.json", "/docs"])
async def test_head_is_answered_where_get_is(client: AsyncClient, path: str) -> None:
    """The server leaves out the body, whose length it tells all the same."""
    head, get = await client.head(path), await client.get(path)
    assert head.status_code == get.status_code == 200
    assert head.headers["content-type"] == get.headers["content-type"]
    assert "content-length" in head.headers
