"""What a slow upstream does to a pool, as clients see it: synchronizations that meet."""

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
from benchmarks.database import fill, load
from benchmarks.programs import PEERS, SERVICES
from benchmarks.servers import Server, pause

# What is drawn and written down beside each other.
EXPLICIT, IMPLICIT = "fastapi-core-asyncpg", "peers/fastapi-session"
NAMES = [program.name for program in (*SERVICES, *PEERS)]
POOL = 5
BURSTS = [(5, 5), (10, 5), (20, 1)]  # users at once, and the seconds that the upstream takes
BURST = BURSTS[-1]
CROWD, CROWD_POOL, PAUSE = 1000, 10, 5
STEP, CROWD_STEP = 0.01, 0.05  # seconds over which a pool's occupancy is averaged


async def burst(url: str, users: int, first: int = 1) -> float:
    """Let all synchronize at once, a note each; return the seconds until the last is answered."""
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(User(url)) for _ in range(users)]
        started = time.perf_counter()
        asked = (user.synchronize(note) for note, user in enumerate(crowd, first))
        statuses = await asyncio.gather(*asked)
        if set(statuses) != {200}:
            raise SystemExit(f"{url} answered {statuses}")
        took = time.perf_counter() - started
        await asyncio.sleep(0.1)  # some commit when they have answered
        return took


async def crowd(url: str, seconds: float) -> dict[str, Any]:
    """Let users come, evenly over the time of one call, and synchronize again and again.

    When all have been there for half a call, count for so many `seconds`.
    """
    started = time.perf_counter()
    begin = started + 1.5 * PAUSE
    end = begin + seconds
    waited: list[float] = []
    failed = 0

    def count(answered: bool, asked: float) -> None:
        nonlocal failed
        if begin <= (now := time.perf_counter()) < end:
            if answered:
                waited.append(now - asked)
            else:
                failed += 1

    async def use(note: int) -> None:
        await asyncio.sleep(PAUSE * note / CROWD)
        while (asked := time.perf_counter()) < end:
            try:
                async with User(url) as user:
                    while (asked := time.perf_counter()) < end:
                        count(await user.synchronize(note) == 200, asked)
            except (EOFError, ConnectionError):
                count(False, asked)  # uvicorn hangs up after an unexpected error: come back

    users = [asyncio.create_task(use(note)) for note in range(1, CROWD + 1)]
    await asyncio.sleep(end - started)
    for user in users:
        user.cancel()
    for error in await asyncio.gather(*users, return_exceptions=True):
        if isinstance(error, Exception):
            raise error
    if len(waited) < 2:
        raise SystemExit(f"{url} answered {len(waited)} times to {CROWD} users, {failed} failed")
    cuts = quantiles(waited, n=100)
    return {"rate": len(waited) / seconds, "failed": failed, "p50": cuts[49], "p99": cuts[98]}


def occupancy(file: Path, begin: float, end: float, step: float) -> list[float]:
    """Tell from what a pool noted how many connections were out, on average over each `step`."""
    lines = map(str.split, file.read_text().splitlines())
    # What was lent before the beginning may come back after it.
    events = [(max(float(at) - begin, 0.0), what) for at, what in lines]
    events = [(0.0, ""), *(event for event in events if event[0] < end), (end, "")]
    held, steps = 0, [0.0] * round(end / step)
    for (at, what), (until, _) in pairwise(events):
        held += {"checkout": 1, "return": -1}.get(what, 0)
        for turn in range(int(at / step), min(int(until / step) + 1, len(steps))):
            covered = min(until, (turn + 1) * step) - max(at, turn * step)
            steps[turn] += held * covered / step
    return [round(value, 3) for value in steps]


def brief(statement: str) -> str:
    table = re.search(r"(?:FROM|INTO|UPDATE) (\w+)", statement)
    return f"{statement.split()[0]} {table[1]}" if table else re.split(r"[\n;(]", statement)[0]


