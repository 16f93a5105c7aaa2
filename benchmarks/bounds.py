"""The bounds that the service must keep, and whether it does."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.figures import COMBINATIONS, Results, cost_ratios
from benchmarks.programs import SESSION, baseline_of
from benchmarks.slow_upstream import (
    BURST_POOL,
    BURST_SECONDS,
    BURST_USERS,
    CROWD_POOL,
    CROWD_SECONDS,
    CROWD_USERS,
)

FRAMEWORKS = ("starlette", "fastapi")


@dataclass(frozen=True)
class Bound:
    key: str  # for missed_bounds.py
    text: str
    limit: float
    measured: float
    unit: str = "x"
    minimum: bool = False  # whether the limit is a minimum, not a maximum
    rounds: Sequence[float] = ()  # whose median was measured

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.minimum else self.measured <= self.limit


def bounds(results: Results) -> Iterator[Bound]:
    def cost(workload: str, name: str, other: str, limit: float) -> Bound:
        rounds = cost_ratios(results, workload, name, other)
        key = f"{workload}, {name}, {other}"
        text = f"{workload}: CPU of `{name}`, relative to `{other}`"
        return Bound(key, text, limit, median(rounds), rounds=rounds)

    for workload, limit in (("read one", 1.4), ("list 10", 1.5)):
        for framework in FRAMEWORKS:
            name = f"{framework}-core-asyncpg"
            yield cost(workload, name, baseline_of(name), limit)
    yield cost("read one", "starlette-orm-asyncpg", SESSION.name, 0.65)
    yield cost("read one", "fastapi-orm-asyncpg", SESSION.name, 0.75)
    yield cost("list 10", "fastapi-core-asyncpg", SESSION.name, 0.4)
    for framework in FRAMEWORKS:
        yield cost("change one", f"{framework}-orm-asyncpg", SESSION.name, 0.9)
    for name in COMBINATIONS:
        if name.endswith("-databases"):
            yield cost("read one", name, baseline_of(name, "databases"), 1.3)

    bursts = results["slow_upstream"]["bursts"]
    yield Bound(
        "burst",
        f"{BURST_USERS} synchronizations at once on {BURST_POOL} connections, with an upstream that "
        f"takes {BURST_SECONDS} s: time until the last answer, in the slowest combination",
        1.3,
        max(median(bursts[name]) for name in COMBINATIONS),
        " s",
    )
    crowds = results["slow_upstream"]["crowds"]
    most = CROWD_USERS / CROWD_SECONDS
    yield Bound(
        "crowd",
        f"{CROWD_USERS:,} users on {CROWD_POOL} connections of one worker, with an upstream that "
        f"takes {CROWD_SECONDS} s: share of the {most:.0f} requests per second that are possible, in "
        "the slowest combination",
        95,
        min(crowds[name]["rate"] for name in COMBINATIONS) / most * 100,
        " %",
        minimum=True,
    )
