"""CPU, requests per second and latencies of every workload, of all programs side by side."""

import random
from collections.abc import Sequence
from typing import Any

from benchmarks.bench import Bench
from benchmarks.database import fill
from benchmarks.programs import ALL
from benchmarks.servers import set_upstream_seconds
from benchmarks.workloads import NOTES, WORKLOADS, Workload, load

POOL = 10


def measure(
    bench: Bench,
    names: Sequence[str] = tuple(ALL),
    workloads: Sequence[Workload] = WORKLOADS,
    rounds: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Measure every workload of every program once a round, in random order.

    So all of them get the same share of whatever else the machine does.

    rounds, seconds: instead of those of the workloads.
    """
    results: dict[str, Any] = {
        workload.name: {name: [] for name in names} for workload in workloads
    }
    with bench.serve(*names, pool=POOL) as running:
        servers = dict(zip(names, running, strict=True))
        schedule = [
            (number, workload)
            for number in range(max(rounds or workload.rounds for workload in workloads) + 1)
            for workload in workloads
            if number <= (rounds or workload.rounds)
        ]
        for number, workload in bench.progress.track(schedule, description="Request costs"):
            fill(bench.database, NOTES)
            set_upstream_seconds(bench.upstream, workload.upstream_seconds)
            for name in random.sample(names, len(names)):
                figures = load(servers[name], workload, seconds or workload.seconds)
                if number:  # the first round warms up
                    results[workload.name][name].append(figures)
    return results