async def timeline(bench: Bench, name: str) -> list[tuple[float, str]]:
    """Write down what happens in one synchronization, and at which millisecond.

    Statements are heard on their way to PostgreSQL; when a connection is lent, the pool tells.
    """
    events: list[tuple[float, str]] = []

    def note(what: str) -> None:
        events.append((time.time(), what))

    def note_statement(statement: str) -> None:
        note(brief(statement))

    async def slow(sent: dict[str, Any]) -> tuple[int, bytes]:
        note("the upstream is asked")
        await asyncio.sleep(1)
        note("the upstream answers")
        return 200, json.dumps({"title": sent["title"], "body": sent["body"]}).encode()

    proxy = load("tests/postgres_proxy.py").PostgresProxy(bench.database, note_statement)
    await proxy.start()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        file = Path(folder) / "pool"
        async with load("tests/notes/upstream.py").UpstreamStub() as upstream:
            upstream.answer = slow
            urls = {"database_url": proxy.url, "upstream_url": upstream.url}
            # In a thread, because the proxy is served by this one.
            serving = bench.serve(name, pool=1, watched=file, **urls)
            [server] = await asyncio.to_thread(stack.enter_context, serving)
            async with User(server.url) as user:
                opened = await user.synchronize(1)  # a connection, and prepares the statements
                await asyncio.sleep(0.1)
                events.clear()
                note("the request")
                status = await user.synchronize(1)
                note("the answer")
                await asyncio.sleep(0.1)
            if {opened, status} != {200}:
                raise SystemExit(f"{name} answered {opened} and {status}")
            await asyncio.to_thread(stack.close)
        await proxy.stop()
        begin, end = events[0][0], events[-1][0]
        lent = [line.split() for line in file.read_text().splitlines()]
        events += [(float(at), what) for at, what in lent if begin < float(at) < end + 0.1]
    found = [(round((at - begin) * 1000, 1), what) for at, what in sorted(events)]
    if name == EXPLICIT and not committed(found):
        raise SystemExit(f"{name} answered before its COMMIT: {found}")
    return found


def committed(timeline: Sequence[Sequence[Any]]) -> bool:
    """Tell whether the transaction that wrote was committed before the answer."""
    whats = [what for _, what in timeline]
    commits = [turn for turn, what in enumerate(whats) if what == "COMMIT"]
    return bool(commits) and commits[-1] < whats.index("the answer")


@contextmanager
def watched(bench: Bench, name: str, pool: int) -> Iterator[tuple[Server, Path]]:
    """Serve a program that notes in a file when its pool lends a connection."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pool"
        with bench.serve(name, pool=pool, watched=file) as [server]:
            yield server, file


def bursts(bench: Bench) -> dict[str, Any]:
    """Measure the bursts: side by side where the upstream takes most of the time anyway."""
    found: dict[str, Any] = {}
    names = [EXPLICIT, IMPLICIT] if bench.quick else NAMES
    kinds = [BURST] if bench.quick else BURSTS
    with bench.serve(*names, pool=POOL) as servers:
        for users, seconds in bench.progress.track(kinds, description="Bursts"):
            pause(bench.upstream, seconds)
            results: dict[str, list[float]] = {name: [] for name in names}
            if seconds > 1:

                async def together(users: int = users) -> list[float]:
                    asked = (
                        burst(server.url, users, 1 + users * turn)
                        for turn, server in enumerate(servers)
                    )
                    return await asyncio.gather(*asked)

                for name, took in zip(names, asyncio.run(together()), strict=True):
                    results[name].append(took)
            else:
                for _ in range(3):
                    for name, server in zip(names, servers, strict=True):
                        results[name].append(asyncio.run(burst(server.url, users)))
            found[f"{users} on {POOL}, {seconds} s"] = results
    return found


def crowds(bench: Bench) -> dict[str, Any]:
    """Let the service in every combination, and one peer, serve the crowd; watch two of them."""
    found: dict[str, Any] = {}
    pause(bench.upstream, PAUSE)
    names = [program.name for program in SERVICES] + [IMPLICIT]
    for name in bench.progress.track(names, description=f"{CROWD} users"):
        with watched(bench, name, CROWD_POOL) as (server, file):
            begin = time.time()
            found[name] = asyncio.run(crowd(server.url, 2 * PAUSE))
            end = time.time() - begin
            if name in (EXPLICIT, IMPLICIT):
                found[name]["held"] = occupancy(file, begin, min(end, 3.5 * PAUSE), CROWD_STEP)
    return found


def held(bench: Bench, name: str) -> list[float]:
    """Watch the pool through a burst."""
    users, seconds = BURST
    pause(bench.upstream, seconds)
    with watched(bench, name, POOL) as (server, file):
        begin = time.time()
        took = asyncio.run(burst(server.url, users))
        time.sleep(0.2)  # until the last connection is back, and a little more
        return occupancy(file, begin, took + 0.2, STEP)


def measure(bench: Bench) -> dict[str, Any]:
    """Let synchronizations meet on small pools."""
    fill(bench.database, CROWD)
    found = {"bursts": bursts(bench)}
    if not bench.quick:
        both = bench.progress.track((EXPLICIT, IMPLICIT), description="What a pool lends")
        found["watched"] = {
            name: {"held": held(bench, name), "timeline": asyncio.run(timeline(bench, name))}
            for name in both
        }
        found["crowds"] = crowds(bench)
    return found
