"""What a slow upstream does to a pool: many synchronizations at once, as their clients see them."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks.bench import Bench
from benchmarks.client import User
from benchmarks.database import fill, template_module
from benchmarks.programs import ALTERNATIVES, FUNCTION_SCOPE, SERVICES, SESSION
from benchmarks.servers import Server, set_upstream_seconds

# All three use SQLAlchemy's pool, which reports when it lends a connection.
SERVICE = "fastapi-orm-asyncpg"
OBSERVED = [SERVICE, SESSION.name, FUNCTION_SCOPE.name]

BURST_USERS, BURST_POOL, BURST_SECONDS = 20, 5, 1
BURST_NAMES = [program.name for program in (*SERVICES, *ALTERNATIVES)]
BURST_STEP = 0.01  # seconds over which the number of connections in use is averaged

CROWD_USERS, CROWD_POOL, CROWD_SECONDS = 1000, 10, 5
CROWD_NAMES = [*(program.name for program in SERVICES), SESSION.name, FUNCTION_SCOPE.name]
CROWD_STEP = 0.05
COUNTED_SECONDS = 2 * CROWD_SECONDS

REQUEST, ANSWER = "the request", "the answer"
UPSTREAM_ASKED, UPSTREAM_ANSWERS = "the upstream is asked", "the upstream answers"

Timeline = Sequence[Sequence[Any]]  # pairs of milliseconds and what happened then


async def burst(url: str) -> float:
    """Let all users synchronize at once, a note each; return the seconds until the last answer."""
    async with AsyncExitStack() as stack:
        users = [await stack.enter_async_context(User(url)) for _ in range(BURST_USERS)]
        started = time.perf_counter()
        requests = (user.synchronize(note) for note, user in enumerate(users, 1))
        statuses = await asyncio.gather(*requests)
        seconds = time.perf_counter() - started
        if set(statuses) != {200}:
            raise SystemExit(f"{url} answered {statuses}")
        await asyncio.sleep(0.1)  # some alternatives commit after they have answered
        return seconds


async def crowd(url: str) -> dict[str, Any]:
    """Let users arrive evenly over the time of one call, and synchronize again and again.

    Count the answers of COUNTED_SECONDS, which begin half a call after the last user has arrived.
    """
    started = time.perf_counter()
    begin = started + 1.5 * CROWD_SECONDS
    end = begin + COUNTED_SECONDS
    latencies: list[float] = []
    failed = 0

    def count(success: bool, asked: float) -> None:
        nonlocal failed
        if begin <= (now := time.perf_counter()) < end:
            if success:
                latencies.append(now - asked)
            else:
                failed += 1

    async def use(note: int) -> None:
        await asyncio.sleep(CROWD_SECONDS * note / CROWD_USERS)
        while (asked := time.perf_counter()) < end:
            try:
                async with User(url) as user:
                    while (asked := time.perf_counter()) < end:
                        count(await user.synchronize(note) == 200, asked)
            except (EOFError, ConnectionError):
                count(False, asked)  # uvicorn hangs up after an unexpected error: connect again

    users = [asyncio.create_task(use(note)) for note in range(1, CROWD_USERS + 1)]
    await asyncio.sleep(end - started)
    for user in users:
        user.cancel()
    for error in await asyncio.gather(*users, return_exceptions=True):
        if isinstance(error, Exception):
            raise error
    if len(latencies) < 2:
        raise SystemExit(f"{url} answered {len(latencies)} of {CROWD_USERS} users, {failed} failed")
    cuts = quantiles(latencies, n=100)
    rate = len(latencies) / COUNTED_SECONDS
    return {"rate": rate, "failed": failed, "p50": cuts[49], "p99": cuts[98]}


def connections_in_use(pool_log: Path, begin: float, end: float, step: float) -> list[float]:
    """Return how many connections were checked out between two times, averaged over each step."""
    lines = map(str.split, pool_log.read_text().splitlines())
    # A connection that was checked out before the beginning may be returned after it.
    events = [(max(float(at) - begin, 0.0), what) for at, what in lines]
    events = [(0.0, ""), *(event for event in events if event[0] < end), (end, "")]
    in_use, steps = 0, [0.0] * round(end / step)
    for (at, what), (until, _) in pairwise(events):
        in_use += {"checkout": 1, "return": -1}.get(what, 0)
        for number in range(int(at / step), min(int(until / step) + 1, len(steps))):
            covered = min(until, (number + 1) * step) - max(at, number * step)
            steps[number] += in_use * covered / step
    return [round(value, 3) for value in steps]


def summary(statement: str) -> str:
    """Return the command of a statement and its table."""
    table = re.search(r"(?:FROM|INTO|UPDATE) (\w+)", statement)
    return f"{statement.split()[0]} {table[1]}" if table else re.split(r"[\s;(]", statement)[0]


async def timeline(bench: Bench, name: str) -> Timeline:
    """Record what happens during one synchronization, and at which millisecond.

    A proxy in front of PostgreSQL hears the statements; SQLAlchemy's pool reports its connections.
    """
    events: list[tuple[float, str]] = []

    def record(what: str) -> None:
        events.append((time.time(), what))

    async def answer(note: dict[str, Any]) -> tuple[int, bytes]:
        record(UPSTREAM_ASKED)
        await asyncio.sleep(1)
        record(UPSTREAM_ANSWERS)
        return 200, json.dumps({"title": note["title"], "body": note["body"]}).encode()

    proxy = template_module("tests/postgres_proxy.py").PostgresProxy(
        bench.database, on_statement=lambda statement: record(summary(statement))
    )
    await proxy.start()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        pool_log = Path(folder) / "pool"
        async with template_module("tests/notes/upstream.py").UpstreamStub() as upstream:
            upstream.answer = answer
            urls = {"database_url": proxy.url, "upstream_url": upstream.url}
            serving = bench.serve(name, pool=1, pool_log=pool_log, **urls)
            # In a thread, because this one runs the proxy.
            [server] = await asyncio.to_thread(stack.enter_context, serving)
            async with User(server.url) as user:
                # The first request connects and prepares the statements.
                first = await user.synchronize(1)
                await asyncio.sleep(0.1)
                events.clear()
                record(REQUEST)
                second = await user.synchronize(1)
                record(ANSWER)
                await asyncio.sleep(0.1)
            if {first, second} != {200}:
                raise SystemExit(f"{name} answered {first} and {second}")
            await asyncio.to_thread(stack.close)
        await proxy.stop()
        begin, end = events[0][0], events[-1][0] + 0.1
        reports = [line.split() for line in pool_log.read_text().splitlines()]
        events += [(float(at), what) for at, what in reports if begin < float(at) < end]
    milliseconds = [(round((at - begin) * 1000, 1), what) for at, what in sorted(events)]
    if name == SERVICE and not commits_before_answer(milliseconds):
        raise SystemExit(f"{name} answered before its COMMIT: {milliseconds}")
    return milliseconds


def commits_before_answer(timeline: Timeline) -> bool:
    """Return whether the last COMMIT was sent before the answer."""
    order = [what for _, what in timeline if what in ("COMMIT", ANSWER)]
    return order[-2:] == ["COMMIT", ANSWER]


def seconds_held(timeline: Timeline) -> float:
    """Return for how long connections were checked out, in seconds."""
    returns = sum(at for at, what in timeline if what == "return")
    return (returns - sum(at for at, what in timeline if what == "checkout")) / 1000


@contextmanager
def observed(bench: Bench, name: str, pool: int) -> Iterator[tuple[Server, Path]]:
    """Serve a program whose pool reports to a file."""
    with tempfile.TemporaryDirectory() as folder:
        pool_log = Path(folder) / "pool"
        with bench.serve(name, pool=pool, pool_log=pool_log) as [server]:
            yield server, pool_log


def bursts(bench: Bench) -> dict[str, Any]:
    """Measure the burst of each program three times."""
    names = OBSERVED if bench.quick else BURST_NAMES
    set_upstream_seconds(bench.upstream, BURST_SECONDS)
    results: dict[str, list[float]] = {name: [] for name in names}
    with bench.serve(*names, pool=BURST_POOL) as servers:
        for _ in bench.progress.track(range(3), description="Bursts"):
            for name, server in zip(names, servers, strict=True):
                results[name].append(asyncio.run(burst(server.url)))
    return results


def observed_burst(bench: Bench, name: str) -> list[float]:
    """Return how many connections of a program are in use during a burst."""
    set_upstream_seconds(bench.upstream, BURST_SECONDS)
    with observed(bench, name, BURST_POOL) as (server, pool_log):
        begin = time.time()
        seconds = asyncio.run(burst(server.url))
        time.sleep(0.2)  # until the last connection is returned
        return connections_in_use(pool_log, begin, seconds + 0.2, BURST_STEP)


def crowds(bench: Bench) -> dict[str, Any]:
    """Let the crowd use every combination of the service and two alternatives."""
    results: dict[str, Any] = {}
    set_upstream_seconds(bench.upstream, CROWD_SECONDS)
    for name in bench.progress.track(CROWD_NAMES, description=f"{CROWD_USERS} users"):
        with observed(bench, name, CROWD_POOL) as (server, pool_log):
            begin = time.time()
            results[name] = asyncio.run(crowd(server.url))
            if name in OBSERVED:
                end = 1.5 * CROWD_SECONDS + COUNTED_SECONDS
                in_use = connections_in_use(pool_log, begin, end, CROWD_STEP)
                results[name]["in_use"] = in_use
    return results


def measure(bench: Bench) -> dict[str, Any]:
    fill(bench.database, CROWD_USERS)
    results: dict[str, Any] = {"bursts": bursts(bench)}
    if not bench.quick:
        track = bench.progress.track(OBSERVED, description="Connections in use")
        results["observed"] = {
            name: {
                "in_use": observed_burst(bench, name),
                "timeline": asyncio.run(timeline(bench, name)),
            }
            for name in track
        }
        results["crowds"] = crowds(bench)
    return results
