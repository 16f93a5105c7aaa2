"""Writes docs/performance.md and docs/transactions.md from docs/results.json and `documents/`."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.ablation import COMPLETE
from benchmarks.bounds import Bound, bounds
from benchmarks.figures import ORDER, Results, cost_ratios, median_of, quartiles, ratios
from benchmarks.missed_bounds import MISSED_BOUNDS
from benchmarks.programs import FUNCTION_SCOPE, SESSION, baseline_of
from benchmarks.request_costs import POOL
from benchmarks.scaling import POOL_USERS, POOLS, ROWS, WORKER_USERS
from benchmarks.slow_upstream import (
    ANSWER,
    BURST_POOL,
    BURST_SECONDS,
    BURST_USERS,
    COUNTED_SECONDS,
    CROWD_POOL,
    CROWD_SECONDS,
    CROWD_USERS,
    OBSERVED,
    REQUEST,
    SERVICE,
    UPSTREAM_ANSWERS,
    Timeline,
    commits_before_answer,
    seconds_held,
)
from benchmarks.workloads import READ_ONE, WORKLOADS
from tests.choices import ROOT, TEMPLATES

DOCS = ROOT / "docs"
RESULTS = DOCS / "results.json"
SYNCHRONIZE = TEMPLATES / "common" / "service" / "notes" / "synchronize.py"

Row = list[str]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a table of Markdown; all columns except the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Format quartiles."""
    return " to ".join(f"{value:.{digits}f}" for value in quartiles(values))


def bound_row(bound: Bound) -> Row:
    sign = "≥" if bound.minimum else "≤"
    digits = 1 if bound.unit == " %" else 2
    return [
        bound.text,
        f"{sign} {bound.limit:g}{bound.unit}",
        f"{bound.measured:.{digits}f}{bound.unit}",
        spread(bound.rounds, 2) if bound.rounds else "",
        "yes" if bound.met else "**no**",
    ]


def explanations(results: Results) -> dict[str, list[Bound]]:
    """Return the bounds that are missed by their explanations."""
    explained: dict[str, list[Bound]] = {}
    for bound in bounds(results):
        if not bound.met and bound.key in MISSED_BOUNDS:
            explained.setdefault(MISSED_BOUNDS[bound.key].strip(), []).append(bound)
    return explained


def cost_rows(results: Results, workload: str) -> Iterator[Row]:
    for name in ORDER:
        rounds = results["request_costs"][workload][name]
        cpu = [figures["cpu"] for figures in rounds]
        relative = cost_ratios(results, workload, name, baseline_of(name))
        yield [
            f"`{name}`",
            f"{median(cpu):.0f}",
            spread(cpu, 0),
            f"{median(relative):.2f}",
            spread(relative, 2),
            f"{median_of(rounds, 'rate'):.0f}",
            f"{median_of(rounds, 'p50'):.2f}",
            f"{median_of(rounds, 'p99'):.2f}",
        ]


def ablation_rows(parts: dict[str, Any]) -> Iterator[Row]:
    for part, rounds in parts.items():
        cpu = f"{median_of(rounds, 'cpu'):.0f}"
        if part == COMPLETE:
            yield [part, cpu, "", ""]
        else:
            savings = [(1 - ratio) * 100 for ratio in ratios(rounds, parts[COMPLETE])]
            yield [part, cpu, f"{median(savings):.1f} %", spread(savings, 1)]


def worker_rows(programs: dict[str, Any]) -> Iterator[Row]:
    for name, counts in programs.items():
        rates = [f"{median_of(rounds, 'rate'):.0f}" for rounds in counts.values()]
        cpu = [f"{median_of(rounds, 'cpu'):.0f}" for rounds in counts.values()]
        yield [f"`{name}`", *rates, *cpu]


def pool_rows(programs: dict[str, Any]) -> Iterator[Row]:
    for name, sizes in programs.items():
        yield [f"`{name}`", *(f"{median_of(rounds, 'rate'):.0f}" for rounds in sizes.values())]


def table_rows(tables: dict[str, Any]) -> Iterator[Row]:
    [first, *_] = tables.values()
    for name, workloads in first.items():
        for workload in workloads:
            latencies = (median_of(each[name][workload], "p50") for each in tables.values())
            yield [f"`{name}`, {workload}", *(f"{latency:.2f}" for latency in latencies)]


def first_answer_rows(managers: dict[str, list[float]]) -> Iterator[Row]:
    for name, seconds in managers.items():
        yield [name, f"{median(seconds):.1f}"]


def burst_rows(results: Results) -> Iterator[Row]:
    for name, seconds in results["slow_upstream"]["bursts"].items():
        yield [f"`{name}`", f"{median(seconds):.2f}", spread(seconds, 2)]


