"""What the benchmark compares gives the same answers, and its documents are what it measured."""

import json
import re
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from benchmarks import parts, scaling, waiting
from benchmarks.__main__ import parser
from benchmarks.database import execute, fill, postgres
from benchmarks.figures import COMBINATIONS, Results, bounds
from benchmarks.load import SLOW_WORKS, WORKS, Work
from benchmarks.plots import PLOTS, digest, draw
from benchmarks.programs import ALL, FLOORS, PEERS, SERVICES
from benchmarks.report import RESULTS, documents
from benchmarks.servers import Server, pause, served, upstream
from benchmarks.unmet import UNMET
from benchmarks.waiting import EXPLICIT, IMPLICIT, occupancy
from tests.choices import ROOT

OTHER_DOCUMENTS = {RESULTS.parent / name for name in ("choices.md", "faults.md", "testing.md")}
COMPARED = [SERVICES[0], *FLOORS, *PEERS]


def measured() -> Results:
    """What the last whole run found."""
    return json.loads(RESULTS.read_text())


NOW = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z"')


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def slow() -> Iterator[Server]:
    with upstream() as server:
        yield server


@pytest.fixture(scope="module")
def servers(database: str, slow: Server) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        settings = {"database_url": database, "database_pool_size": 1, "upstream_url": slow.url}
        started = pool.map(lambda one: stack.enter_context(served(one, **settings)), COMPARED)
        yield {program.name: server for program, server in zip(COMPARED, started, strict=True)}


def await_revision(database: str, name: str) -> None:
    """See that a revision was stored with the note; some peers answer before they commit."""
    deadline = time.monotonic() + 5
    while execute(database, "SELECT FROM note_revisions") == []:
        assert time.monotonic() < deadline, name
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_floors_and_peers_answer_what_the_service_does(
    database: str, slow: Server, servers: dict[str, Server], work: Work
) -> None:
    pause(slow, work.pause)
    answers = {}
    for name, server in servers.items():
        fill(database, 100)
        url = server.url + work.path.replace("ID", "7")
        headers = {"Content-Type": "application/json"}
        request = Request(url, work.body.encode() or None, headers, method=work.method)  # noqa: S310
        asked = time.monotonic()
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            answers[name] = answer.status, NOW.sub(b'"now"', answer.read())
        assert time.monotonic() - asked >= work.pause, name
        if work.method != "GET":
            await_revision(database, name)
    expected = answers[SERVICES[0].name]
    assert answers == dict.fromkeys(answers, expected)
    assert b'"now"' in expected[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "sent", "counted"),
    [
        (parts.WHOLE, "made up", True),
        ("metrics", "made up", False),
        ("request ids", "zeros", True),
        ("`Requests`: all three", "none", False),
    ],
)
def test_what_is_left_out_is_left_out(
    database: str, slow: Server, part: str, sent: str, counted: bool
) -> None:
    program = replace(SERVICES[0], app="benchmarks.without:app")
    settings = {"database_url": database, "database_pool_size": 1, "upstream_url": slow.url}
    with served(program, **settings, **parts.PARTS[part]) as server:
        with urlopen(f"{server.url}/notes") as answer:  # noqa: S310
            own = answer.headers.get("X-Request-ID", "none")
        # Some of eight users wait for the only connection; urlopen raises what is no 200.
        with ThreadPoolExecutor(8) as users:
            answers = users.map(lambda _: urlopen(f"{server.url}/notes").close(), range(200))  # noqa: S310
            assert len([*answers]) == 200
        with urlopen(f"{server.url}/metrics") as answer:  # noqa: S310
            found = answer.read()
    assert ("none" if own == "none" else "made up" if own.strip("0") else "zeros") == sent
    assert (b'http_requests_total{method="GET",route="/notes"' in found) == counted


