"""Faults under load: an acknowledged write is stored, once, and nobody waits without a limit.

Every program is served by a real server on a real PostgreSQL, through a proxy that can fail. While
users write, read and synchronize notes, each fault happens and ends.
"""

import asyncio
import math
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.choices import PROGRAMS, Combination, name
from tests.faults import report
from tests.faults.fault_injection import (
    LONGEST_RECOVERY,
    LONGEST_REFUSAL,
    Environment,
    Fault,
    title,
)
from tests.faults.load_faults import LOAD_FAULTS
from tests.faults.network_faults import NETWORK_FAULTS
from tests.faults.report import COLUMNS, MEMORY, Result
from tests.faults.server_faults import SERVER_FAULTS, four_processes_migrate_at_once
from tests.faults.users import Users, count_lost_writes
from tests.support.others import mark_others
from tests.support.waiting import until

FAULTS: list[Fault] = [*SERVER_FAULTS, *NETWORK_FAULTS, *LOAD_FAULTS]

# What the log of a service must not contain.
UNEXPECTED = re.compile("Traceback|never retrieved|unexpected|was destroyed|active transaction")


async def inject(environment: Environment, fault: Fault) -> Result:
    """Let users work while a fault happens, and check every answer that they got."""
    if environment.needs_new_service:
        await environment.restart_service()
    environment.blocked_seconds = 0
    environment.needs_no_refusal, environment.needs_new_service = False, False
    await environment.server.execute("TRUNCATE notes CASCADE")
    logged = len(environment.service.log())
    users = Users(environment.service.port, environment.upstream)
    await users.start()
    await users.progress(time.monotonic())
    await fault(environment, users)
    ended = time.monotonic()
    all_wrote = await users.progress(ended)
    await environment.last(0.5)
    await users.stop()
    while environment.old_servers:
        await environment.old_servers.pop().remove()

    await environment.check_open_connections()
    lost = await count_lost_writes(environment.server, users)
    await environment.check_whole_pool()
    await environment.check_open_connections()
    result = {
        "sent": users.sent,
        "refused": users.refused,
        "acknowledged": len(users.acknowledged),
        "lost": lost,
        "recovery": round(max(all_wrote, users.last_refusal) - ended, 2),
        "refusal": round(users.longest_refusal, 2),
    }
    print(result)
    assert users.errors == []
    assert lost == 0
    assert result["recovery"] <= LONGEST_RECOVERY
    # Other tests run at the same time, so a service may wait for the CPU.
    waited_for_cpu = 0 if environment.long else 1
    assert result["refusal"] <= LONGEST_REFUSAL + environment.blocked_seconds + waited_for_cpu
    noticed = users.refused or users.lost_answers or environment.needs_no_refusal
    assert noticed, "the fault had no effect"
    assert set(environment.upstream.calls.values()) <= {1}, "the upstream was called again"
    log = environment.service.log()[logged:].splitlines()
    assert [line for line in log if UNEXPECTED.search(line)] == []
    return result


def running_environment(program: Combination, *, long: bool) -> Iterator[Environment]:
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    with asyncio.Runner() as runner:
        environment = Environment(program, runner, folder, long)
        runner.run(environment.start())
        yield environment
        runner.run(environment.stop())
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=mark_others(PROGRAMS), ids=name)
def environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    yield from running_environment(request.param, long=False)


@pytest.fixture(scope="module", params=PROGRAMS, ids=name)
def long_environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    yield from running_environment(request.param, long=True)


def run(environment: Environment, test: Coroutine[Any, Any, Result]) -> Result:
    try:
        return environment.runner.run(test)
    except BaseException:
        environment.runner.run(environment.renew())  # for the next test
        raise


# A rendered project tests four processes that migrate at once itself.
@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault is not four_processes_migrate_at_once], ids=title
)
def test_no_acknowledged_write_is_lost(environment: Environment, fault: Fault) -> None:
    run(environment, inject(environment, fault))


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS, ids=title)
def test_no_acknowledged_write_is_lost_in_a_long_fault(
    long_environment: Environment, fault: Fault, record: Callable[..., None]
) -> None:
    program = long_environment.program
    report.forget(program, title(fault))
    record(program, title(fault), run(long_environment, inject(long_environment, fault)))


@pytest.mark.soak
def test_memory_does_not_grow(long_environment: Environment, record: Callable[..., None]) -> None:
    """From the 10,000th request to the 100,000th, of every type."""
    program = long_environment.program
    report.forget(program, MEMORY)
    record(program, MEMORY, run(long_environment, measure_memory(long_environment)))


async def measure_memory(environment: Environment) -> Result:
    await environment.restart_service()
    await environment.server.execute("TRUNCATE notes CASCADE")
    [process] = environment.service.serving_processes()
    megabytes = []
    for requests in (10_000, 90_000):
        users = Users(environment.service.port, environment.upstream, busy=True)
        await users.start()
        await until(lambda users=users, most=requests: users.sent >= most - 5000, 1800)
        # Python frees some garbage late: the least of many measurements is what is really used.
        least = math.inf
        while users.sent < requests:
            least = min(least, process.memory_full_info().uss / 1_000_000)
            await asyncio.sleep(0.1)
        await users.stop()
        assert users.errors == []
        megabytes.append(least)
    first, last = megabytes
    print(megabytes)
    assert last <= first * 1.05
    return {"after 10,000": round(first, 1), "after 100,000": round(last, 1)}


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Save and show each result; at the end write the document, if every result is there."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def save(program: Combination, subject: str, result: Result) -> None:
        report.save(program, subject, result)
        with capture.global_and_fixture_disabled():
            print(f"\n{name(program)}, {subject}: {result}", flush=True)

    yield save
    report.write(FAULTS)


def test_document_has_every_program_and_fault_and_no_loss() -> None:
    lines = report.DOCUMENT.read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if "|" in line]
    measured = {
        tuple(row[:2]): dict(zip(COLUMNS, row[2:], strict=True)) for row in rows if len(row) == 8
    }
    del measured["program", "fault"], measured["---", "---"]
    assert measured.keys() == {(name(p), title(fault)) for p in PROGRAMS for fault in FAULTS}
    for row in measured.values():
        assert row["lost"] == "0" != row["acknowledged"]
        assert float(row["recovery"]) <= LONGEST_RECOVERY
    memory = {row[0]: (float(row[1]), float(row[2])) for row in rows[-len(PROGRAMS) :]}
    assert memory.keys() == {name(program) for program in PROGRAMS}
    assert all(last <= first * 1.05 for first, last in memory.values())