def crowd_rows(results: Results) -> Iterator[Row]:
    most = CROWD_USERS / CROWD_SECONDS
    for name, figures in results["slow_upstream"]["crowds"].items():
        rate = f"{figures['rate']:.1f}", f"{figures['rate'] / most * 100:.1f} %"
        latencies = f"{figures['p50']:.2f}", f"{figures['p99']:.2f}"
        yield [f"`{name}`", *rate, *latencies, str(figures["failed"])]


def synchronize_source() -> str:
    """Return the code of the use case without its docstrings."""
    _, begin, code = SYNCHRONIZE.read_text().partition("async def synchronize")
    return re.sub(r'    """.*?"""\n', "", begin + code, flags=re.DOTALL)


def side_by_side(timelines: dict[str, Timeline]) -> str:
    """Format timelines as columns of text, below their titles."""
    columns = [
        [title, "", *(f"{at:7.1f}  {what}" for at, what in timeline)]
        for title, timeline in timelines.items()
    ]
    height = max(map(len, columns))
    widths = [max(map(len, column)) + 3 for column in columns]
    return "\n".join(
        "".join(
            (column[line] if line < len(column) else "").ljust(width)
            for column, width in zip(columns, widths, strict=True)
        ).rstrip()
        for line in range(height)
    )


def performance(results: Results) -> dict[str, Any]:
    """Return the values that documents/performance.md.j2 shows."""
    read_one, scaling = results["request_costs"]["read one"], results["scaling"]
    no_reset = {
        name: ratios(read_one[name], read_one[baseline_of(name, "asyncpg-no-reset")])
        for name in results["ablation"]
    }
    return {
        "machine": results["machine"],
        "pool": POOL,
        "users": READ_ONE.users,
        "slow_workload": WORKLOADS[-1],
        "no_reset": {name: f"{median(relative):.2f}" for name, relative in no_reset.items()},
        "bound_rows": map(bound_row, bounds(results)),
        "explanations": explanations(results),
        "cost_rows": {each.name: cost_rows(results, each.name) for each in WORKLOADS},
        "ablation_rows": {
            name: ablation_rows(parts) for name, parts in results["ablation"].items()
        },
        "worker_rows": worker_rows(scaling["workers"]),
        "worker_users": WORKER_USERS,
        "pool_rows": pool_rows(scaling["pools"]),
        "pool_sizes": POOLS,
        "pool_users": POOL_USERS,
        "table_rows": table_rows(scaling["table"]),
        "table_sizes": ROWS,
        "first_answer_rows": first_answer_rows(results["first_answer"]),
    }


def transactions(results: Results) -> dict[str, Any]:
    """Return the values that documents/transactions.md.j2 shows."""
    crowds, observed = (results["slow_upstream"][name] for name in ("crowds", "observed"))
    timelines = {name: observed[name]["timeline"] for name in OBSERVED}
    titles = ["the service", 'session, scope="request"', 'session, scope="function"']
    begins = [at for at, what in timelines[SERVICE] if what == "BEGIN"]
    [answered] = [at for at, what in timelines[SERVICE] if what == UPSTREAM_ANSWERS]
    return {
        "names": {"service": SERVICE, "session": SESSION.name, "function": FUNCTION_SCOPE.name},
        "source": synchronize_source(),
        "events": {"request": REQUEST, "answer": ANSWER},
        "titles": titles,
        "timelines": side_by_side(dict(zip(titles, timelines.values(), strict=True))),
        "commits_before_answer": [
            "yes" if commits_before_answer(timeline) else "**no**"
            for timeline in timelines.values()
        ],
        "seconds_held": [f"{seconds_held(timeline):.3f} s" for timeline in timelines.values()],
        "burst_users": BURST_USERS,
        "burst_pool": BURST_POOL,
        "burst_seconds": BURST_SECONDS,
        "burst_rows": burst_rows(results),
        "crowd_users": CROWD_USERS,
        "crowd_pool": CROWD_POOL,
        "crowd_seconds": CROWD_SECONDS,
        "crowd_rows": crowd_rows(results),
        "counted_seconds": COUNTED_SECONDS,
        "times": crowds[SERVICE]["rate"] / crowds[SESSION.name]["rate"],
        "until_begin": max(begins) - answered,
    }


def documents(results: Results) -> dict[Path, str]:
    """Return the text of each document."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("documents")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # noqa: S701  # Markdown, not HTML
    )
    environment.globals["table"] = table
    contexts = {"performance.md": performance, "transactions.md": transactions}
    return {
        DOCS / name: environment.get_template(f"{name}.j2").render(context(results))
        for name, context in contexts.items()
    }


def write(results: Results) -> None:
    """Write the results, the documents and the plots."""
    from benchmarks.plots import draw  # matplotlib takes long to import

    lines = [f"{json.dumps(name)}: {json.dumps(section)}" for name, section in results.items()]
    RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for path, text in documents(results).items():
        path.write_text(text)
    draw(results, DOCS / "plots")
