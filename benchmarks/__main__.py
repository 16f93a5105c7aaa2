"""`make bench` and `make bench-quick`; `compare` is for whoever changes the templates."""

import argparse
import json
import resource
import signal
from collections.abc import Iterable
from itertools import product
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import costs, parts, report, scaling, start, waiting
from benchmarks.bench import bench
from benchmarks.database import execute
from benchmarks.figures import Results, bounds, middle, ratios
from benchmarks.load import WORKS, Work, wrk
from benchmarks.machine import machine
from benchmarks.programs import ALL, floor, floors
from tests.choices import ROOT

# Of the last whole run, section by section; docs/results.json is what is committed.
KEPT = ROOT / "benchmarks" / "results"
QUICK = [
    *("fastapi-core-asyncpg", "starlette-core-asyncpg", "fastapi-orm-asyncpg"),
    *("floors/fastapi-asyncpg", "floors/starlette-asyncpg", "peers/fastapi-session"),
]


# The largest tables last: they leave much for PostgreSQL to clear up.
SECTIONS = {"costs": costs, "parts": parts, "waiting": waiting, "start": start, "scaling": scaling}


def rounded(value: Any) -> Any:
    """Leave five digits of every figure: there is no more to them."""
    if isinstance(value, dict):
        return {str(key): rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def run(names: list[str]) -> Results:
    """Measure these sections, and take the others from the last time that they were measured."""
    KEPT.mkdir(exist_ok=True)
    kept = {name: KEPT / f"{name}.json" for name in SECTIONS}
    if missing := [name for name in SECTIONS if name not in names and not kept[name].exists()]:
        raise SystemExit(f"Never measured here, so to be named, too: {', '.join(missing)}")
    results: Results = {}
    with bench(quick=False) as shared:
        results["machine"] = machine(execute(shared.database, "SHOW server_version")[0][0])
        for name, section in SECTIONS.items():
            if name in names:
                kept[name].write_text(json.dumps(rounded(section.measure(shared))))
            results[name] = json.loads(kept[name].read_text())
    return results


def costs_table(results: Results, works: Iterable[str], names: list[str]) -> Table:
    table = Table(box=None)
    columns = ("", "", "CPU, us", "x floor", "spread", "a second", "p50, ms", "p99, ms")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for work, name in product(works, names):
        found, share = results["costs"][work][name], ratios(results, work, name, floor(name))
        spread = f"{min(share):.2f} to {max(share):.2f}"
        figures = f"{middle(found, 'rate'):.0f}", f"{middle(found, 'p50'):.2f}"
        cpu, p99 = f"{middle(found, 'cpu'):.0f}", f"{middle(found, 'p99'):.2f}"
        table.add_row(work, name, cpu, f"{median(share):.2f}", spread, *figures, p99)
    return table


def compare(names: list[str], works: list[Work], rounds: int | None, seconds: float | None) -> None:
    with bench(quick=True) as shared:
        results = {"costs": costs.measure(shared, names, works, [], rounds, seconds)}
    table = costs_table(results, [work.name for work in works], names)
    Console(width=120).print(table)


def quick() -> None:
    """Print a little of everything that takes no time."""
    works = [work for work in WORKS if work.name in ("read one", "list 10", "change")]
    with bench(quick=True) as shared:
        results = {
            "costs": costs.measure(shared, QUICK, works, [], rounds=3, seconds=1),
            "waiting": waiting.measure(shared),
        }
    console = Console(width=120)
    console.print(costs_table(results, [work.name for work in works], QUICK))
    for kind, found in results["waiting"]["bursts"].items():
        for name, took in found.items():
            console.print(f"Synchronizations, {kind}: {name} took {median(took):.2f} s")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="measure and write the documents")
    only = "measure only these, and take the others from the last time"
    command.add_argument("--section", action="append", choices=[*SECTIONS], help=only)
    commands.add_parser("write", help="write the documents from docs/results.json again")
    commands.add_parser("quick", help="measure and print a little")
    command = commands.add_parser("compare", help="measure some programs and their floors")
    command.add_argument("programs", nargs="+", choices=ALL, metavar="program")
    command.add_argument("--work", action="append", choices=[work.name for work in WORKS])
    command.add_argument("--rounds", type=int)
    command.add_argument("--seconds", type=float)
    return parser


def main() -> None:
    given = parser().parse_args()
    if given.command != "write":
        wrk()  # at once, not after minutes
    # A thousand users are three thousand sockets, and what we may open, what we start may, too.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    # So that what was started ends with us; and ends when it is told to, also where we were started
    # in the background, with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if given.command == "run":
        results = run(given.section or [*SECTIONS])
        report.write(results)
        for bound in bounds(results):
            Console().print("met    " if bound.met else "NOT MET", *report.bound(bound)[:3])
    elif given.command == "write":
        report.write(json.loads(report.RESULTS.read_text()))
    elif given.command == "quick":
        quick()
    else:
        names = sorted({each for name in given.programs for each in (name, *floors(name))})
        works = [work for work in WORKS if given.work is None or work.name in given.work]
        compare(names, works, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
