"""docs/performance.md and docs/transactions.md, written from docs/results.json."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.costs import PAUSES
from benchmarks.figures import (
    ORDER,
    Bound,
    Results,
    bounds,
    middle,
    paired,
    ratios,
)
from benchmarks.load import SLOW_WORKS, WORKS, Work
from benchmarks.parts import WHOLE
from benchmarks.programs import floor, keeping
from benchmarks.unmet import UNMET
from benchmarks.waiting import (
    BURSTS,
    CROWD,
    CROWD_POOL,
    EXPLICIT,
    IMPLICIT,
    NAMES,
    PAUSE,
    POOL,
    committed,
)
from tests.choices import ROOT, TEMPLATES

DOCS = ROOT / "docs"
RESULTS = DOCS / "results.json"
SNIPPET = TEMPLATES / "common" / "service" / "notes" / "synchronize.py"
NOTE = "<!-- Written by `make bench` from results.json: not to be edited. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def bound(one: Bound) -> list[str]:
    sign = "≥" if one.least else "≤"
    digits = 1 if one.unit == " %" else 3
    measured = f"{one.measured:.{digits}f}{one.unit}"
    half = "{:.2f} to {:.2f}".format(*one.half) if one.rounds else ""
    met = "yes" if one.met else "**no**"
    return [one.text, f"{sign} {one.limit:g}{one.unit}", measured, half, met]


def explained(results: Results) -> str:
    """Say why bounds are not met, where that is known: once for those that share a reason."""
    missed = [one for one in bounds(results) if not one.met and one.key in UNMET]
    reasons = dict.fromkeys(UNMET[one.key] for one in missed)
    return "".join(
        "\n"
        + "\n".join(f"- **{one.text}**" for one in missed if UNMET[one.key] == reason)
        + f"\n\n{reason.strip()}\n"
        for reason in reasons
    )


def cost(results: Results, work: str) -> str:
    rows = []
    for name in ORDER:
        found = results["costs"][work][name]
        spread = [result["cpu"] for result in found]
        share = ratios(results, work, name, floor(name))
        rows.append(
            [
                f"`{name}`",
                f"{median(spread):.0f}",
                f"{min(spread):.0f} to {max(spread):.0f}",
                f"{median(share):.2f}",
                f"{min(share):.2f} to {max(share):.2f}",
                f"{middle(found, 'rate'):.0f}",
                f"{median(ratios(results, work, name, floor(name), 'rate')):.2f}",
                f"{middle(found, 'p50'):.2f}",
                f"{median(ratios(results, work, name, floor(name), 'p50')):.2f}",
                f"{middle(found, 'p99'):.2f}",
            ]
        )
    head = ["", "CPU, us", "spread", "x floor", "spread", "a second", "x floor"]
    head += ["p50, ms", "x floor", "p99, ms"]
    return f"### {work.capitalize()}\n\n{table(head, rows)}\n"


def slow(results: Results, work: Work) -> str:
    rows = [
        [f"`{name}`", f"{one['rate']:.1f}", f"{one['p50']:.0f}", f"{one['p99']:.0f}"]
        for name in ORDER
        for one in results["costs"][work.name][name]
    ]
    most = work.users * int(PAUSES) / (PAUSES * work.pause)
    return f"""\
### {work.name.capitalize()}

Counted over {PAUSES} pauses of the upstream, so {most:.1f} a second are the most that {work.users} users can be answered.

