"""Faults, under load: what was acknowledged is stored, once, and nobody waits without a bound.

Every program is served by a real server on a real PostgreSQL, by way of a network that can fail.
While users write, read and synchronize, each of these functions breaks something and mends it.
"""

import asyncio
import json
import math
import random
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest

from tests.choices import PROGRAMS, ROOT, TEMPLATES, Combination, name
from tests.faults import (
    BOUND,
    POOL,
    POOL_TIMEOUT,
    RECOVERY,
    STATEMENT_TIMEOUT,
    Client,
    Connection,
    Network,
    PostgreSQL,
    Service,
    Upstream,
    account,
    until,
)

RESULTS = ROOT / ".soak"
TABLE = ROOT / "docs" / "faults.md"

# Who else is connected than the test, and what they do.
SERVICE = "FROM pg_stat_activity WHERE application_name = 'service'"
LEFT_OPEN = f"SELECT count(*) {SERVICE} AND state LIKE 'idle in transaction%'"
WAITING = f"SELECT count(*) {SERVICE} AND wait_event_type = 'Lock'"
TERMINATE = f"SELECT pg_terminate_backend(pid) {SERVICE}"

WAIT = {"title": "waits"}

# What nobody wants to read in the log of a service.
FAILURES = re.compile("Traceback|never retrieved|unexpected|was destroyed|active transaction")

TRIGGER = """
    CREATE SEQUENCE IF NOT EXISTS tries;
    CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
    CREATE {} TRIGGER fault {} INSERT OR UPDATE ON notes {} FOR EACH ROW EXECUTE FUNCTION fault();
"""
MEND = "DROP FUNCTION IF EXISTS fault CASCADE; DROP SEQUENCE IF EXISTS tries"
OPPOSITE_LOCKS = """
    DECLARE first int := (random() * 1)::int; BEGIN
        PERFORM pg_advisory_xact_lock(first);
        PERFORM pg_sleep(0.02);
        PERFORM pg_advisory_xact_lock(1 - first);
    END;
"""
FAIL_OFTEN = "IF nextval('tries') % 2 = 0 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{}'; END IF;"


