"""What each part of the service costs: a note is read with all of them, and without one at a time."""

import random
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.bench import Bench
from benchmarks.costs import POOL
from benchmarks.database import fill
from benchmarks.load import NOTES, READ, ask
from benchmarks.programs import ALL

NAMES = ["starlette-core-asyncpg", "fastapi-core-asyncpg"]
WHOLE = "nothing"
# What is left out, and the settings that do it.
PARTS: dict[str, dict[str, str]] = {
    WHOLE: {"without": ""},
    "the log line": {"without": "", "log_level": "warning"},
    "metrics": {"without": "metrics"},
    "request ids": {"without": "request ids"},
    "`Requests`: all three": {"without": "Requests"},
    "`Unexpected`": {"without": "Unexpected"},
    "`WholeBody`": {"without": "WholeBody"},
}


def measure(bench: Bench, rounds: int = 5, seconds: int = 2) -> dict[str, Any]:
    """Measure all in each round, in an order that changes: it is little that is weighed."""
    found: dict[str, Any] = {name: {part: [] for part in PARTS} for name in NAMES}
    fill(bench.database, NOTES)
    with ExitStack() as stack:
        servers = {
            (name, part): stack.enter_context(
                bench.serve(replace(ALL[name], app="benchmarks.without:app"), pool=POOL, **settings)
            )[0]
            for name in NAMES
            for part, settings in PARTS.items()
        }
        for turn in bench.progress.track(range(rounds + 1), description="What each part costs"):
            for name, part in random.sample(list(servers), len(servers)):
                result = ask(servers[name, part], READ, seconds if turn else 1)
                if turn:  # the first is for warming up
                    found[name][part].append(result)
    return found
