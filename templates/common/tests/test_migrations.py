"""Migrations: up, down, and from several replicas at once."""

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from alembic.util import CommandError
from sqlalchemy import Column, Enum, ForeignKey, Integer, Table, text
from sqlalchemy.schema import DefaultClause

from scripts.postgres import free_port
from tests import sample_models
from tests.serving import metadata
from tests.temporary_database import (
    MIGRATIONS,
    PROJECT,
    MigratedRows,
    Sql,
    alembic,
    temporary_database,
)

REPLICAS = 2
CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND backend_type = 'client backend'"
)


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    async with temporary_database(server_url) as url:
        yield url


async def test_upgrade_matches_models_and_downgrade_removes_all_tables(
    empty_database_url: str,
) -> None:
    for _ in range(2):
        await alembic(empty_database_url, "upgrade", "head")
        await alembic(empty_database_url, "check")
        await alembic(empty_database_url, "downgrade", "base")
    connection = await asyncpg.connect(empty_database_url)
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert {row["tablename"] for row in tables} <= {"alembic_version"}


async def test_replicas_can_migrate_at_once(empty_database_url: str, tmp_path: Path) -> None:
    ini = tmp_path / "alembic.ini"
    ini.write_text(f"[alembic]\nscript_location = {str(MIGRATIONS).replace('%', '%%')}\n")
    command = [sys.executable, "-m", "alembic", "-c", str(ini), "upgrade", "head"]
    environment = {**os.environ, "DATABASE_URL": empty_database_url}
    connection = await asyncpg.connect(empty_database_url)
    transaction = connection.transaction()
    await transaction.start()
    # The first replica waits for this table, and so for the rollback below, until all replicas
    # are connected.
    await connection.execute("CREATE TABLE alembic_version ()")
    replicas = [
        await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(REPLICAS)
    ]
    try:
        async with asyncio.timeout(60):
            while all(replica.returncode is None for replica in replicas):
                await connection.execute("SELECT pg_stat_clear_snapshot()")
                if await connection.fetchval(CONNECTIONS) > REPLICAS + 1:
                    break
                await asyncio.sleep(0.05)
            await transaction.rollback()
            assert [await replica.wait() for replica in replicas] == [0] * REPLICAS
    finally:
        for replica in replicas:
            if replica.returncode is None:
                replica.kill()
                await replica.wait()
        await connection.close()
    await alembic(empty_database_url, "check")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the migrations and of alembic's settings, to which a test may add."""
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    return tmp_path


@pytest.fixture
async def migrated(empty_database_url: str) -> AsyncIterator[Sql]:
    """A connection to a database of the test's own, with all migrations."""
    await alembic(empty_database_url, "upgrade", "head")
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture
def models() -> Iterator[None]:
    """Forget the models that a test adds."""
    tables = set(metadata.tables)
    yield
    for name in set(metadata.tables) - tables:
        metadata.remove(metadata.tables[name])


async def run(project: Path, *module: str, **environment: str) -> asyncio.subprocess.Process:
    """Start a module in the folder of a project. An empty variable counts as not set."""
    path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    return await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", *module],
        cwd=project,
        env={**os.environ, "PYTHONPATH": path, "DATABASE_URL": "", **environment},
        stdout=PIPE,
        stderr=STDOUT,
    )


async def test_url_in_small_letters_in_the_env_file_is_migrated(
    empty_database_url: str, project: Path
) -> None:
    (project / ".env").write_text(f"export database_url='{empty_database_url}'\n")
    process = await run(project, "scripts.develop", "migrate")
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert not (project / ".postgres").exists()
    await alembic(empty_database_url, "check")


@pytest.mark.parametrize(
    ("module", "url", "message"),
    [
        (
            ("alembic", "upgrade", "head"),
            "postgresql://me:hunter2@127.0.0.1:{port}/name",
            "no connection: ConnectionRefusedError: ",
        ),
        (
            ("scripts.develop", "migrate"),
            "postgresql://me:hunter2@{port}@db/name",
            "percent-encoded",
        ),
    ],
)
async def test_failure_to_connect_is_told_in_one_line(
    project: Path, module: tuple[str, ...], url: str, message: str
) -> None:
    process = await run(project, *module, DATABASE_URL=url.format(port=free_port()))
    output, _ = await process.communicate()
    assert process.returncode != 0
    [line] = output.decode().splitlines()
    assert message in line
    assert "hunter2" not in line


