"""A deployment under load: nobody sees an error, and a reload or a stop loses nothing."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from httpx2 import AsyncClient, HTTPError, Response

from tests.live.deployment import (
    POOL_SIZE,
    SERVER_CONNECTIONS,
    USERS,
    Deployment,
    address,
    child_processes,
    problem,
    stop,
    total,
    without_pgbouncer,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live


async def use(client: AsyncClient, name: str) -> None:
    """Call every endpoint for notes once, and check the answers."""
    created = await client.post("/notes", json={"title": name, "body": name * 10})
    assert created.status_code == 201, created.text
    path = created.headers["location"]
    read = await client.get(path)
    assert (read.status_code, read.json()["title"]) == (200, name), read.text
    unchanged = await client.get(path, headers={"If-None-Match": read.headers["etag"]})
    assert unchanged.status_code == 304, unchanged.text
    first = {"If-Match": read.headers["etag"]}
    changed = await client.patch(path, json={"title": f"{name} changed"}, headers=first)
    assert (changed.status_code, changed.json()["version"]) == (200, 2), changed.text
    stale = await client.patch(path, json={"title": "lost"}, headers=first)
    assert stale.status_code == 412, stale.text
    synchronized = await client.post(f"{path}/synchronize")
    assert synchronized.status_code == 200, synchronized.text
    assert synchronized.json()["title"] == f"{name} changed"
    assert synchronized.json()["body"] == f"{name * 10} synchronized"
    history = await client.get(f"{path}/revisions")
    titles = [revision["title"] for revision in history.json()["items"]]
    assert titles == [f"{name} changed", f"{name} changed", name], history.text
    after = int(path.rpartition("/")[2]) - 1
    page = await client.get("/notes", params={"limit": 1, "after": after, "synchronized": True})
    assert [note["title"] for note in page.json()["items"]] == [f"{name} changed"], page.text
    deleted = await client.delete(path, headers={"If-Match": synchronized.headers["etag"]})
    assert deleted.status_code == 204, deleted.text
    gone = await client.get(path)
    assert gone.status_code == 404, gone.text


def test_200_users_at_once_get_no_error(deployment: Deployment) -> None:
    async def user(number: int) -> None:
        async with deployment.client(address(number)) as client:
            await use(client, f"user {number}")

    async def everybody() -> None:
        async with asyncio.TaskGroup() as users:
            for number in range(USERS):
                users.create_task(user(number))

    asyncio.run(everybody())
    # The users shared the few connections that PgBouncer has to PostgreSQL.
    statement = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'service' AND datname = '{}'"
    assert deployment.query(statement.format(deployment.folder.name)) == SERVER_CONNECTIONS
    assert deployment.log("pgbouncer.log").count("login attempt") > 2 * SERVER_CONNECTIONS
    assert "unexpected error" not in deployment.log("gunicorn.log")


@dataclass
class Load:
    """Users who send requests without a pause, and their errors."""

    keep_alive: bool = True  # whether a user sends all requests on one connection
    created: int = 0
    changed: int = 0
    workers: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    async def ask(self, client: AsyncClient, expected: int, *request: str, **options: Any) -> str:
        try:
            answer = await client.request(*request, **options)
        except HTTPError as error:
            self.failures.append(f"{request} {error!r}")
            return ""
        self.created += answer.status_code == 201
        self.changed += request[0] == "PATCH" and answer.status_code == 200
        self.workers.add(answer.headers.get("x-seen-worker", ""))
        if answer.status_code != expected:
            self.failures.append(f"{request} {answer.status_code} {answer.text[:200]}")
        return str(answer.headers.get("location", ""))

    async def user(self, deployment: Deployment, number: int, over: Callable[[], bool]) -> None:
        async with deployment.client(address(number)) as client:
            if not self.keep_alive:
                client.headers["Connection"] = "close"
            while not over():
                path = await self.ask(client, 201, "POST", "/notes", json={"title": "load"})
                await self.ask(client, 200, "GET", "/notes?limit=3")
                if path:
                    await self.ask(client, 200, "PATCH", path, json={"body": "x" * 2000})

    async def run(self, deployment: Deployment, users: int, during: Callable[[], None]) -> None:
        """Send requests until `during`, which runs in a thread, has ended."""
        thread = asyncio.create_task(asyncio.to_thread(during))
        async with asyncio.TaskGroup() as group:
            for number in range(users):
                group.create_task(self.user(deployment, number, thread.done))
        await thread


def test_reload_and_ending_worker_lose_no_request(deployment: Deployment) -> None:
    master = deployment.master
    assert master is not None
    old = child_processes(master)
    before = deployment.query("SELECT count(*) FROM notes")

    load = Load()

    def every_worker_has_answered() -> bool:
        return {str(pid) for pid in child_processes(master)} <= load.workers

    def disturb() -> None:
        wait_until(every_worker_has_answered)
        ready = deployment.workers_started()
        master.send_signal(signal.SIGHUP)
        deployment.wait_for_workers(master, ready + 2)
        wait_until(lambda: not old & child_processes(master))
        wait_until(every_worker_has_answered)
        for worker in sorted(child_processes(master)):
            ready = deployment.workers_started()
            os.kill(worker, signal.SIGTERM)
            deployment.wait_for_workers(master, ready + 1)
            wait_until(every_worker_has_answered)

    asyncio.run(load.run(deployment, 40, disturb))
    assert load.failures == []
    assert len(load.workers) == 6, "the old two, the reloaded two, and one for each ended"
    # Neither lost nor done twice.
    assert deployment.query("SELECT count(*) FROM notes") == before + load.created
    # One that is killed cannot clean up after itself.
    ready = deployment.workers_started()
    os.kill(min(child_processes(master)), signal.SIGKILL)
    deployment.wait_for_workers(master, ready + 1)
    metrics = deployment.ask("GET", "/metrics", port=deployment.port).text
    assert total(metrics, "http_requests_total", method="POST", status="201") >= load.created
    assert total(metrics, "database_pool_size") == 2 * POOL_SIZE, (
        "the gauges of the dead are counted"
    )


def test_stopping_service_finishes_its_requests(deployment: Deployment) -> None:
    """Without PgBouncer, because PostgreSQL shows which connections are left."""
    assert deployment.master is not None
    stop(deployment.master)
    # The connections of PgBouncer are older.
    younger = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'service' AND backend_start > '{}'"
    )
    connections = younger.format(deployment.query("SELECT now()::text"))
    master = deployment.start_gunicorn(**without_pgbouncer(deployment) | {"GRACEFUL_TIMEOUT": "10"})
    path = deployment.ask("POST", "/notes", json={"title": "wait 4"}).headers["location"]

    async def ask() -> tuple[list[Response], Response, float, int]:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(deployment.client(address(number)))
                for number in range(21)
            ]
            notes = [
                (await client.post("/notes", json={"title": "wait 4"})).headers["location"]
                for client in clients[1:]
            ]
            under_way = [
                asyncio.create_task(client.post(f"{note}/synchronize"))
                for client, note in zip(clients[1:], notes, strict=True)
            ]
            await asyncio.sleep(2)
            used = await asyncio.to_thread(deployment.query, connections)
            ended = time.monotonic()
            master.terminate()
            await asyncio.to_thread(wait_until, lambda: not Path(deployment.socket).exists())
            refused = await clients[0].get(path)
            finished = await asyncio.gather(*under_way)
            await asyncio.to_thread(master.wait, 15)
            return finished, refused, time.monotonic() - ended, used

    finished, refused, seconds, used = asyncio.run(ask())
    assert [answer.status_code for answer in finished] == [200] * 20
    problem(refused, 502)
    assert master.returncode == 0
    assert seconds < 10
    assert used > 0
    assert deployment.query(connections) == 0
    assert not Path(deployment.socket).exists()
    for method, tries in (("GET", 2), ("POST", 1), ("PATCH", 1), ("DELETE", 1)):
        headers = {"X-Request-ID": f"tries-{method}"}
        problem(deployment.ask(method, "/notes/1", headers=headers), 502)
        (line,) = [
            line
            for line in deployment.log("access.log").splitlines()
            if headers["X-Request-ID"] in line
        ]
        logged = json.loads(line)
        assert (logged["method"], logged["path"]) == (method, "/notes/1")
        assert logged["service_seconds"].count(",") + 1 == tries, line
    assert list((deployment.folder / "tmp").glob("metrics-*")) == []
    deployment.master = deployment.start_gunicorn()  # for the other tests
