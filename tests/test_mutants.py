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

from tests.choices import Combination, combinations, name

pytestmark = pytest.mark.mutants

PACKAGE = "src/notes_service"
# In the order of how soon they notice.
TESTS = ["tests/test_database.py", "tests/test_health.py", "tests/notes", "tests"]


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
        "newcomers overtake waiting requests",
        "slots.py",
        "asyncio.Semaphore(settings.database_pool_size)",
        "asyncio.Semaphore(10_000)",
    ),
    mutant(
        "a nested checkout waits for the pool",
        "slots.py",
        "if asyncio.current_task() in self._holders:",
        "if False:",
    ),
    mutant(
        "a failed connect keeps its slot",
        "slots.py",
        "        except BaseException:\n            self.release()\n            raise\n",
        "        except BaseException:\n            raise\n",
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
        "a COMMIT that conflicted is tried again",
        "postgres.py",
        "raise DatabaseUnavailable from error",
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
        "        return answer() if answer else None\n",
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
        '        isolation_level="AUTOCOMMIT",  # `transaction` sets another one\n',
        "",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a closed connection is used",
        "engine.py",
        "if driver is None or driver.is_closed():",
        "if driver is None:",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a transaction that SQL began stays open",
        "engine.py",
        "        driver.terminate()\n\n\ndef close_unusable",
        "        pass\n\n\ndef close_unusable",
        "orm",
        "asyncpg",
    ),
    mutant(
        "a session can be used after its block",
        "database.py",
        ", close_resets_only=False",
        "",
        "orm",
        "asyncpg",
    ),
    *(
        mutant(
            "the answer is sent before the commit",
            "notes/routes.py",
            "        note = await queries.create(transaction, content.title, content.body)\n",
            "        note = await queries.create(transaction, content.title, content.body)\n"
            f"        return {answer}\n",
            framework,
        )
        for framework, answer in ()
    ),
    mutant(
        "a connection is held during the call of the upstream",
        "notes/synchronize.py",
        "\n    content = await upstream",
        "\n        content = await upstream",
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

CASES = [
    pytest.param(layer, mutant, id=f"{name(layer)}: {mutant.name}")
    for layer in combinations("sqlalchemy", "pool")
    for mutant in MUTANTS
    if mutant.values <= set(layer.values())
]


def run_tests(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(("layer", "mutant"), CASES)
def test_rendered_tests_notice_the_mutant(
    layer: Combination, mutant: Mutant, render: Callable[..., Path]
) -> None:
    project = render(framework="starlette", **layer)
    file = project / mutant.file
    text = file.read_text()
    assert text.count(mutant.old) == 1, "the code has changed: adapt the mutant"
    file.write_text(text.replace(mutant.old, mutant.new))
    for tests in TESTS:
        done = run_tests(project, tests)
        if done.returncode:
            break
    assert done.returncode == 1, done.stdout + done.stderr
    assert " failed" in done.stdout or " error" in done.stdout, done.stdout
