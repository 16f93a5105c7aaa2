"""What the benchmark compares gives the same answers, and its documents are what it measured."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.request import Request, urlopen

import pytest

from benchmarks.database import execute, fill, postgres
from benchmarks.load import WORKS, Work
from benchmarks.plots import PLOTS, digest
from benchmarks.programs import FLOORS, PEERS, SERVICES
from benchmarks.report import RESULTS, documents
from benchmarks.servers import Server, served, upstream

OTHER_DOCUMENTS = {RESULTS.parent / name for name in ("choices.md", "faults.md")}
COMPARED = [SERVICES[0], *FLOORS, *PEERS]
NOW = re.compile(rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z"')


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(scope="module")
def servers(database: str) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        url = stack.enter_context(upstream()).url
        settings = {"database_url": database, "database_pool_size": 1, "upstream_url": url}
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
    database: str, servers: dict[str, Server], work: Work
) -> None:
    answers = {}
    for name, server in servers.items():
        fill(database, 100)
        url = server.url + work.path.replace("ID", "7")
        headers = {"Content-Type": "application/json"}
        request = Request(url, work.body.encode() or None, headers, method=work.method)  # noqa: S310
        with urlopen(request, timeout=10) as answer:  # noqa: S310
            answers[name] = answer.status, NOW.sub(b'"now"', answer.read())
        if work.method != "GET":
            await_revision(database, name)
    expected = answers[SERVICES[0].name]
    assert answers == dict.fromkeys(answers, expected)
    assert b'"now"' in expected[1]


def test_the_documents_say_what_was_measured() -> None:
    """Nothing at all, before the first whole run."""
    measured = json.loads(RESULTS.read_text()) if RESULTS.exists() else None
    plots = {RESULTS.parent / "plots" / f"{name}.svg" for name in PLOTS}
    texts = documents(measured) if measured else {}
    there = {path for path in RESULTS.parent.rglob("*") if path.is_file()} - OTHER_DOCUMENTS
    assert there == ({RESULTS, *texts, *plots} if measured else set())
    for path, text in texts.items():
        assert path.read_text() == text
    for path in plots & there:
        assert digest(measured) in path.read_text()