{table(["", "a second", "p50, ms", "p99, ms"], rows)}
"""


def parts(results: Results) -> str:
    tables = []
    for name, found in results["parts"].items():
        rows = []
        for part, measured in found.items():
            share = paired(measured, found[WHOLE])
            costs = f"{(1 - median(share)) * 100:.1f} %" if part != WHOLE else ""
            spread = f"{min(share):.2f} to {max(share):.2f}" if part != WHOLE else ""
            figures = f"{middle(measured, 'cpu'):.0f}", f"{median(share):.3f}"
            rows.append([part, *figures, spread, costs])
        head = [f"`{name}` without", "CPU, us", "x whole", "spread", "costs"]
        tables.append(table(head, rows))
    return "\n\n".join(tables)


def workers(results: Results) -> str:
    found = results["scaling"]["workers"]
    rows = [
        [
            f"`{name}`",
            *(f"{middle(counts[count], 'rate'):.0f}" for count in counts),
            *(f"{middle(counts[count], 'cpu'):.0f}" for count in counts),
        ]
        for name, counts in found.items()
    ]
    head = ["", "1 worker, a second", "2 workers", "1 worker, CPU us a request", "2 workers"]
    return table(head, rows)


def pools(results: Results) -> str:
    found = results["scaling"]["pools"]
    sizes = list(next(iter(found.values())))
    rows = [
        [f"`{name}`", *(f"{middle(result[size], 'rate'):.0f}" for size in sizes)]
        for name, result in found.items()
    ]
    return table(["requests a second with a pool of", *sizes], rows)


def rows_read(results: Results) -> str:
    sizes = results["scaling"]["table"]
    programs = next(iter(sizes.values()))["results"]
    rows = [
        [
            f"`{name}`, {work}",
            *(f"{middle(size['results'][name][work], 'p50'):.2f}" for size in sizes.values()),
        ]
        for name, works in programs.items()
        for work in works
    ]
    return table(["p50 of one user, ms", *(f"{int(size):,} rows" for size in sizes)], rows)


def plans(results: Results) -> str:
    [*_, largest] = results["scaling"]["table"].values()
    return "\n".join(
        f"{work.capitalize()}:\n\n```\n{plan}```\n"
        for work, plan in largest["plans"][EXPLICIT].items()
    )


def performance(results: Results) -> str:
    machine = table(["", ""], results["machine"].items())
    first = table(
        ["package manager", "seconds", "spread"],
        [
            [name, f"{median(took):.1f}", f"{min(took):.1f} to {max(took):.1f}"]
            for name, took in results["start"].items()
        ],
    )
    costs = "\n".join(
        [
            *(cost(results, work.name) for work in WORKS),
            *(slow(results, work) for work in SLOW_WORKS),
        ]
    )
    beside = [
        f"{median(ratios(results, 'read one', name, keeping(name))):.3f} (`{name}`)"
        for name in ("starlette-core-asyncpg", "fastapi-core-asyncpg")
    ]
    [waiting] = {work.users for work in WORKS if work.pause}
    demanded = table(
        ["bound", "demanded", "measured", "half of the rounds", "met"],
        [bound(one) for one in bounds(results)],
    )
    return f"""\
{NOTE}

# Performance

What the service costs in every combination, beside the least that its libraries allow and beside
what one would write instead. `make bench` measures all of it and writes this page; `make bench-quick`
prints a few figures in under three minutes.

- **CPU** is what the operating system says the serving process took, user and system, divided by
  the requests it answered. It is the figure to look at: it hangs far less than
  requests a second on what else the machine does.
- **Floors** (`benchmarks/floors/`) are as little code as answers the same bytes from the same table:
  no middleware, no log, no checks. Those on FastAPI declare their response models. **Peers**
  (`benchmarks/peers/`) are written in the usual way, equally bare: an `AsyncSession` as a dependency
  that commits after its `yield`, `engine.begin()` around each call, and a synchronous `Session` in
  threads. A test sees that all of them answer what the service does. Floors ask the upstream by
  aiohttp, as the service does, and peers by httpx2, in the usual way.
- The floors keep what asyncpg's pool does by default to clean a connection that comes back: a round
  trip, which the service leaves out. So the bounds below compare a service without it to a floor
  with it. Beside the same floors without it (`floors/…-keeping`), the CPU of reading one note is
  {" and ".join(beside)}. The floors on databases clean connections, too. On asyncpg the service
  hands connections on, too, for a second or two, and saves most of the way through the pool.
- The **service** is measured with all that it has by default: request ids, a JSON log line and
  metrics a request, error handling, limits, timeouts.
