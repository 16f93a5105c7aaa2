"""Faults that load causes: a full pool, locks, conflicts, a failing COMMIT, an overloaded process."""

import asyncio
import random

from tests.faults.fault_injection import OPEN_TRANSACTIONS, Environment
from tests.faults.users import Users
from tests.support.waiting import until

LOCK_IN_OPPOSITE_ORDER = """
    DECLARE first int := (random() * 1)::int; BEGIN
        PERFORM pg_advisory_xact_lock(first);
        PERFORM pg_sleep(0.02);
        PERFORM pg_advisory_xact_lock(1 - first);
    END;
"""
FAIL_EVERY_SECOND_TIME = (
    "IF nextval('tries') % 2 = 0 THEN RAISE EXCEPTION 'no' USING ERRCODE = '{}'; END IF;"
)


async def slow_statements_exhaust_the_pool(environment: Environment, users: Users) -> None:
    before = users.refused
    async with environment.trigger("PERFORM pg_sleep(0.8);"):
        await environment.last(3)
        for _ in range(10):
            if users.refused > before:
                break
            await environment.last(1)  # chance decides how many users meet


async def statements_take_longer_than_they_may(environment: Environment, users: Users) -> None:
    async with environment.trigger("PERFORM pg_sleep(10);"):
        await environment.last(2)


async def a_lock_is_never_released(environment: Environment, users: Users) -> None:
    async with environment.server.session() as session, session.transaction():
        await session.execute("SELECT FROM notes FOR UPDATE")
        await environment.last(2.5)


async def transactions_deadlock(environment: Environment, users: Users) -> None:
    before = environment.server.log().count("deadlock detected")
    async with environment.trigger(LOCK_IN_OPPOSITE_ORDER):
        await environment.last(2)
    assert environment.server.log().count("deadlock detected") > before
    environment.needs_no_refusal = True


async def transactions_cannot_be_serialized(environment: Environment, users: Users) -> None:
    async def set_default_isolation(isolation: str | None) -> None:
        await users.pause()
        await environment.server.configure(default_transaction_isolation=isolation)
        await environment.restart_service()  # SQLAlchemy reads the default only once
        users.reconnect()
        users.resume()

    before = environment.server.log().count("could not serialize")
    users.only_shared_note = True
    await set_default_isolation("serializable")
    await environment.last(1)
    users.only_shared_note = False
    await set_default_isolation(None)
    assert environment.server.log().count("could not serialize") > before
    environment.needs_no_refusal = True


async def commits_fail(environment: Environment, users: Users) -> None:
    """The outcome of such a COMMIT is unknown, so none is tried again."""
    await users.pause()
    before = len(users.acknowledged) + users.refused
    sqlstate = random.choice(["40001", "40P01"])  # noqa: S311
    async with environment.trigger(
        FAIL_EVERY_SECOND_TIME.format(sqlstate),
        constraint="CONSTRAINT",
        timing="AFTER",
        deferred="DEFERRABLE INITIALLY DEFERRED",
    ):
        users.resume()
        await environment.last(1)
        await users.pause()
        tries = await environment.server.query("SELECT last_value FROM tries")
        assert tries == len(users.acknowledged) + users.refused - before
    users.resume()


async def a_worker_is_killed_in_the_middle(environment: Environment, users: Users) -> None:
    await users.pause()
    await environment.restart_service("gunicorn")
    users.may_lose_answers, environment.needs_new_service = True, True
    users.reconnect()
    users.resume()
    service = environment.service
    for _ in range(5 if environment.long else 1):
        started = service.workers_started()
        async with environment.locked("note_revisions"):
            await asyncio.sleep(0.3)
            # One of them may have got all the users.
            busiest = max(service.serving_processes(), key=lambda p: len(p.net_connections()))
            busiest.kill()
        await until(lambda started=started: service.workers_started() > started, 60)


async def the_event_loop_is_blocked(environment: Environment, users: Users) -> None:
    [process] = environment.service.serving_processes()
    environment.blocked_seconds = 2.5
    for _ in range(3 if environment.long else 1):
        process.suspend()
        await asyncio.sleep(environment.blocked_seconds)
        process.resume()
        await asyncio.sleep(1)
    environment.needs_no_refusal = True


async def synchronizations_and_changes_meet(environment: Environment, users: Users) -> None:
    await users.pause()
    first, second = users.connection(), users.connection()
    for _ in range(10 if environment.long else 3):
        note = await users.write(first, "POST", "/notes")
        assert note
        path = f"/notes/{note}"

        both_called = asyncio.Barrier(2)

        async def wait_for_both(both_called: asyncio.Barrier = both_called) -> None:
            await both_called.wait()
            assert await environment.server.query(OPEN_TRANSACTIONS) == 0
            await both_called.wait()

        environment.upstream.before_answer[note] = wait_for_both
        results = await asyncio.gather(
            users.write(first, "POST", f"{path}/synchronize"),
            users.write(second, "POST", f"{path}/synchronize"),
        )
        assert sorted(results, key=bool) == [None, note]

        async def change(path: str = path) -> None:
            assert await users.write(second, "PATCH", path)

        environment.upstream.before_answer[note] = change
        conflicts = users.conflicts
        assert await users.write(first, "POST", f"{path}/synchronize") is None
        assert users.conflicts == conflicts + 1
    users.resume()
    environment.needs_no_refusal = True


LOAD_FAULTS = [
    slow_statements_exhaust_the_pool,
    statements_take_longer_than_they_may,
    a_lock_is_never_released,
    transactions_deadlock,
    transactions_cannot_be_serialized,
    commits_fail,
    a_worker_is_killed_in_the_middle,
    the_event_loop_is_blocked,
    synchronizations_and_changes_meet,
]