@dataclass
class Stage:
    """A program, what it needs, and the loop that all of it lives in."""

    program: Combination
    runner: asyncio.Runner
    folder: Path
    long: bool  # as in `make soak`
    leaving: list[PostgreSQL] = field(default_factory=list)  # servers that nobody needs any more
    stopped: float = 0  # seconds for which the service itself could not answer
    faultless: bool = False  # whether nobody needs to be refused
    stale: bool = False  # whether the next test needs the service anew

    async def start(self) -> None:
        self.server, self.network, self.upstream = PostgreSQL(), Network(), Upstream()
        await self.server.start()
        await self.server.configure(deadlock_timeout="50ms")
        await self.network.connect(self.server.port)
        await self.upstream.start()
        self.service = Service(self.program, self.network.port, self.upstream.url, self.folder)
        assert await asyncio.to_thread(self.service.migration().wait) == 0, self.service.log()
        await self.serve()

    async def serve(self, server: str = "uvicorn") -> None:
        await self.service.stop()
        await self.service.start(server)

    async def stop(self) -> None:
        await self.service.stop()
        await self.network.close()
        self.upstream.close()
        for server in [self.server, *self.leaving]:
            await server.remove()
        self.leaving.clear()

    async def renew(self) -> None:
        await self.stop()
        await self.start()

    async def restart(self) -> None:
        await self.server.start()
        await self.network.connect(self.server.port)

    async def pause(self, seconds: float) -> None:
        """Let the fault last: three times as long in `make soak`."""
        await asyncio.sleep(seconds * (3 if self.long else 1))

    @asynccontextmanager
    async def trigger(
        self, body: str, *, kind: str = "", when: str = "BEFORE", deferred: str = ""
    ) -> AsyncIterator[None]:
        await self.server.execute(TRIGGER.format(body, kind, when, deferred))
        yield
        await self.server.execute(MEND)

    async def leaves_nothing_open(self) -> None:
        """Ask the server for what the service has left: at most idle connections, of its pools."""
        most = POOL * self.service.workers
        deadline = time.monotonic() + 3
        async with self.server.session() as session:
            while True:
                rows = await session.fetch(
                    f"SELECT state, left(query, 20), backend_start {SERVICE}"
                )
                good = len(rows) <= most and {row["state"] for row in rows} <= {"idle"}
                if good or time.monotonic() > deadline:
                    break
                await session.execute("SELECT pg_sleep(0.05)")
        assert good, [tuple(row) for row in rows]

    async def has_its_whole_pool(self) -> None:
        """Have as many writes wait for one lock as the pool has connections; no more, no less."""
        most = POOL * self.service.workers
        connections = [Connection(self.service.port) for _ in range(2 * most)]
        async with asyncio.TaskGroup() as tasks, self.locked("notes") as session:
            asked = [tasks.create_task(c.ask("POST", "/notes", WAIT)) for c in connections]
            deadline = time.monotonic() + STATEMENT_TIMEOUT * 0.8
            while await session.fetchval(WAITING) < POOL and time.monotonic() < deadline:
                await session.execute("SELECT pg_stat_clear_snapshot()")
            await session.execute("SELECT pg_sleep(0.1), pg_stat_clear_snapshot()")
            waiting = await session.fetchval(WAITING)
        for connection in connections:
            connection.close()
        assert POOL <= waiting <= most  # of two workers one may have taken all requests
        assert {task.result().status for task in asked} == {201}

    @asynccontextmanager
    async def locked(self, table: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        async with self.server.session() as session, session.transaction():
            await session.execute(f"LOCK TABLE {table}")
            yield session


Fault: TypeAlias = Callable[[Stage, Client], Awaitable[None]]
FAULTS: list[Fault] = []
MEMORY = "memory"


def sentence(fault: Fault) -> str:
    return fault.__name__.replace("_", " ")


def fault(function: Fault) -> Fault:
    FAULTS.append(function)
    return function


@fault
async def postgresql_is_killed_and_started_again(stage: Stage, client: Client) -> None:
    await stage.server.kill()
    await stage.restart()


@fault
async def postgresql_is_restarted_quickly(stage: Stage, client: Client) -> None:
    await stage.server.stop()
    await stage.restart()


@fault
async def postgresql_is_stopped_for_long(stage: Stage, client: Client) -> None:
    stage.network.refuse()
    await stage.server.stop()
    await asyncio.sleep(60 if stage.long else 2)
    await stage.restart()


@fault
async def postgresql_starts_after_the_service(stage: Stage, client: Client) -> None:
    await client.pause()
    await stage.server.stop()
    stage.network.refuse()
    await stage.serve()
    client.reconnect()
    connection = client.connection()
    assert (await connection.ask("GET", "/health/live")).status == 200
    assert (await connection.ask("GET", "/health/ready")).status == 503
    client.resume()
    await stage.pause(0.5)
    await stage.restart()


@fault
async def every_connection_is_terminated_again_and_again(stage: Stage, client: Client) -> None:
    for _ in range(5):
        await stage.server.execute(TERMINATE)
        await stage.pause(0.2)


@fault
async def the_network_drops_everything(stage: Stage, client: Client) -> None:
    stage.network.drop()
    await stage.pause(4)
    stage.network.deliver()


@fault
async def a_firewall_forgets_every_connection(stage: Stage, client: Client) -> None:
    await stage.network.forget()


@fault
async def the_database_fails_over_to_another_server(stage: Stage, client: Client) -> None:
    standby = await stage.server.standby()
    await stage.pause(0.3)
    await stage.server.kill()
    await stage.server.remove()
    stage.server = standby
    await standby.execute("SELECT pg_promote()")
    await stage.restart()


@fault
async def a_failover_leaves_the_old_server_read_only(stage: Stage, client: Client) -> None:
    """Which those who are connected go on asking."""
    old, standby = stage.server, await stage.server.standby()
    await stage.pause(0.3)
    await old.configure(default_transaction_read_only="on")
    await client.pause()  # what has begun there before may still commit
    await standby.execute("SELECT pg_promote()")
    stage.server = standby
    await stage.restart()
    client.resume()
    stage.leaving.append(old)


@fault
async def slow_statements_exhaust_the_pool(stage: Stage, client: Client) -> None:
    before = client.refused
    async with stage.trigger("PERFORM pg_sleep(0.8);"):
        await stage.pause(3)
        for _ in range(10):
            if client.refused > before:
                break
            await stage.pause(1)  # chance spreads the users over the workers


@fault
async def statements_take_longer_than_they_may(stage: Stage, client: Client) -> None:
    async with stage.trigger("PERFORM pg_sleep(10);"):
        await stage.pause(2)


@fault
async def a_lock_is_never_released(stage: Stage, client: Client) -> None:
    async with stage.server.session() as session, session.transaction():
        await session.execute("SELECT FROM notes FOR UPDATE")
        await stage.pause(2.5)


@fault
async def transactions_deadlock(stage: Stage, client: Client) -> None:
    before = stage.server.log().count("deadlock detected")
    async with stage.trigger(OPPOSITE_LOCKS):
        await stage.pause(2)
    assert stage.server.log().count("deadlock detected") > before
    stage.faultless = True


@fault
async def transactions_cannot_be_serialized(stage: Stage, client: Client) -> None:
    async def begin_with(isolation: str | None) -> None:
        await client.pause()
        await stage.server.configure(default_transaction_isolation=isolation)
        await stage.serve()  # SQLAlchemy asks for the default only once
        client.reconnect()
        client.resume()

    before = stage.server.log().count("could not serialize")
    client.together = True
    await begin_with("serializable")
    await stage.pause(1)
    client.together = False
    await begin_with(None)
    assert stage.server.log().count("could not serialize") > before
    stage.faultless = True


@fault
async def commits_fail(stage: Stage, client: Client) -> None:
    """Which nobody knows the outcome of: so none is tried again."""
    await client.pause()
    done = len(client.acknowledged) + client.refused
    collision = FAIL_OFTEN.format(random.choice(["40001", "40P01"]))  # noqa: S311
    deferred = {"kind": "CONSTRAINT", "when": "AFTER", "deferred": "DEFERRABLE INITIALLY DEFERRED"}
    async with stage.trigger(collision, **deferred):
        client.resume()
        await stage.pause(1)
        await client.pause()
        tries = await stage.server.query("SELECT last_value FROM tries")
        assert tries == len(client.acknowledged) + client.refused - done
    client.resume()


@fault
async def clients_hang_up_in_the_middle(stage: Stage, client: Client) -> None:
    for _ in range(3):
        await client.pause()
        async with stage.locked("note_revisions") as session, asyncio.timeout(STATEMENT_TIMEOUT):
            hasty = [Connection(stage.service.port) for _ in range(POOL)]
            for connection in hasty:
                body = {"title": "hasty", "body": client.doubt()}
                await connection.send("POST", "/notes", body)
            while await session.fetchval(WAITING) < POOL:
                await session.execute("SELECT pg_stat_clear_snapshot()")
            for connection in hasty:
                connection.close()
        client.resume()
        await stage.pause(0.2)
    stage.faultless = True


@fault
async def a_worker_is_killed_in_the_middle(stage: Stage, client: Client) -> None:
    await client.pause()
    await stage.serve("gunicorn")
    client.may_lose_answers, stage.stale = True, True
    client.reconnect()
    client.resume()
    for _ in range(5 if stage.long else 1):
        started = stage.service.started()
        async with stage.locked("note_revisions"):
            await asyncio.sleep(0.3)
            # One may have taken all the users.
            busiest = max(stage.service.processes(), key=lambda p: len(p.net_connections()))
            busiest.kill()
        await until(lambda started=started: stage.service.started() > started, 60)


@fault
async def the_event_loop_is_blocked(stage: Stage, client: Client) -> None:
    [process] = stage.service.processes()
    stage.stopped = 2.5
    for _ in range(3 if stage.long else 1):
        process.suspend()
        await asyncio.sleep(stage.stopped)
        process.resume()
        await asyncio.sleep(1)
    stage.faultless = True


@fault
async def the_server_is_read_only(stage: Stage, client: Client) -> None:
    await stage.server.configure(default_transaction_read_only="on")
    await asyncio.sleep(0.3)  # until all have noticed
    acknowledged = len(client.acknowledged)
    await stage.pause(1)
    assert len(client.acknowledged) == acknowledged
    assert not client.reads_refused
    answer = await client.connection().ask("POST", "/notes", {"title": "no"})
    assert "takes no changes" in answer.json()["detail"]
    await stage.server.configure(default_transaction_read_only=None)


@fault
async def synchronizations_and_changes_meet(stage: Stage, client: Client) -> None:
    await client.pause()
    first, second = client.connection(), client.connection()
    for _ in range(10 if stage.long else 3):
        note = await client.write(first, "POST", "/notes")
        assert note
        path = f"/notes/{note}"

        both = asyncio.Barrier(2)

        async def together(both: asyncio.Barrier = both) -> None:
            await both.wait()
            assert await stage.server.query(LEFT_OPEN) == 0
            await both.wait()

        stage.upstream.meanwhile[note] = together
        won = await asyncio.gather(
            client.write(first, "POST", f"{path}/synchronize"),
            client.write(second, "POST", f"{path}/synchronize"),
        )
        assert sorted(won, key=bool) == [None, note]

        async def changed(path: str = path) -> None:
            assert await client.write(second, "PATCH", path)

        stage.upstream.meanwhile[note] = changed
        conflicts = client.conflicts
        assert await client.write(first, "POST", f"{path}/synchronize") is None
        assert client.conflicts == conflicts + 1
    client.resume()
    stage.faultless = True


@fault
async def four_processes_migrate_at_once(stage: Stage, client: Client) -> None:
    await stage.server.execute("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh")
    before = stage.service.log().count("Running upgrade")
    url = stage.service.environment["DATABASE_URL"].replace("/postgres?", "/fresh?")
    processes = [stage.service.migration(DATABASE_URL=url) for _ in range(4)]
    waiting = (asyncio.to_thread(process.wait) for process in processes)
    assert await asyncio.gather(*waiting) == [0, 0, 0, 0], stage.service.log()
    applied = stage.service.log().count("Running upgrade") - before
    assert applied == len(list((TEMPLATES / "common/migrations/versions").glob("*.py")))
    stage.faultless = True


async def endure(stage: Stage, fault: Fault) -> dict[str, Any]:
    """Let users work while `fault` happens, and account for all they were told."""
    if stage.stale:
        await stage.serve()
    stage.stopped, stage.faultless, stage.stale = 0, False, False
    await stage.server.execute("TRUNCATE notes CASCADE")
    logged = len(stage.service.log())
    client = Client(stage.service.port, stage.upstream)
    await client.start()
    await client.progress(time.monotonic())
    await fault(stage, client)
    back = time.monotonic()
    recovered = await client.progress(back)
    await stage.pause(0.5)
    await client.stop()
    while stage.leaving:
        await stage.leaving.pop().remove()

    await stage.leaves_nothing_open()
    lost = await account(stage.server, client)
    await stage.has_its_whole_pool()
    await stage.leaves_nothing_open()
    found = {
        "sent": client.sent,
        "refused": client.refused,
        "acknowledged": len(client.acknowledged),
        "lost": lost,
        "recovery": round(max(recovered, client.last_refusal) - back, 2),
        "refusal": round(client.longest_refusal, 2),
    }
    print(found)
    assert client.faults == []
    assert lost == 0
    assert found["recovery"] <= RECOVERY
    assert found["refusal"] <= BOUND + stage.stopped
    assert client.refused or client.lost_answers or stage.faultless, "the fault was none"
    assert set(stage.upstream.calls.values()) <= {1}, "the upstream was asked again"
    log = stage.service.log()[logged:].splitlines()
    assert [line for line in log if FAILURES.search(line)] == []
    return found


def staged(program: Combination, *, long: bool) -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="stage-"))
    with asyncio.Runner() as runner:
        stage = Stage(program, runner, folder, long)
        runner.run(stage.start())
        yield stage
        runner.run(stage.stop())
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=PROGRAMS, ids=name)
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from staged(request.param, long=False)


