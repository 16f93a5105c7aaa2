"""The rendered tests notice faults in the data layer and the handlers: each mutant turns them red.

A mutant is a rendered project with one change that breaks a promise. Its own tests must fail.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.choices import PROGRAMS, Combination, name

Render = Callable[..., Path]

PACKAGE = "src/notes_service"
# In the order of how soon they notice.
TESTS = [
    "tests/test_database.py",
    "tests/test_health.py",
    "tests/test_transactions.py",
    "tests/notes",
    "tests",
]


@dataclass(frozen=True)
class Mutant:
    """One change, for every combination that has `values` among its choices."""

    name: str
    file: str
    old: str
    new: str
    values: frozenset[str] = frozenset()


def mutant(name: str, file: str, old: str, new: str, *values: str) -> Mutant:
    return Mutant(name, f"{PACKAGE}/{file}", old, new, frozenset(values))


MUTANTS = [
    mutant(
        "waiting for a connection has no timeout",
        "slots.py",
        "asyncio.timeout(self._timeout)",
        "asyncio.timeout(None)",
    ),
    mutant(
        "the pool is used without slots",
        "slots.py",
        "asyncio.Semaphore(settings.database_pool_size)",
        "asyncio.Semaphore(10_000)",
    ),
    mutant(
        "newcomers overtake waiting requests",
        "slots.py",
        "                    with metrics.pool_waiting.track_inprogress():\n"
        "                        await self._semaphore.acquire()\n",
        "                    with metrics.pool_waiting.track_inprogress():\n"
        "                        waiting = asyncio.ensure_future(self._semaphore.acquire())\n"
        "                        await asyncio.sleep(0)\n"
        "                        self._semaphore._waiters.rotate(1)\n"
        "                        await waiting\n",
    ),
    mutant(
        "a nested checkout waits for the pool",
        "slots.py",
        "if asyncio.current_task() in self._holders.values():",
        "if False:",
    ),
    mutant(
        "a failed connect keeps its slot",
        "slots.py",
        "        except Exception as error:\n            self._free()\n",
        "        except Exception as error:\n",
    ),
    mutant(
        "a cancelled connect keeps its slot",
        "slots.py",
        "        except (asyncio.CancelledError, TimeoutError):\n            self._free()\n",
        "        except (asyncio.CancelledError, TimeoutError):\n",
    ),
    mutant(
        "a block that ends in another task still counts for its first one",
        "slots.py",
        "        del self._holders[connection]\n",
        "        for held, task in list(self._holders.items()):\n"
        "            if task is asyncio.current_task():\n"
        "                del self._holders[held]\n",
    ),
    mutant(
        "a released connection keeps its slot",
        "slots.py",
        "        self._semaphore.release()\n",
        "",
    ),
    mutant(
        "waiting requests are not counted",
        "slots.py",
        "with metrics.pool_waiting.track_inprogress():",
        "if True:",
    ),
    mutant(
        "a swallowed error is committed as if it had not happened",
        "postgres.py",
        'if status == "ROLLBACK":',
        "if False:",
    ),
    mutant(
        "a violated constraint is unexpected",
        "postgres.py",
        '    "23505": errors.UniqueViolation,\n',
        "",
    ),
    mutant(
        "a constraint has no error of its own",
        "constraints.py",
        "        if service_error is None:\n",
        "        if True:\n",
    ),
    mutant(
        "JSON may hold what JSONB cannot",
        "fields.py",
        'elif isinstance(part, str) and ("\\0" in part or not is_unicode(part)):',
        "elif False:",
    ),
    mutant(
        "values are stored without the conversion of their types",
        "statement.py",
        "if processor and name in self._names",
        "if False",
        "core",
        "asyncpg",
    ),
    mutant(
        "changes outside a transaction are lost",
        "database.py",
        "if session.new or session.dirty or session.deleted:",
        "if False:",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a flush outside a transaction is stored",
        "engine.py",
        "def refuse_changes(*_: object) -> None:\n    raise ChangesNotStored\n",
        "def refuse_changes(*_: object) -> None:\n    pass\n",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a COMMIT that conflicted is tried again",
        "postgres.py",
        "raise errors.DatabaseUnavailable from error",
        "raise",
    ),
    mutant(
        "a busy connection is reused after an error",
        "postgres.py",
        "            await connection.reset(timeout=RESET_TIMEOUT)\n",
        "",
    ),
    mutant(
        "a silent server is waited for twice",
        "postgres.py",
        "return isinstance(error, TimeoutError | asyncpg.ReadOnlySQLTransactionError)",
        "return False",
    ),
    mutant(
        "errors of the server are not translated",
        "postgres.py",
        "        return service_error() if service_error else None\n",
        "        return None\n",
    ),
    mutant(
        "statements have no timeout",
        "postgres.py",
        "settings.database_statement_timeout + 0.5",
        "None",
    ),
    mutant(
        "a conflict is not tried again",
        "retry.py",
        "for delay in DELAYS:",
        "for delay in ():",
    ),
    mutant(
        "a connection is not released",
        "database.py",
        "            await self._pool.release(connection)\n",
        "            pass\n",
        "core",
        "asyncpg",
    ),
    mutant(
        "a connection is not released",
        "database.py",
        "            await connection._connection.release()  # noqa: SLF001\n",
        "            pass\n",
        "databases",
    ),
    mutant(
        "a connection is not released",
        "database.py",
        "                await connection.close()\n",
        "                pass\n",
        "orm",
        "asyncpg",
    ),
    *(
        mutant(
            "the slot of a failed block is not freed",
            "database.py",
            "        finally:\n            await self._release(connection)\n",
            "        else:\n            await self._release(connection)\n",
            pool,
            "core",
        )
        for pool in ("asyncpg", "databases")
    ),
    *(
        mutant(
            "nothing is committed",
            "database.py",
            "            await transaction.commit()\n",
            "            await transaction.rollback()\n",
            *values,
        )
        for values in (("core", "asyncpg"), ("databases",))
    ),
    mutant(
        "nothing is committed",
        "database.py",
        "            await session.commit()\n",
        "",
        "orm",
        "asyncpg",
    ),
    *(
        mutant(
            "a failed transaction is committed",
            "database.py",
            "                        await transaction.rollback()\n",
            "                        await transaction.commit()\n",
            *values,
        )
        for values in (("core", "asyncpg"), ("databases",))
    ),
    mutant(
        "transactions commit each statement",
        "database.py",
        "connection.execution_options(isolation_level=level)",
        "connection.execution_options()",
        "orm",
        "asyncpg",
    ),
    mutant(
        "lone reads begin a transaction",
        "engine.py",
        '        isolation_level="AUTOCOMMIT",  # `Database.transaction` sets another one\n',
        "",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a closed connection is used",
        "engine.py",
        "if driver_connection is None or driver_connection.is_closed():\n        #",
        "if driver_connection is None:\n        #",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a transaction that SQL began stays open",
        "engine.py",
        "if running or streamed or driver_connection.is_in_transaction():",
        "if running or streamed:",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a connection is reused while a statement runs on it",
        "engine.py",
        "if running or streamed or driver_connection.is_in_transaction():",
        "if streamed or driver_connection.is_in_transaction():",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a stream can be read in the next transaction",
        "engine.py",
        "info[STREAMED] = True",
        "info[STREAMED] = False",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a request that is cancelled while its connection is replaced loses its place in the pool",
        "engine.py",
        "        record.close()\n",
        "",
        "orm",
        "asyncpg",
    ),
    mutant(
        "one lost connection makes the pool replace all of them",
        "engine.py",
        "    context.invalidate_pool_on_disconnect = False\n",
        "",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a transaction ends without COMMIT while its BEGIN is on its way",
        "engine.py",
        "if connection.connection.record_info.get(RUNNING):",
        "if False:",
        "orm",
        "asyncpg",
    ),
    mutant(
        "prepared statements are kept with PgBouncer",
        "engine.py",
        "0 if settings.database_pgbouncer else 100",
        "100",
        "orm",
        "asyncpg",
    ),
    *(
        mutant(
            "closing the pool has no limit",
            "database.py",
            "asyncio.timeout(self._timeout)",
            "asyncio.timeout(None)",
            *values,
        )
        for values in (("core", "asyncpg"), ("databases",))
    ),
    mutant(
        "a session can be used after its block",
        "database.py",
        ", close_resets_only=False",
        "",
        "orm",
        "asyncpg",
    ),
    mutant(
        "the answer is sent before the commit",
        "notes/routes.py",
        """\
    async with database.transaction() as transaction:
        note = await queries.create(transaction, content.title, content.body)
    headers = {"Location": path_to("notes", note.id), "ETag": etag(note.version)}
    return answer(schemas.Note.model_validate(note), 201, headers)
