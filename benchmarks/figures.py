"""The figures that the documents show, taken from what was measured."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from benchmarks.programs import FLOORS, PEERS, SERVICES, floor
from benchmarks.waiting import BURST, CROWD, CROWD_POOL, PAUSE, POOL

Results = dict[str, Any]
COMBINATIONS = [program.name for program in SERVICES]
ORDER = [*(one.name for one in FLOORS), *COMBINATIONS, *(one.name for one in PEERS)]


def middle(results: Sequence[dict[str, float]], figure: str) -> float:
    return median(result[figure] for result in results)


def paired(
    one: Sequence[dict[str, float]], other: Sequence[dict[str, float]], figure: str = "cpu"
) -> list[float]:
    """Compare within each round, in which both shared what else the machine did."""
    return [a[figure] / b[figure] for a, b in zip(one, other, strict=True)]


def ratios(results: Results, work: str, name: str, other: str, figure: str = "cpu") -> list[float]:
    found = results["costs"][work]
    return paired(found[name], found[other], figure)


@dataclass(frozen=True)
class Bound:
    """Something the benchmark must show."""

    key: str  # what unmet.py calls it
    text: str
    limit: float
    measured: float
    unit: str = "x"
    least: bool = False  # whether the limit is the least, not the most
    rounds: Sequence[float] = ()  # of which it is the median

    @property
    def half(self) -> tuple[float, float]:
        """Between what half of the rounds are."""
        low, _, high = quantiles(self.rounds, n=4)
        return low, high

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.least else self.measured <= self.limit


def bounds(results: Results) -> Iterable[Bound]:
    def cost(work: str, name: str, other: str, limit: float) -> Bound:
        found = ratios(results, work, name, other)
        key, text = f"{work}, {name}, {other}", f"{work}: CPU of `{name}` to that of `{other}`"
        return Bound(key, text, limit, median(found), rounds=found)

    for framework, limit in (("starlette", 1.35), ("fastapi", 1.45)):
        name = f"{framework}-core-asyncpg"
        yield cost("read one", name, floor(name), limit)
    for framework in ("starlette", "fastapi"):
        name = f"{framework}-core-asyncpg"
        yield cost("list 10", name, floor(name), 1.5)
    for framework in ("starlette", "fastapi"):
        yield cost("read one", f"{framework}-orm-asyncpg", "peers/fastapi-session", 0.6)
    for name in COMBINATIONS:
        if name.endswith("-databases"):
            yield cost("read one", name, f"floors/{name.partition('-')[0]}-databases", 1.25)
    yield cost("list 10", "fastapi-core-asyncpg", "peers/fastapi-session", 0.35)
    users, seconds = BURST
    kind = results["waiting"]["bursts"][f"{users} on {POOL}, {seconds} s"]
    slowest = max(median(kind[name]) for name in COMBINATIONS)
    text = (
        f"{users} synchronizations at once on a pool of {POOL}, upstream of {seconds} s: the last"
    )
    yield Bound("burst", f"{text} is answered, in the slowest combination", 1.3, slowest, " s")
    slowest = min(results["waiting"]["crowds"][name]["rate"] for name in COMBINATIONS)
    text = f"{CROWD} users, {CROWD_POOL} connections, 1 worker, upstream of {PAUSE} s:"
    share = slowest / (CROWD / PAUSE) * 100
    text += f" of the {CROWD // PAUSE} a second that arithmetic allows, in the slowest combination"
    yield Bound("crowd", text, 95, share, " %", least=True)
    [*_, largest] = results["scaling"]["table"].values()
    for name, works in largest["results"].items():
        first, deep = (middle(works[work], "p50") for work in ("first page", "page in the middle"))
        apart = max(first, deep) / min(first, deep)
        if name in COMBINATIONS:
            text = f"10^7 rows: first page and one in the middle, `{name}`"
            yield Bound(f"pages, {name}", text, 1.2, apart)
    plans = [
        plan
        for size in results["scaling"]["table"].values()
        for program in size["plans"].values()
        for plan in program.values()
    ]
    found = sum("Seq Scan" not in plan and "Sort" not in plan for plan in plans)
    text = f"Plans of {len(plans)} reads, filtered or not, of 10^3, 10^5 and 10^7 rows:"
    text += " those that use an index and sort nothing"
    yield Bound("plans", text, 100, found / len(plans) * 100, " %", least=True)