@pytest.fixture(scope="module", params=PROGRAMS, ids=name)
def long_stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    yield from staged(request.param, long=True)


def run(stage: Stage, test: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    try:
        return stage.runner.run(test)
    except BaseException:
        stage.runner.run(stage.renew())  # for the next test
        raise


# The rendered tests migrate from four processes, too.
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS[:-1], ids=sentence)
def test_no_acknowledged_write_is_lost(stage: Stage, fault: Fault) -> None:
    run(stage, endure(stage, fault))


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS, ids=sentence)
def test_no_acknowledged_write_is_lost_for_long(
    long_stage: Stage, fault: Fault, record: Callable[..., None]
) -> None:
    forget(long_stage.program, sentence(fault))
    record(long_stage.program, sentence(fault), run(long_stage, endure(long_stage, fault)))


@pytest.mark.soak
def test_memory_does_not_grow(long_stage: Stage, record: Callable[..., None]) -> None:
    """From the 10,000th request to the 100,000th, of every kind that there is."""
    forget(long_stage.program, MEMORY)
    record(long_stage.program, MEMORY, run(long_stage, weigh(long_stage)))


async def weigh(stage: Stage) -> dict[str, Any]:
    await stage.serve()
    await stage.server.execute("TRUNCATE notes CASCADE")
    [process] = stage.service.processes()
    weights = []
    for requests in (10_000, 90_000):
        client = Client(stage.service.port, stage.upstream, busy=True)
        await client.start()
        await until(lambda client=client, most=requests: client.sent >= most - 5000, 1800)
        # Python leaves some garbage for later: the least of a while is what it cannot do without.
        weight = math.inf
        while client.sent < requests:
            weight = min(weight, process.memory_full_info().uss / 1_000_000)
            await asyncio.sleep(0.1)
        await client.stop()
        assert client.faults == []
        weights.append(weight)
    first, last = weights
    print(weights)
    assert last <= first * 1.05
    return {"after 10,000": round(first, 1), "after 100,000": round(last, 1)}


