"""What more workers, more connections and more rows change."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.request import urlopen

from benchmarks.bench import Bench
from benchmarks.database import execute, fill
from benchmarks.load import READ, Work, ask
from benchmarks.programs import ALL
from benchmarks.servers import deployed

WORKERS = [1, 2]
POOLS = [1, 2, 5, 10, 20, 50]
ROWS = [10**3, 10**5, 10**7]
LAYERS = [name for name in ALL if name.startswith("fastapi-")]
TIMED = ["floors/fastapi-asyncpg", "fastapi-core-asyncpg", "fastapi-orm-asyncpg"]


def workers(bench: Bench) -> dict[str, Any]:
    """Serve by gunicorn as in production, with more users than a worker can have at once."""
    names = [name for name in ALL if name.endswith("-asyncpg") and "/" not in name]
    work = replace(READ, users=16)
    found: dict[str, Any] = {name: {count: [] for count in WORKERS} for name in names}
    settings = {"database_url": bench.database, "upstream_url": bench.upstream.url}
    for name in bench.progress.track(names, description="Workers"):
        with ExitStack() as stack:
            servers = {
                count: stack.enter_context(deployed(ALL[name], count, **settings))
                for count in WORKERS
            }
            for turn in range(4):
                for count, server in servers.items():
                    result = ask(server, work, 2 if turn else 1)
                    if turn:
                        found[name][count].append(result)
    return found


def pools(bench: Bench) -> dict[str, Any]:
    """Let 50 users read with pools of all sizes."""
    work = replace(READ, users=50)
    found: dict[str, Any] = {}
    for name in bench.progress.track(TIMED, description="Pools"):
        found[name] = {size: [] for size in POOLS}
        with ExitStack() as stack:
            servers = {size: stack.enter_context(bench.serve(name, pool=size))[0] for size in POOLS}
            for turn in range(4):
                for size, server in servers.items():
                    result = ask(server, work, 1)
                    if turn:
                        found[name][size].append(result)
    return found


def table(bench: Bench) -> dict[str, Any]:
    """Read pages and notes of small and large tables, and ask PostgreSQL how it finds them."""
    found: dict[str, Any] = {}
    # Loaded by every connection, but silent until `plans` lets it speak.
    execute(bench.database, "ALTER ROLE CURRENT_USER SET session_preload_libraries = auto_explain")
    for rows in bench.progress.track(ROWS, description="Tables"):
        fill(bench.database, rows, lines=0)
        middle = rows // 2
        works = [
            Work("first page", "/notes", users=1),
            Work("page in the middle", f"/notes?after={middle}", users=1),
            Work("one note", f"/notes/{middle}", users=1),
        ]
        filtered = [
            Work("page of synchronized", f"/notes?after={middle}&synchronized=true"),
            Work("page of not synchronized", f"/notes?after={middle}&synchronized=false"),
        ]
        results: dict[str, Any] = {name: {work.name: [] for work in works} for name in TIMED}
        names = sorted({*LAYERS, *TIMED})
        with bench.serve(*names, pool=1) as running:
            servers = dict(zip(names, running, strict=True))
            for turn in range(4):
                for name in TIMED:
                    for work in works:
                        result = ask(servers[name], work, 1)
                        if turn:
                            results[name][work.name].append(result)
            with explained(bench) as explain:
                plans = {
                    name: {
                        work.name: explain(servers[name].url + work.path)
                        for work in works + filtered
                    }
                    for name in LAYERS
                }
        found[rows] = {"results": results, "plans": plans}
    return found


@contextmanager
def explained(bench: Bench) -> Iterator[Callable[[str], str]]:
    """Let PostgreSQL log the plan of every statement, to be asked for by the URL that causes it."""
    setting = "ALTER SYSTEM {} auto_explain.log_min_duration {}"
    reload = "SELECT pg_reload_conf()"
    [[data]] = execute(bench.database, "SHOW data_directory")
    log = Path(data).parent / "log"

    def explain(url: str) -> str:
        for _ in range(100):
            known = log.stat().st_size
            with urlopen(url, timeout=60):  # noqa: S310
                new = log.read_text()[known:]
            # Below the text of the statement, in lines that begin with a tab.
            if plan := re.search(r" plan:\n(?:\t(?!.*\(cost=).*\n)*((?:\t.*\n)+)", new):
                return dedent(re.sub(r"  \(cost=.*?\)", "", plan[1]))
            time.sleep(0.1)
        raise SystemExit(f"PostgreSQL logged no plan for {url}")

    execute(bench.database, setting.format("SET", "= 0"), reload)
    try:
        yield explain
    finally:
        execute(bench.database, setting.format("RESET", ""), reload)


def measure(bench: Bench) -> dict[str, Any]:
    return {"workers": workers(bench), "pools": pools(bench), "table": table(bench)}