def made_up(cpu: float = 100, least: float = 100) -> Results:
    """Results in which every service takes `cpu` and all else takes `least`."""

    def figures(name: str, **other: float) -> dict[str, float]:
        own = cpu if name in COMBINATIONS else least
        return {"cpu": own, "rate": 1e4 / own, "p50": own / 50, "p99": own / 20, **other}

    timelines = {
        EXPLICIT: [(0.0, "the upstream answers"), (0.4, "checkout"), (1.0, "COMMIT")],
        IMPLICIT: [(0.0, "the upstream answers"), (0.2, "the answer"), (0.3, "COMMIT")],
    }
    timelines[EXPLICIT].append((2.0, "the answer"))
    works = [work.name for work in WORKS]
    slow = [work.name for work in SLOW_WORKS]
    read = {"first page": 1.0, "page in the middle": 1.0, "one note": 1.0}
    tables = {
        "results": {
            name: {work: [figures(name, p50=p50)] for work, p50 in read.items()}
            for name in scaling.TIMED
        },
        "plans": {name: {work: "Index Scan\n" for work in read} for name in scaling.LAYERS},
    }
    return {
        "machine": {"processor": "a fast one"},
        "costs": {
            work: {name: [figures(name)] * (1 if work in slow else 2) for name in ALL}
            for work in works + slow
        },
        "parts": {
            name: {part: [figures(name)] * 2 for part in parts.PARTS} for name in parts.NAMES
        },
        "waiting": {
            "bursts": {
                f"{users} on {waiting.POOL}, {seconds} s": {name: [1.2] for name in waiting.NAMES}
                for users, seconds in waiting.BURSTS
            },
            "crowds": {
                name: {"rate": 198.0, "failed": 0, "p50": 5.0, "p99": 5.1, "held": [0.0, 4.5, 1.0]}
                for name in [*COMBINATIONS, IMPLICIT]
            },
            "watched": {
                name: {"held": [0.0, 5.0, 0.5], "timeline": timeline}
                for name, timeline in timelines.items()
            },
        },
        "start": {"pip": [3.0, 2.0, 4.0]},
        "scaling": {
            "workers": {
                name: {"1": [figures(name)], "2": [figures(name)]} for name in COMBINATIONS
            },
            "pools": {
                name: {str(size): [figures(name)] for size in scaling.POOLS}
                for name in scaling.TIMED
            },
            "table": {str(rows): tables for rows in scaling.ROWS},
        },
    }


def test_a_pool_that_was_watched_is_drawn_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "pool"
    file.write_text(
        "9.8 checkout\n9.9 return\n9.9 checkout\n10.05 checkout\n10.1 return\n10.25 return\n"
    )
    assert occupancy(file, 10.0, 0.4, 0.1) == pytest.approx([1.5, 1, 0.5, 0])


def test_documents_and_plots_are_made_of_results_alone(tmp_path: Path) -> None:
    results = made_up()
    draw(results, tmp_path)
    for name in PLOTS:
        assert digest(results) in (tmp_path / f"{name}.svg").read_text()
    performance, transactions = documents(results).values()
    assert all(f"| `{name}` |" in performance for name in ALL)
    assert all(f"| {part} |" in performance for part in parts.PARTS)
    assert "| pip | 3.0 | 2.0 to 4.0 |" in performance
    assert "0.4 ms after" in transactions and "already sent" in transactions


def test_a_bound_that_is_not_met_is_explained_where_one_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = "read one, starlette-core-asyncpg, floors/starlette-asyncpg"
    monkeypatch.setitem(UNMET, key, "It is the log line.")
    missed, kept = documents(made_up(cpu=135.06)), documents(made_up(cpu=60, least=100))
    [text, _] = missed.values()
    assert "| 1.351x | 1.35 to 1.35 | **no** |" in text
    assert "It is the log line." in text
    assert not any("It is the log line." in text for text in kept.values())


def test_every_bound_is_met_or_explained() -> None:
    missed = {one.key for one in bounds(measured()) if not one.met}
    assert missed <= UNMET.keys()


def test_everything_was_measured() -> None:
    results = measured()
    assert list(results["costs"]) == [work.name for work in [*WORKS, *SLOW_WORKS]]
    assert all(found.keys() == ALL.keys() for found in results["costs"].values())
    assert results["parts"].keys() == set(parts.NAMES)
    assert all(list(found) == list(parts.PARTS) for found in results["parts"].values())


def test_the_documents_say_what_was_measured() -> None:
    results = measured()
    plots = {RESULTS.parent / "plots" / f"{name}.svg" for name in PLOTS}
    texts = documents(results)
    there = {path for path in RESULTS.parent.rglob("*") if path.is_file()} - OTHER_DOCUMENTS
    assert there == {RESULTS, *texts, *plots}
    for path, text in texts.items():
        assert path.read_text() == text
    for path in plots:
        assert digest(results) in path.read_text()


def test_what_is_said_to_be_typed_is_understood() -> None:
    texts = [(ROOT / name).read_text() for name in ("Makefile", "CONTRIBUTING.md")]
    typed = re.findall(r"python -m benchmarks ([^`\n]*)", "\n".join(texts))
    assert len(typed) >= 4
    for line in typed:
        parser().parse_args(shlex.split(line))
