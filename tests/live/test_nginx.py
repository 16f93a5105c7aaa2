"""What nginx passes on, limits and refuses."""

import asyncio
import json
import re
import socket
import ssl
import time
from contextlib import ExitStack

import pytest
import trustme
from httpx2 import AsyncClient, Response

from tests.live.deployment import (
    IPV6,
    USERS,
    Deployment,
    problem,
    stop,
)
from tests.support.network import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live


def test_client_with_too_many_requests_is_refused(deployment: Deployment) -> None:
    async def ask_all_at_once() -> list[Response]:
        async with deployment.client("127.2.0.1") as client:
            requests = [client.get("/health/live") for _ in range(USERS)]
            return await asyncio.gather(*requests)

    answers = asyncio.run(ask_all_at_once())
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < USERS
    for answer in refused:
        problem(answer, 429)
    assert deployment.ask("GET", "/health/live", "127.2.0.2").status_code == 200


def test_client_with_too_many_connections_is_refused(deployment: Deployment) -> None:
    unfinished = b"POST /notes HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with ExitStack() as stack:
        for _ in range(100):
            source = ("127.2.1.1", 0)
            client = socket.create_connection(("127.0.0.1", deployment.nginx_port), 10, source)
            stack.enter_context(client).sendall(unfinished)
        time.sleep(1)  # so that it is not refused for too many requests
        problem(deployment.ask("GET", "/health/live", "127.2.1.1"), 429)
        assert deployment.ask("GET", "/health/live", "127.2.1.2").status_code == 200


def test_if_match_works_through_gzip(deployment: Deployment) -> None:
    note = {"title": "x", "body": "x" * 5000}
    path = deployment.ask("POST", "/notes", json=note).headers["location"]
    read = deployment.ask("GET", path, headers={"Accept-Encoding": "gzip"})
    assert read.headers["content-encoding"] == "gzip"
    assert read.headers["etag"] == 'W/"1"', "nginx does not weaken it: is it compressed?"
    condition = {"If-Match": read.headers["etag"]}
    assert deployment.ask("PATCH", path, json={"title": "y"}, headers=condition).status_code == 200
    assert deployment.ask("PATCH", path, json={"title": "z"}, headers=condition).status_code == 412


@pytest.mark.parametrize("client", ["127.0.0.1", "127.3.0.1"])
def test_client_address_arrives_and_cannot_be_forged(deployment: Deployment, client: str) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example.com",
        "X-Forwarded-Port": "666",
        "Forwarded": "for=6.6.6.6",
    }
    seen = deployment.ask("GET", "/health/live", client, headers=forged).headers
    assert (seen["x-seen-client"], seen["x-seen-scheme"]) == (client, "http")
    assert seen["x-seen-forwarded"] == f"x-forwarded-for={client} x-forwarded-proto=http"


def test_request_id_arrives_and_is_in_both_logs(deployment: Deployment) -> None:
    sent = f"sent-{deployment.folder.name}"
    answer = deployment.ask("GET", "/notes", headers={"X-Request-ID": sent})
    assert answer.headers["x-request-id"] == sent
    answer = deployment.ask("GET", "/notes", headers={"X-Request-ID": "not valid"})
    generated = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", generated)
    for request_id in (sent, generated):
        for log in ("access.log", "gunicorn.log"):
            member = f'"request_id":"{request_id}"'
            wait_until(lambda log=log, member=member: member in deployment.log(log))
    for line in deployment.log("access.log").splitlines():
        json.loads(line)


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics", "/health/ready"]
)
def test_nginx_does_not_pass_on_internal_paths(deployment: Deployment, path: str) -> None:
    # Without a client library, which would normalize the path.
    with socket.create_connection(("127.0.0.1", deployment.nginx_port)) as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = client.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ") and b"application/problem+json" in head, head
    assert json.loads(body)["status"] == 403
    assert deployment.ask("GET", "/health/ready", port=deployment.port).status_code == 200


