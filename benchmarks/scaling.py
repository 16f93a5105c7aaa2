"""What more workers, more connections and more rows change."""

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.bench import Bench
from benchmarks.database import fill
from benchmarks.programs import ALL
from benchmarks.servers import deployed
from benchmarks.workloads import READ_ONE, Workload, load

ROUNDS = 2  # after one that warms up
WORKERS = [1, 2]
WORKER_USERS = 16  # more than one worker has connections
POOLS = [1, 2, 5, 10, 20]
POOL_USERS = 50
ROWS = [10**3, 10**6]
DEPLOYED = ["fastapi-core-asyncpg", "fastapi-orm-asyncpg"]
DEPLOYED += ["starlette-core-asyncpg", "starlette-orm-asyncpg"]
NAMES = ["baselines/fastapi-asyncpg", "fastapi-core-asyncpg", "fastapi-orm-asyncpg"]


def workers(bench: Bench) -> dict[str, Any]:
    """Serve by gunicorn as in production, with one worker and with more."""
    workload = replace(READ_ONE, users=WORKER_USERS)
    results: dict[str, Any] = {}
    settings = {"database_url": bench.database, "upstream_url": bench.upstream.url}
    for name in bench.progress.track(DEPLOYED, description="Workers"):
        results[name] = {count: [] for count in WORKERS}
        with ExitStack() as stack:
            servers = {
                count: stack.enter_context(deployed(ALL[name], count, **settings))
                for count in WORKERS
            }
            for number in range(ROUNDS + 1):
                for count, server in servers.items():
                    figures = load(server, workload, 2 if number else 1)
                    if number:
                        results[name][count].append(figures)
    return results


def pools(bench: Bench) -> dict[str, Any]:
    """Let many users read with pools of all sizes."""
    workload = replace(READ_ONE, users=POOL_USERS)
    results: dict[str, Any] = {}
    for name in bench.progress.track(NAMES, description="Pools"):
        results[name] = {size: [] for size in POOLS}
        with ExitStack() as stack:
            servers = {size: stack.enter_context(bench.serve(name, pool=size))[0] for size in POOLS}
            for number in range(ROUNDS + 1):
                for size, server in servers.items():
                    figures = load(server, workload, 1)
                    if number:
                        results[name][size].append(figures)
    return results


def table(bench: Bench) -> dict[str, Any]:
    """Let one user read pages and notes of a small and of a large table."""
    results: dict[str, Any] = {}
    for rows in bench.progress.track(ROWS, description="Tables"):
        fill(bench.database, rows, lines=0)
        middle = rows // 2
        workloads = [
            Workload("first page", "/notes", users=1),
            Workload("page in the middle", f"/notes?after={middle}", users=1),
            Workload("one note", f"/notes/{middle}", users=1),
        ]
        results[rows] = {name: {each.name: [] for each in workloads} for name in NAMES}
        with bench.serve(*NAMES, pool=1) as servers:
            for number in range(ROUNDS + 1):
                for name, server in zip(NAMES, servers, strict=True):
                    for workload in workloads:
                        figures = load(server, workload, 1)
                        if number:
                            results[rows][name][workload.name].append(figures)
    return results


def measure(bench: Bench) -> dict[str, Any]:
    return {"workers": workers(bench), "pools": pools(bench), "table": table(bench)}