async def test_sigterm_stops_a_migration_that_waits(empty_database_url: str, project: Path) -> None:
    """It ends by itself: the first process of a container gets no signal that it does not handle."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock(5432001)")
        process = await run(project, "alembic", "upgrade", "head", DATABASE_URL=empty_database_url)
        async with asyncio.timeout(30):
            connections = 1
            while connections < 2:
                await asyncio.sleep(0.05)
                connections = await connection.fetchval(CONNECTIONS)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            output, _ = await process.communicate()
    finally:
        await connection.close()
    assert process.returncode is not None
    assert process.returncode > 0  # a signal would make it negative
    assert output.decode().splitlines()[-1].endswith("stopped by SIGTERM")


def count_files(project: Path) -> int:
    return len(list(project.glob("migrations/versions/*.py")))


async def migrate_to_models(url: str, project: Path) -> None:
    """Write a migration, run it, and check that nothing is left to do."""
    options = {"message": "change", "autogenerate": True}
    await alembic(url, "revision", project=project, **options)
    await alembic(url, "upgrade", "head", project=project)
    await alembic(url, "check", project=project)


async def test_two_migrations_may_have_the_same_message(
    empty_database_url: str, project: Path
) -> None:
    before = count_files(project)
    for _ in range(2):
        await alembic(empty_database_url, "revision", project=project, message="same")
    assert count_files(project) == before + 2


async def test_migration_creates_changes_and_drops_an_enum_type(
    empty_database_url: str, migrated: Sql, project: Path, models: None
) -> None:
    values = (
        "SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum"
        " WHERE enumtypid = (SELECT oid FROM pg_type WHERE typname = 'test_sample_status')"
    )
    samples = sample_models.metadata.tables["test_samples"].to_metadata(metadata)
    await migrate_to_models(empty_database_url, project)
    assert await migrated.fetchval(values) == ["new", "used"]
    samples.columns.status.type = Enum("new", "used", "lost", name="test_sample_status")
    await migrate_to_models(empty_database_url, project)
    assert await migrated.fetchval(values) == ["new", "used", "lost"]
    await alembic(empty_database_url, "downgrade", "-1", project=project)
    assert await migrated.fetchval(values) == ["new", "used"]
    await alembic(empty_database_url, "downgrade", "-1", project=project)
    assert await migrated.fetchval(values) is None
    await alembic(empty_database_url, "upgrade", "head", project=project)
    metadata.remove(samples)
    await migrate_to_models(empty_database_url, project)
    assert await migrated.fetchval(values) is None


async def test_migration_changes_a_server_default(
    empty_database_url: str, migrated: Sql, project: Path, models: None
) -> None:
    samples = sample_models.metadata.tables["test_samples"].to_metadata(metadata)
    await migrate_to_models(empty_database_url, project)
    samples.columns.status.server_default = DefaultClause(text("'used'"))
    with pytest.raises(CommandError):
        await alembic(empty_database_url, "check", project=project)
    await migrate_to_models(empty_database_url, project)
    status = "INSERT INTO test_samples (data) VALUES ('{}') RETURNING status"
    assert await migrated.fetchval(status) == "used"


async def test_tables_may_refer_to_each_other(
    empty_database_url: str, migrated: Sql, project: Path, models: None
) -> None:
    """Such a foreign key has `use_alter=True`, and a second migration adds it to the database."""
    for name in ("test_teams", "test_players"):
        sample_models.metadata.tables[name].to_metadata(metadata)
    options = {"message": "change", "autogenerate": True}
    await alembic(empty_database_url, "revision", project=project, **options)
    await alembic(empty_database_url, "upgrade", "head", project=project)
    await migrate_to_models(empty_database_url, project)
    await migrated.execute(
        "INSERT INTO test_teams VALUES (1); INSERT INTO test_players VALUES (2, 1)"
    )
    await migrated.execute("UPDATE test_teams SET captain_id = 2")
    await MigratedRows(metadata).restore(migrated)
    rows = "SELECT (SELECT count(*) FROM test_teams) + (SELECT count(*) FROM test_players)"
    assert await migrated.fetchval(rows) == 0


async def test_tables_are_dropped_after_what_refers_to_them(
    empty_database_url: str, migrated: Sql, project: Path, models: None
) -> None:
    names = [f"test_{word}" for word in ("planet", "country", "city", "street", "house", "room")]
    Table(names[0], metadata, Column("id", Integer, primary_key=True))
    for name, larger in zip(names[1:], names, strict=False):
        Table(
            name,
            metadata,
            Column("id", Integer, primary_key=True),
            Column("larger_id", ForeignKey(f"{larger}.id"), index=True),
            Column("next_id", ForeignKey(f"{name}.id")),
        )
    Table(
        "test_mayors",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("city_id", ForeignKey("test_city.id")),
    )
    await migrate_to_models(empty_database_url, project)
    for name in [*names, "test_mayors"]:
        metadata.remove(metadata.tables[name])
    Table("test_mayors", metadata, Column("id", Integer, primary_key=True))
    await migrate_to_models(empty_database_url, project)
    await alembic(empty_database_url, "downgrade", "-1", project=project)
    await alembic(empty_database_url, "upgrade", "head", project=project)
    await alembic(empty_database_url, "check", project=project)


async def test_migration_compares_the_schemas_of_the_models_only(
    empty_database_url: str, migrated: Sql, project: Path, models: None
) -> None:
    await migrated.execute("CREATE SCHEMA test_archive; CREATE SCHEMA test_theirs")
    await migrated.execute("CREATE TABLE test_theirs.items ()")
    sample_models.metadata.tables["test_samples"].to_metadata(metadata, schema="test_archive")
    await migrate_to_models(empty_database_url, project)
    assert await migrated.fetchval("SELECT count(*) FROM test_archive.test_samples") == 0
    assert await migrated.fetchval("SELECT count(*) FROM test_theirs.items") == 0


async def test_rows_of_migrations_are_restored(
    empty_database_url: str, migrated: Sql, project: Path, models: None
) -> None:
    sample_models.metadata.tables["test_samples"].to_metadata(metadata)
    await migrate_to_models(empty_database_url, project)
    await migrated.execute("ALTER TABLE test_samples ADD number int GENERATED ALWAYS AS IDENTITY")
    insert = "INSERT INTO test_samples (status, data) VALUES ('new', '{}') RETURNING number"
    assert await migrated.fetchval(insert) == 1
    rows = MigratedRows(metadata)
    await rows.remember(migrated)
    inserted = await migrated.fetch("SELECT * FROM test_samples")
    for _ in range(2):
        await migrated.execute("UPDATE test_samples SET status = 'used'")
        assert await migrated.fetchval(insert) == 2
        await rows.restore(migrated)
        assert await migrated.fetch("SELECT * FROM test_samples") == inserted