""",
        """\
    from starlette.background import BackgroundTask

    block = database.transaction()
    note = await queries.create(await block.__aenter__(), content.title, content.body)
    headers = {"Location": path_to("notes", note.id), "ETag": etag(note.version)}
    response = answer(schemas.Note.model_validate(note), 201, headers)
    response.background = BackgroundTask(block.__aexit__, None, None, None)
    return response
""",
        "starlette",
    ),
    mutant(
        "the answer is sent before the commit",
        "notes/routes.py",
        """\
    content: schemas.NewNote, database: DatabaseDependency, response: Response
) -> schemas.Note:
    \"\"\"Store a note and its first revision.\"\"\"
    async with database.transaction() as transaction:
        note = await queries.create(transaction, content.title, content.body)
""",
        """\
    content: schemas.NewNote,
    database: DatabaseDependency,
    response: Response,
    tasks: BackgroundTasks,
) -> schemas.Note:
    \"\"\"Store a note and its first revision.\"\"\"
    block = database.transaction()
    note = await queries.create(await block.__aenter__(), content.title, content.body)
    tasks.add_task(block.__aexit__, None, None, None)
""",
        "fastapi",
    ),
    mutant(
        "a connection is held during the call of the upstream",
        "notes/synchronize.py",
        "    note = await read(note_id, database)\n\n    content = await upstream.synchronize(note)",
        "    async with database.connection():\n"
        "        note = await read(note_id, database)\n"
        "        content = await upstream.synchronize(note)",
    ),
    mutant(
        "the upstream is asked again after a conflict",
        "notes/synchronize.py",
        "async def synchronize(",
        "@retry_on_conflict\nasync def synchronize(",
    ),
    mutant(
        "the version is not compared when the upstream's answer is stored",
        "notes/synchronize.py",
        "note.id, note.version, content",
        "note.id, (await queries.get(transaction, note.id)).version, content",
    ),
]


def applicable(mutant: Mutant, program: Combination) -> bool:
    return mutant.values <= set(program.values())


# Each data layer with one framework, and the mutants of one framework with the default data layer.
CASES = [
    pytest.param(program, mutant, id=f"{name(program)}: {mutant.name}")
    for program in PROGRAMS
    for mutant in MUTANTS
    if applicable(mutant, program)
    and (
        program["framework"] == "starlette"
        or ("fastapi" in mutant.values and program == PROGRAMS[0])
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_each_mutant_changes_one_place(program: Combination, rendered: Render) -> None:
    project = rendered(**program)
    for mutant in MUTANTS:
        if applicable(mutant, program):
            text = (project / mutant.file).read_text()
            assert text.count(mutant.old) == 1, mutant.name


def run_tests(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.mutants
@pytest.mark.parametrize(("program", "mutant"), CASES)
def test_rendered_tests_notice_the_mutant(
    program: Combination, mutant: Mutant, render: Render
) -> None:
    project = render(**program)
    file = project / mutant.file
    file.write_text(file.read_text().replace(mutant.old, mutant.new))
    if "BackgroundTasks" in mutant.new:
        file.write_text(
            file.read_text().replace("import APIRouter,", "import APIRouter, BackgroundTasks,")
        )
    for tests in TESTS:
        done = run_tests(project, tests)
        if done.returncode:
            break
    assert done.returncode == 1, done.stdout + done.stderr
    assert " failed" in done.stdout or " error" in done.stdout, done.stdout