- All are served by one uvicorn process with the same flags, a pool of 10 connections (the peers'
  SQLAlchemy would open more when these are taken, which is off: the same number for all) and
  {WORKS[0].users} users, so that none waits for a connection, on the same PostgreSQL with `fsync` off. Where
  the upstream takes its time there are {waiting} users, and those wait whose program keeps its
  connections meanwhile.
- All programs run side by side and are measured in turn, in rounds whose order changes. Figures are
  medians of the rounds. **x floor** is the ratio to the floor of the same framework on asyncpg within
  each round. Only in the synchronizations with an upstream of seconds are several asked at once, in
  one round: most of them is waiting, so no CPU is shown.

{machine}

## What it must show

{demanded}
{explained(results)}
A test guards the costs, too, without a clock: `tests/test_costs.py` counts the function calls of a
request in every combination, and the rendered tests count its statements.

## What a request costs

![CPU a request](plots/costs.svg)

{costs}
What a slow upstream does to a pool is on [a page of its own](transactions.md).

## What each part costs

Reading one note, with everything, and with one thing left out (`benchmarks/without.py`). `Requests`
is the middleware that makes up the request id, counts and logs. A `LOG_LEVEL` of `warning` leaves
the log line out. Where request ids are left out none is made up or kept, but a header is still sent.

{parts(results)}

## Workers

Reading one note from gunicorn, configured as in production, by 16 users. The load and PostgreSQL
take their share of the same CPUs. Under gunicorn metrics go through files, which the workers share.
There is no floor here: `gunicorn.conf.py` is the service's, and nothing bare has one.

{workers(results)}

## Connections

50 users read one note.

![Requests a second and the size of the pool](plots/pools.svg)

{pools(results)}

## Rows

Pages are found by key (`WHERE id > …`), not by `OFFSET`; how far a page in the
middle is from the first is among the bounds above.

{rows_read(results)}

The plans for `{EXPLICIT}` on the largest table, as PostgreSQL logged them (`auto_explain`) when the
requests were made. `$1` stands in plans that are kept for all values.

{plans(results)}
## The first answer

From `cookiecutter` to the first 200 of `make run`, with warm caches, the median of three: rendering,
installing, a PostgreSQL of its own, migrations, the service. A first `make run` also locks what the
project depends on.

{first}
"""


def beside(left: list[list[object]], right: list[list[object]]) -> str:
    """Write two timelines beside each other."""

    def lines(events: list[list[object]]) -> list[str]:
        return [f"{at:8.1f}  {what}" for at, what in events]

    one, two = lines(left), lines(right)
    height = max(len(one), len(two))
    one += [""] * (height - len(one))
    two += [""] * (height - len(two))
    pairs = [(f"   in ms  {EXPLICIT}", f"   in ms  {IMPLICIT}"), *zip(one, two, strict=True)]
    return "\n".join(f"{a:<42}{b}".rstrip() for a, b in pairs)


def burst_rows(results: Results) -> Iterable[list[str]]:
    found = results["waiting"]["bursts"]
    kinds = [f"{users} on {POOL}, {seconds} s" for users, seconds in BURSTS]
    for name in NAMES:
        yield [f"`{name}`", *(f"{median(found[kind][name]):.2f}" for kind in kinds)]


def crowd_rows(results: Results) -> Iterable[list[str]]:
    for name, found in results["waiting"]["crowds"].items():
        share = found["rate"] / (CROWD / PAUSE) * 100
        figures = f"{found['rate']:.1f}", f"{share:.1f} %", f"{found['p50']:.2f}"
        yield [f"`{name}`", *figures, f"{found['p99']:.2f}", str(found["failed"])]


def snippet() -> str:
    """Take the use case from the service, but for what its docstring says."""
    _, begin, code = SNIPPET.read_text().partition("async def synchronize")
    return re.sub(r'    """.*?"""\n', "", begin + code, flags=re.DOTALL)


def taken_again(timeline: list[tuple[float, str]]) -> float:
    """Tell how many milliseconds after the upstream's answer a connection was there again."""
    answered = next(at for at, what in timeline if what == "the upstream answers")
    return next(at for at, what in timeline if what == "checkout" and at >= answered) - answered


