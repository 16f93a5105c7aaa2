"""What each part of the service costs: reading a note with all parts, and without one at a time."""

import random
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.bench import Bench
from benchmarks.database import fill
from benchmarks.programs import ALL
from benchmarks.request_costs import POOL
from benchmarks.workloads import NOTES, READ_ONE, load

NAMES = ["starlette-core-asyncpg", "fastapi-core-asyncpg"]
COMPLETE = "nothing"
# What is left out, and the settings that leave it out.
ABLATIONS: dict[str, dict[str, str]] = {
    COMPLETE: {"ablated_middleware": ""},
    "the log line": {"ablated_middleware": "", "log_level": "warning"},
    "`RequestLogMiddleware`": {"ablated_middleware": "RequestLogMiddleware"},
    "`UnexpectedErrorMiddleware`": {"ablated_middleware": "UnexpectedErrorMiddleware"},
    "`RequestBodyMiddleware`": {"ablated_middleware": "RequestBodyMiddleware"},
}


def measure(bench: Bench, rounds: int = 4, seconds: int = 1) -> dict[str, Any]:
    """Measure all of them in each round, in random order: the differences are small."""
    results: dict[str, Any] = {name: {part: [] for part in ABLATIONS} for name in NAMES}
    fill(bench.database, NOTES)
    with ExitStack() as stack:
        servers = {
            (name, part): stack.enter_context(
                bench.serve(replace(ALL[name], app="benchmarks.ablated:app"), pool=POOL, **settings)
            )[0]
            for name in NAMES
            for part, settings in ABLATIONS.items()
        }
        for number in bench.progress.track(range(rounds + 1), description="Ablation"):
            for name, part in random.sample(list(servers), len(servers)):
                figures = load(servers[name, part], READ_ONE, seconds)
                if number:  # the first round warms up
                    results[name][part].append(figures)
    return results