def test_nginx_refuses_requests_that_are_too_large(deployment: Deployment) -> None:
    limit = 1_048_576  # MAX_BODY_BYTES
    problem(deployment.ask("POST", "/notes", content=b"x" * (limit + 1)), 413)
    within = deployment.ask("POST", "/notes", content=b"x" * limit)
    assert within.status_code == 422, "one byte less does not reach the service"
    problem(deployment.ask("GET", f"/{'x' * 20_000}"), 414)
    problem(deployment.ask("GET", "/notes", headers={"X-Long": "x" * 20_000}), 400)


def test_nginx_serves_tls_with_its_commented_block(default_deployment: Deployment) -> None:
    text = (default_deployment.project / "deploy/nginx.conf").read_text()
    block = re.search(r"( +listen .*\n)+\n +# For TLS .*\n((?: +# .*\n)+)", text)
    redirecting = re.search(r"\n    # server \{\n(?:    # .*\n)+", text)
    assert block and redirecting
    authority, port, folder = trustme.CA(), free_port(), default_deployment.folder / "tls"
    certificate = authority.issue_cert("127.0.0.1")
    folder.mkdir()
    certificate.private_key_pem.write_to_path(folder / "privkey.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(folder / "fullchain.pem", append=True)
    changes = {
        block[0]: block[2].replace("# ", ""),
        redirecting[0]: redirecting[0].replace("# ", ""),
        "/etc/nginx/tls": str(folder),
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "listen [::]:443 ssl;": f"listen [::]:{port} ssl;" if IPV6 else "",
    }
    plain = default_deployment.start_nginx("tls", changes)
    master = default_deployment.start_gunicorn()

    async def ask() -> tuple[Response, Response]:
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with AsyncClient(verify=trusting) as client:
            away = await client.get(f"http://127.0.0.1:{plain}/notes?limit=1")
            return away, await client.get(f"https://127.0.0.1:{port}/notes?limit=1")

    away, there = asyncio.run(ask())
    assert away.status_code == 308
    assert away.headers["location"] == "https://127.0.0.1/notes?limit=1"
    assert there.status_code == 200
    assert there.headers["x-seen-scheme"] == "https"
    assert there.headers["strict-transport-security"] == "max-age=63072000"
    assert there.headers["x-content-type-options"] == "nosniff"
    stop(master)


def test_everything_is_served_under_a_prefix_as_documented(default_deployment: Deployment) -> None:
    project = default_deployment.project
    docs = (project / "docs/deployment.md").read_text()
    location, _ = re.findall(r"^```nginx\n(.*?)^```$", docs, re.MULTILINE | re.DOTALL)
    [denied] = re.findall(r"`(\^/api/.*)`", docs)
    [flags] = re.findall(r"Add `(--root-path .*?)` to the command", docs)
    nginx = (project / "deploy/nginx.conf").read_text()
    [root] = re.findall(r"^ +location / \{.*?\}\n", nginx, re.MULTILINE | re.DOTALL)
    changes = {root: location, "^/(metrics|health/ready)/?$": denied}
    port = default_deployment.start_nginx("prefix", changes)
    master = default_deployment.start_gunicorn(*flags.split(), ALLOWED_HOSTS="127.0.0.1")

    def ask(method: str, path: str, **options: object) -> Response:
        return default_deployment.ask(method, path, port=port, **options)

    created = ask("POST", "/api/notes", json={"title": "one"})
    assert created.status_code == 201
    assert created.headers["location"].startswith("/api/notes/")
    assert ask("GET", created.headers["location"]).json() == created.json()
    ask("POST", "/api/notes", json={"title": "two"})
    following = ask("GET", "/api/notes?limit=1").json()["next"]
    assert len(ask("GET", following).json()["items"]) == 1
    assert ask("GET", "/api/openapi.json").json()["servers"] == [{"url": "/api"}]
    assert ask("GET", "/api/docs").status_code == 200
    assert ask("GET", "/api/health/live").status_code == 200
    for path in ("/api/metrics", "/api/health/ready"):
        problem(ask("GET", path), 403)
        probe = default_deployment.ask(
            "GET", path.removeprefix("/api"), port=default_deployment.port
        )
        assert probe.status_code == 200
    problem(ask("GET", "/notes"), 404)
    stop(master)
