"""How gunicorn starts, reloads and ends with deploy/gunicorn.conf.py."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from httpx2 import Response

from tests.live.deployment import (
    POOL_SIZE,
    Deployment,
    address,
    child_processes,
    refusal,
    start_and_fail,
    stop,
    substitute,
    total,
    without_pgbouncer,
)
from tests.support.network import free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live


def client_and_scheme_seen(deployment: Deployment, client: str) -> tuple[str, str]:
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"}
    answer = deployment.ask("GET", "/health/live", client, headers=forged, port=deployment.port)
    return answer.headers["x-seen-client"], answer.headers["x-seen-scheme"]


def test_forwarded_headers_of_a_direct_client_are_ignored(deployment: Deployment) -> None:
    assert client_and_scheme_seen(deployment, "127.0.0.1") == ("127.0.0.1", "http")


def test_metrics_add_up_both_workers(deployment: Deployment) -> None:
    live = {"route": "/health/live", "status": "200"}
    before = deployment.ask("GET", "/metrics", port=deployment.port).text

    async def ask(number: int) -> str:
        async with deployment.client(address(number)) as client:
            return (await client.get("/health/live")).headers["x-seen-worker"]

    async def ask_all() -> list[str]:
        return await asyncio.gather(*(ask(number) for number in range(100)))

    asked = asyncio.run(ask_all())
    assert len(set(asked)) == 2, "one worker got all requests"

    def counted() -> float:
        now = deployment.ask("GET", "/metrics", port=deployment.port).text
        return sum(
            sign * total(text, "http_requests_total", **live)
            for sign, text in ((1, now), (-1, before))
        )

    wait_until(lambda: counted() >= len(asked))  # a worker counts a request after its answer
    assert counted() == len(asked)
    after = deployment.ask("GET", "/metrics", port=deployment.port).text
    assert total(after, "database_pool_size") == 2 * POOL_SIZE
    assert total(after, "database_pool_in_use") == 0


def test_service_limits_the_head_of_a_request(deployment: Deployment) -> None:
    for start in (
        b"GET /",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX: ",
    ):
        with socket.create_connection(("127.0.0.1", deployment.port), timeout=10) as client:
            client.sendall(start)
            with pytest.raises(ConnectionError):
                for _ in range(1000):
                    client.sendall(b"x" * 4096)
                    time.sleep(0.001)


def test_more_pool_connections_than_the_database_has_stop_the_start(
    default_deployment: Deployment,
) -> None:
    # The server accepts 300 connections, 3 of them for superusers only.
    message = refusal(
        start_and_fail(
            default_deployment, DATABASE_POOL_SIZE="149", **without_pgbouncer(default_deployment)
        )
    )
    assert "2 workers x DATABASE_POOL_SIZE 149 = 298 connections" in message
    assert "the database has 297" in message
    message = refusal(
        start_and_fail(
            default_deployment, "--workers", "30", **without_pgbouncer(default_deployment)
        )
    )
    assert "30 workers x DATABASE_POOL_SIZE 10 = 300 connections" in message, "the flag is ignored"
    limited = without_pgbouncer(default_deployment) | {"DATABASE_CONNECTION_LIMIT": "19"}
    assert "the database has 19" in refusal(start_and_fail(default_deployment, **limited))
    assert list((default_deployment.folder / "tmp").glob("metrics-*")) == []


def test_as_many_pool_connections_as_the_database_has_start(default_deployment: Deployment) -> None:
    stop(
        default_deployment.start_gunicorn(
            **without_pgbouncer(default_deployment) | {"DATABASE_POOL_SIZE": "148"}
        )
    )


@pytest.mark.parametrize("host", ["127.0.0.1:9", "db..example.com"])
def test_gunicorn_starts_without_its_database_and_warns(
    default_deployment: Deployment, host: str
) -> None:
    nowhere = {"DATABASE_URL": f"postgresql://notes@{host}/notes"}
    before = len(default_deployment.log("gunicorn.log"))
    master = default_deployment.start_gunicorn(**without_pgbouncer(default_deployment) | nowhere)
    assert "Could not ask the database" in default_deployment.log("gunicorn.log")[before:]
    assert default_deployment.ask("GET", "/health/live").status_code == 200
    assert (
        default_deployment.ask("GET", "/health/ready", port=default_deployment.port).status_code
        == 503
    )
    stop(master)


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", "mysql://hunter2"), ("DATABASE_POOL_SIZE", "many"), ("UPSTREAM_URL", "")],
)
def test_wrong_setting_stops_the_start_with_one_line(
    default_deployment: Deployment, name: str, value: str
) -> None:
    done = start_and_fail(default_deployment, **{name: value})
    assert refusal(done).startswith(f"Not started: {name}")
    assert "hunter2" not in done.stdout + done.stderr


def test_configuration_can_be_checked(default_deployment: Deployment) -> None:
    nowhere = {"DATABASE_URL": f"postgresql://notes@127.0.0.1:{free_port()}/notes"}
    checked = start_and_fail(
        default_deployment, "--check-config", **without_pgbouncer(default_deployment) | nowhere
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert list((default_deployment.folder / "tmp").iterdir()) == []


def test_folder_for_metrics_is_emptied_and_kept(
    default_deployment: Deployment,
) -> None:
    folder = default_deployment.folder / "multiproc"
    folder.mkdir()
    (folder / "counter_1.db").write_bytes(b"of another run")
    master = default_deployment.start_gunicorn(PROMETHEUS_MULTIPROC_DIR=str(folder))
    assert not (folder / "counter_1.db").exists()
    assert (
        default_deployment.ask("GET", "/metrics", port=default_deployment.port).status_code == 200
    )
    stop(master)
    assert list(folder.glob("counter_*.db"))


def test_forwarded_headers_of_a_listed_client_are_used(default_deployment: Deployment) -> None:
    master = default_deployment.start_gunicorn(FORWARDED_ALLOW_IPS="127.5.0.1")
    assert client_and_scheme_seen(default_deployment, "127.5.0.1") == ("6.6.6.6", "https")
    assert client_and_scheme_seen(default_deployment, "127.5.0.2") == ("127.5.0.2", "http")
    stop(master)


def test_ending_worker_has_time_to_finish_its_request(default_deployment: Deployment) -> None:
    """A worker that ends no longer notifies gunicorn, which kills silent workers after `timeout`."""
    master = default_deployment.start_gunicorn("--timeout", "5", GRACEFUL_TIMEOUT="20")
    path = default_deployment.ask("POST", "/notes", json={"title": "wait 8"}).headers["location"]

    async def ask() -> Response:
        async with default_deployment.client() as client:
            answer = asyncio.create_task(client.post(f"{path}/synchronize"))
            await asyncio.sleep(0.5)
            for worker in child_processes(master):
                os.kill(worker, signal.SIGTERM)
            return await answer

    assert asyncio.run(ask()).status_code == 200
    assert "WORKER TIMEOUT" not in default_deployment.log("gunicorn.log")
    stop(master)


def test_request_that_exceeds_the_graceful_timeout_is_ended_in_order(
    default_deployment: Deployment,
) -> None:
    before = default_deployment.log("gunicorn.log").count("Application shutdown complete")
    master = default_deployment.start_gunicorn(
        **without_pgbouncer(default_deployment) | {"GRACEFUL_TIMEOUT": "5"}
    )
    path = default_deployment.ask("POST", "/notes", json={"title": "wait 9"}).headers["location"]

    async def ask() -> Response:
        async with default_deployment.client() as client:
            answer = asyncio.create_task(client.post(f"{path}/synchronize"))
            await asyncio.sleep(0.5)
            master.terminate()
            return await answer

    started = time.monotonic()
    assert asyncio.run(ask()).status_code >= 500
    assert master.wait(timeout=10) == 0
    assert time.monotonic() - started < 8
    ended = default_deployment.log("gunicorn.log").count("Application shutdown complete") - before
    assert ended == 2, "killed with its connections open"


def test_reload_with_a_wrong_setting_ends_all_processes(default_deployment: Deployment) -> None:
    master = default_deployment.start_gunicorn()
    workers = child_processes(master)
    # The settings of a running process can change in this file only.
    wrong = default_deployment.project / ".env"
    wrong.write_text("DATABASE_POOL_SIZE=many\n")
    try:
        master.send_signal(signal.SIGHUP)
        assert master.wait(timeout=15) == 1
    finally:
        wrong.unlink()
    assert "Stopped at a reload: DATABASE_POOL_SIZE" in default_deployment.log("gunicorn.log")
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), "workers without a master"


def test_reload_with_too_many_pool_connections_warns_and_serves(
    default_deployment: Deployment,
) -> None:
    master = default_deployment.start_gunicorn(**without_pgbouncer(default_deployment))
    larger = default_deployment.project / ".env"
    larger.write_text("DATABASE_POOL_SIZE=149\n")
    try:
        ready = default_deployment.workers_started()
        master.send_signal(signal.SIGHUP)
        default_deployment.wait_for_workers(master, ready + 2)
    finally:
        larger.unlink()
    assert "Reloaded, but 2 workers x DATABASE_POOL_SIZE 149" in default_deployment.log(
        "gunicorn.log"
    )
    assert (
        default_deployment.ask("GET", "/health/ready", port=default_deployment.port).status_code
        == 200
    )
    stop(master)


def test_reload_loads_new_code(default_deployment: Deployment) -> None:
    """Also of the settings, which gunicorn's master has already imported."""
    master = default_deployment.start_gunicorn()
    assert (
        default_deployment.ask("POST", "/notes", json={"title": "long enough"}).status_code == 201
    )
    settings = default_deployment.project / "src/notes_service/settings.py"
    before = settings.read_text()
    settings.write_text(substitute(before, {"= 1_048_576": "= 10"}))
    try:
        ready, old = default_deployment.workers_started(), child_processes(master)
        master.send_signal(signal.SIGHUP)
        default_deployment.wait_for_workers(master, ready + 2)
        wait_until(lambda: not old & child_processes(master))
    finally:
        settings.write_text(before)
    assert (
        default_deployment.ask("POST", "/notes", json={"title": "long enough"}).status_code == 413
    )
    stop(master)
