"""CPU, requests a second and latencies of every kind of request, of all programs side by side."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.bench import Bench
from benchmarks.database import fill
from benchmarks.load import NOTES, SLOW_WORKS, WORKS, Work, ask
from benchmarks.programs import ALL
from benchmarks.servers import Server, pause

POOL = 10
PAUSES = 3.5  # of a slow upstream are measured


def measure(
    bench: Bench,
    names: Sequence[str] = tuple(ALL),
    works: Sequence[Work] = WORKS,
    slow: Sequence[Work] = SLOW_WORKS,
    rounds: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Measure each work of each program once a round, in an order that changes.

    rounds, seconds: the works' own where they are not given.

    So what else the machine does, and how warm it is, is shared by all.
    """
    found: dict[str, Any] = {work.name: {name: [] for name in names} for work in works}
    with bench.serve(*names, pool=POOL) as running:
        servers = dict(zip(names, running, strict=True))
        last = {work.name: rounds or work.rounds for work in works}
        turns = [
            (turn, work)
            for turn in range(max(last.values(), default=0) + 1)
            for work in works
            if turn <= last[work.name]
        ]
        for turn, work in bench.progress.track(turns, description="What a request costs"):
            fill(bench.database, NOTES)
            pause(bench.upstream, work.pause)
            for name in random.sample(names, len(names)):
                result = ask(servers[name], work, (seconds or work.seconds) if turn else 1)
                if turn:  # the first is for warming up
                    found[work.name][name].append(result)
        for work in bench.progress.track(slow, description="Slow upstreams"):
            fill(bench.database, NOTES)
            pause(bench.upstream, work.pause)
            found[work.name] = together(servers, work)
    return found


def together(servers: dict[str, Server], work: Work) -> dict[str, Any]:
    """Measure a work of several programs at once, on notes of their own: most of it is waiting.

    The shorter a pause, the fewer at once, or they would wait for each other. It ends in the middle
    of a pause, as far from the answers as can be.
    """
    share = NOTES // len(servers)
    seconds = PAUSES * work.pause
    with ThreadPoolExecutor(round(2 * work.pause)) as threads:
        asked = {
            name: threads.submit(ask, server, work, seconds, 1 + turn * share, share)
            for turn, (name, server) in enumerate(servers.items())
        }
        return {name: [future.result()] for name, future in asked.items()}
