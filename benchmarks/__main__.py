"""`python -m benchmarks compare`: measure some programs beside each other."""

import argparse
import random
from contextlib import ExitStack
from itertools import product
from statistics import median
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.database import fill, postgres
from benchmarks.load import NOTES, WORKS, ask
from benchmarks.programs import ALL, floor
from benchmarks.servers import served, upstream

Rounds = dict[tuple[str, str], list[dict[str, Any]]]


def measure(names: list[str], works: list[str], rounds: int, seconds: float) -> Rounds:
    """Measure every work of every program once a round, in an order that changes."""
    found: Rounds = {}
    with ExitStack() as stack:
        url = stack.enter_context(postgres())
        slow = stack.enter_context(upstream())
        fill(url, NOTES)
        settings = {"database_url": url, "database_pool_size": 10, "upstream_url": slow.url}
        servers = {name: stack.enter_context(served(ALL[name], **settings)) for name in names}
        chosen = [work for work in WORKS if work.name in works]
        for turn in track(range(rounds + 1), "Rounds"):
            for work in chosen:
                fill(url, NOTES)
                for name in random.sample(names, len(names)):
                    result = ask(servers[name], work, seconds if turn else 1)
                    if turn:  # the first is for warming up
                        found.setdefault((work.name, name), []).append(result)
    return found


def compare(names: list[str], works: list[str], rounds: int, seconds: float) -> None:
    names = sorted({*names, *map(floor, names)})
    found = measure(names, works, rounds, seconds)
    table = Table(box=None)
    for column in ("work", "program", "CPU us", "ratio", "spread", "req/s", "p50 ms", "p99 ms"):
        table.add_column(column, no_wrap=True)
    for work, name in product(works, names):
        results, first = found[work, name], found[work, floor(name)]
        ratios = [one["cpu"] / other["cpu"] for one, other in zip(results, first, strict=True)]
        table.add_row(
            work,
            name,
            f"{median(result['cpu'] for result in results):.0f}",
            f"{median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            *(
                f"{median(result[figure] for result in results):.{digits}f}"
                for figure, digits in (("rate", 0), ("p50", 2), ("p99", 2))
            ),
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser(
        "compare", help="ratios are to the framework's floor, which is measured with them"
    )
    command.add_argument("programs", nargs="+", choices=ALL, metavar="program")
    command.add_argument("--work", action="append", choices=[work.name for work in WORKS])
    command.add_argument("--rounds", type=int, default=5)
    command.add_argument("--seconds", type=int, default=2)
    given = parser.parse_args()
    works = given.work or [work.name for work in WORKS]
    compare(given.programs, works, given.rounds, given.seconds)


if __name__ == "__main__":
    main()
