"""Measures the service for `make bench` and `make bench-quick`, and compares programs."""

import argparse
import json
import resource
import signal
import time
from collections.abc import Iterable, Sequence
from itertools import product
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import ablation, first_answer, report, request_costs, scaling, slow_upstream
from benchmarks.bench import bench
from benchmarks.bounds import bounds
from benchmarks.database import execute
from benchmarks.figures import Results, cost_ratios, median_of
from benchmarks.machine import machine
from benchmarks.programs import ALL, baseline_of, baselines_of
from benchmarks.workloads import WORKLOADS, Workload, wrk
from tests.choices import ROOT

# The last results of each section; docs/results.json is what is committed.
SECTION_RESULTS = ROOT / "benchmarks" / "results"
# The largest table comes last: PostgreSQL has much to clean up after it.
SECTIONS = {
    "request_costs": request_costs,
    "ablation": ablation,
    "slow_upstream": slow_upstream,
    "first_answer": first_answer,
    "scaling": scaling,
}
QUICK_PROGRAMS = [
    *("fastapi-core-asyncpg", "starlette-core-asyncpg", "fastapi-orm-asyncpg"),
    *("baselines/fastapi-asyncpg", "baselines/starlette-asyncpg", "alternatives/fastapi-session"),
]
QUICK_WORKLOADS = ("read one", "list 10", "change one")


def rounded(value: Any) -> Any:
    """Round every figure to five digits, which is more than the accuracy of any."""
    if isinstance(value, dict):
        return {str(key): rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def run(names: Sequence[str]) -> Results:
    """Measure these sections, and take the others from the last time that they were measured."""
    SECTION_RESULTS.mkdir(exist_ok=True)
    files = {name: SECTION_RESULTS / f"{name}.json" for name in SECTIONS}
    if missing := [name for name in SECTIONS if name not in names and not files[name].exists()]:
        raise SystemExit(f"These sections were never measured here: {', '.join(missing)}")
    results: Results = {}
    with bench(quick=False) as shared:
        results["machine"] = machine(execute(shared.database, "SHOW server_version")[0][0])
        for name, section in SECTIONS.items():
            if name in names:
                started = time.monotonic()
                files[name].write_text(json.dumps(rounded(section.measure(shared))))
                minutes = (time.monotonic() - started) / 60
                shared.progress.console.print(f"{name} took {minutes:.1f} minutes")
            results[name] = json.loads(files[name].read_text())
    return results


def costs_table(results: Results, workloads: Iterable[Workload], names: Sequence[str]) -> Table:
    table = Table(box=None)
    columns = ("", "", "CPU, µs", "x baseline", "min to max", "per second", "p50, ms", "p99, ms")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for workload, name in product((each.name for each in workloads), names):
        rounds = results["request_costs"][workload][name]
        relative = cost_ratios(results, workload, name, baseline_of(name))
        table.add_row(
            workload,
            name,
            f"{median_of(rounds, 'cpu'):.0f}",
            f"{median(relative):.2f}",
            f"{min(relative):.2f} to {max(relative):.2f}",
            f"{median_of(rounds, 'rate'):.0f}",
            f"{median_of(rounds, 'p50'):.2f}",
            f"{median_of(rounds, 'p99'):.2f}",
        )
    return table


def compare(
    names: Sequence[str], workloads: Sequence[Workload], rounds: int | None, seconds: float | None
) -> None:
    """Print what programs and their baselines cost."""
    names = sorted({each for name in names for each in (name, *baselines_of(name))})
    with bench(quick=True) as shared:
        costs = request_costs.measure(shared, names, workloads, rounds, seconds)
    Console(width=140).print(costs_table({"request_costs": costs}, workloads, names))


def quick() -> None:
    """Print a few figures."""
    workloads = [each for each in WORKLOADS if each.name in QUICK_WORKLOADS]
    with bench(quick=True) as shared:
        costs = request_costs.measure(shared, QUICK_PROGRAMS, workloads, rounds=3, seconds=1)
        bursts = slow_upstream.measure(shared)["bursts"]
    console = Console(width=140)
    console.print(costs_table({"request_costs": costs}, workloads, QUICK_PROGRAMS))
    for name, seconds in bursts.items():
        console.print(f"A burst of synchronizations took {median(seconds):.2f} s: {name}")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="measure everything and write the documents")
    only = "measure only this section, and take the others from the last time"
    command.add_argument("--section", action="append", choices=[*SECTIONS], help=only)
    commands.add_parser("write", help="write the documents from docs/results.json again")
    commands.add_parser("quick", help="print a few figures")
    command = commands.add_parser("compare", help="compare programs with their baselines")
    command.add_argument("programs", nargs="+", choices=ALL, metavar="program")
    names = [workload.name for workload in WORKLOADS]
    command.add_argument("--workload", action="append", choices=names)
    command.add_argument("--rounds", type=int)
    command.add_argument("--seconds", type=float)
    return parser


def main() -> None:
    arguments = parser().parse_args()
    if arguments.command != "write":
        wrk()  # fail now, not after some minutes
    # A thousand users need three thousand sockets, here and in the processes that we start.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    # Either signal raises KeyboardInterrupt, which ends the processes that we have started. Python
    # would ignore SIGINT if it was started in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    if arguments.command == "run":
        results = run(arguments.section or [*SECTIONS])
        report.write(results)
        for bound in bounds(results):
            Console().print("met   " if bound.met else "MISSED", *report.bound_row(bound)[:3])
    elif arguments.command == "write":
        report.write(json.loads(report.RESULTS.read_text()))
    elif arguments.command == "quick":
        quick()
    else:
        workloads = [each for each in WORKLOADS if each.name in (arguments.workload or [each.name])]
        compare(arguments.programs, workloads, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