# What came first at the peer: the answer, or its COMMIT.
ENDS = {
    False: """\
Look at the end, too: code after a dependency's `yield` runs when the answer is already sent. A client
may read its own write too early, and a COMMIT that fails was announced as a success. In the
service the answer comes last.""",
    True: "In both, the answer comes after the COMMIT: a write that was announced is there.",
}


def transactions(results: Results) -> str:
    watched = results["waiting"]["watched"]
    both = beside(watched[EXPLICIT]["timeline"], watched[IMPLICIT]["timeline"])
    bursts = table(
        ["seconds until the last answer", *(f"{n} at once, upstream of {s} s" for n, s in BURSTS)],
        burst_rows(results),
    )
    rates = results["waiting"]["crowds"]
    times = rates[EXPLICIT]["rate"] / rates[IMPLICIT]["rate"]
    refused = rates[IMPLICIT]["failed"]
    failed = f"{refused or 'None'} of the peer's requests failed meanwhile."
    again = taken_again(watched[EXPLICIT]["timeline"])
    end = ENDS[committed(watched[IMPLICIT]["timeline"])]
    crowds = table(
        ["", "a second", f"of {CROWD // PAUSE}", "p50, s", "p99, s", "failed"], crowd_rows(results)
    )
    return f"""\
{NOTE}

# Transactions

Why a service whose transactions are visible answers {times:.0f} times as many requests on the same
connections, shown by one use case: a note is read, a slow API is asked what to make of it, and the
answer is stored. Every figure and plot here comes from `make bench`.

## One request

The usual way is to have the framework open a session for the request and commit when the handler is
done. The first statement takes a connection and begins a transaction, and both last until the end,
also while the API is waited for. The service says where its transactions are instead:

```python
{snippet()}```

On `connection()` each statement stands alone: no BEGIN, no COMMIT. `transaction()` commits when its
block ends.

One synchronization with an upstream that takes a second, as it went on the way to PostgreSQL
(statements), at the pool (checkout, return) and for the client (request, answer):

```
{both}
```

{end}

## The pool's law

A connection that is held for as long as the API takes serves one request in that time. So

- implicit transactions: requests a second ≤ **connections / time of the call**
- explicit ones: requests a second ≤ **users / time of the call**, or what the CPU allows

whatever the framework, the driver or the database.

## Requests that meet

All at once on a pool of {POOL}. The peers take turns: with a pool of {POOL} and a call of a second, the last of
20 has waited for three others.

{bursts}

![Connections held during 20 synchronizations](plots/burst.svg)

## A crowd

{CROWD:,} users who synchronize again and again, one worker, {CROWD_POOL} connections, an upstream of {PAUSE} s. Arithmetic
allows {CROWD} / {PAUSE} = {CROWD // PAUSE} requests a second; a transaction held meanwhile allows {CROWD_POOL} / {PAUSE} = {CROWD_POOL // PAUSE}. The upstream must let
in as many calls as there are users: `UPSTREAM_MAX_CONNECTIONS` is 1000 by default.

{crowds}

![Connections held while {CROWD:,} users synchronize](plots/crowd.svg)

Counted is what was answered within {2 * PAUSE} seconds. Latencies are only those of requests that were
answered with success. {failed}
Who has no answer waits, for up to the 30 seconds that SQLAlchemy's pool allows.

## What it costs

- Between the two transactions the note may change. So the second one stores the content only where
  the version is still the one that was read (`WHERE version = …`), and the caller hears 409 where it is
  not. A transaction held open would not prevent that either: at PostgreSQL's default isolation it
  overwrites what came meanwhile, without a word.
- A connection is taken twice. In the log above the second one was there {again:.1f} ms after the
  upstream's answer.
"""


def write(results: Results) -> None:
    from benchmarks.plots import draw

    lines = [f"{json.dumps(name)}: {json.dumps(part)}" for name, part in results.items()]
    RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for path, text in documents(results).items():
        path.write_text(text)
    draw(results, DOCS / "plots")


def documents(results: Results) -> dict[Path, str]:
    return {
        DOCS / "performance.md": performance(results),
        DOCS / "transactions.md": transactions(results),
    }