COLUMNS = ["sent", "refused", "acknowledged", "lost", "recovery", "refusal"]
HEAD = """# What became of every acknowledged write

Written by `make soak`, which CONTRIBUTING.md tells about. While users wrote, read and synchronized, each of
these happened to each program; then every answer was compared with what is stored. *Recovery* is
how many seconds after the fault was over the last request was refused, or the last user's first write
acknowledged; *refusal* is the longest that a refused one waited, a transaction. The pool's timeout
and the statements' were {pool:g} s each, so it may be {bound:g} s, and what the process itself stood still.
"""


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Write down what `make soak` found, by program and fault."""
    text = HEAD.format(pool=POOL_TIMEOUT, bound=BOUND)
    text += (
        f"\n| program | fault | {' | '.join(COLUMNS)} |\n" + "| --- " * (2 + len(COLUMNS)) + "|\n"
    )
    for program, found in results.items():
        for what in map(sentence, FAULTS):
            values = " | ".join(f"{found[what][column]:,}" for column in COLUMNS)
            text += f"| {program} | {what} | {values} |\n"
    text += "\n## Memory\n\nOf the process alone (USS), in MB, after so many requests.\n"
    text += "\n| program | 10,000 | 100,000 |\n| --- | --- | --- |\n"
    for program, found in results.items():
        text += f"| {program} | {' | '.join(map(str, found[MEMORY].values()))} |\n"
    return text


def kept(program: Combination, what: str) -> Path:
    return RESULTS / f"{name(program)}.{what}.json"


def forget(program: Combination, what: str) -> None:
    """Let the table not be written with what an earlier run found, where this one fails."""
    kept(program, what).unlink(missing_ok=True)


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Keep what was found, also by an earlier run, and write the table once nothing is missing."""
    RESULTS.mkdir(exist_ok=True)
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def write(program: Combination, what: str, found: dict[str, Any]) -> None:
        kept(program, what).write_text(json.dumps(found))
        with capture.global_and_fixture_disabled():
            print(f"\n{name(program)}, {what}: {found}", flush=True)

    yield write
    results: dict[str, dict[str, Any]] = {name(program): {} for program in PROGRAMS}
    for file in RESULTS.glob("*.json"):
        program, what = file.stem.split(".")
        results[program][what] = json.loads(file.read_text())
    if all({*map(sentence, FAULTS), MEMORY} <= found.keys() for found in results.values()):
        TABLE.write_text(table(results))


def test_the_table_tells_of_every_program_and_fault_and_of_no_loss() -> None:
    rows = [line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if "|" in line]
    told = {
        tuple(row[:2]): dict(zip(COLUMNS, row[2:], strict=True)) for row in rows if len(row) == 8
    }
    del told["program", "fault"], told["---", "---"]
    assert told.keys() == {(name(p), sentence(fault)) for p in PROGRAMS for fault in FAULTS}
    for row in told.values():
        assert row["lost"] == "0" != row["acknowledged"]
        assert float(row["recovery"]) <= RECOVERY
    weighed = {row[0]: (float(row[1]), float(row[2])) for row in rows[-len(PROGRAMS) :]}
    assert weighed.keys() == {name(program) for program in PROGRAMS}
    assert all(last <= first * 1.05 for first, last in weighed.values())
