"""gunicorn's master: the settings, the connection budget and the folder of metrics."""

import asyncio
import logging
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from service import master
from service.settings import Settings, default_web_concurrency

from tests.process import CONFIG
from tests.temporary_database import Sql

SERVE = f"{master.__package__}.serve"
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@pytest.fixture(autouse=True)
def master_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Set what is required, and keep what a hook changes from other tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", settings.dsn)
    monkeypatch.setenv(FOLDER, "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def arbiter(workers: int = 2, preload_app: bool = False) -> Arbiter:
    cfg = SimpleNamespace(workers=workers, preload_app=preload_app)
    return cast(Arbiter, SimpleNamespace(cfg=cfg))


async def start(**cfg: Any) -> None:
    """Call the hook in a thread, because it runs an event loop of its own."""
    await asyncio.to_thread(master.on_starting, arbiter(**cfg))


def test_invalid_setting_ends_start_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "many")
    with pytest.raises(SystemExit, match=r"^Not started: DATABASE_POOL_SIZE: .*$"):
        master.load_settings()


def test_invalid_setting_at_reload_halts_server_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_POOL_SIZE", "many")
    monkeypatch.setattr(Arbiter, "WORKERS", {1: None})
    with pytest.raises(HaltServer) as halted:
        master.load_settings()
    assert halted.value.reason.startswith("Stopped at a reload: DATABASE_POOL_SIZE: ")
    assert halted.value.exit_status == 1


async def serve(*flags: str) -> tuple[int | None, str]:
    """Run the command of `make serve`; return its exit status and what it prints."""
    command = [sys.executable, "-m", SERVE, "--config", str(CONFIG), *flags]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("WEB_CONCURRENCY", "abc", "a valid integer"),
        ("WEB_CONCURRENCY", "1e3", "a valid integer"),
        ("WEB_CONCURRENCY", "-1", "greater than or equal to 1"),
        ("WEB_CONCURRENCY", "0", "greater than or equal to 1"),
        ("WEB_CONCURRENCY", "99999", "less than or equal to 1000"),
        ("FORWARDED_ALLOW_IPS", "abc", "each must be an address"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8", "each must be an address"),
    ],
)
async def test_wrong_variable_that_gunicorn_reads_first_ends_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, right: str
) -> None:
    monkeypatch.setenv(name, value)
    status, output = await serve()
    assert status == 1
    assert re.fullmatch(rf"Not started: {name}: .*{right}.*\n", output)


@pytest.mark.parametrize("value", ["", "2.0"])
async def test_number_of_workers_that_is_right_or_empty_is_accepted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", value)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1, ")
    status, output = await serve("--print-config")
    assert status == 0
    workers = 2 if value else default_web_concurrency()
    assert re.search(rf"^workers += {workers}$", output, re.MULTILINE)
    assert re.search(r"^forwarded_allow_ips += \['10.0.0.0/8', '::1'\]$", output, re.MULTILINE)


async def test_gunicorn_that_is_started_without_that_command_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "abc")
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(CONFIG), "--check-config", "app"]
    process = await asyncio.create_subprocess_exec(*gunicorn, stderr=PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"WEB_CONCURRENCY" in errors


async def test_limit_is_what_the_server_has_for_ordinary_users(
    settings: Settings, sql: Sql
) -> None:
    # PostgreSQL 14 and 15 have no reserved_connections.
    connections = [
        int(await sql.fetchval(f"SELECT current_setting('{name}', true)") or 0)
        for name in ("max_connections", "superuser_reserved_connections", "reserved_connections")
    ]
    assert await master.connection_limit(settings) == connections[0] - sum(connections[1:])


async def test_start_within_budget_and_refusal_above_it(settings: Settings, tmp_path: Path) -> None:
    limit = await master.connection_limit(settings)
    await start(workers=limit // 10)
    assert os.environ[FOLDER].startswith(str(tmp_path))
    with pytest.raises(SystemExit) as refused:
        await start(workers=limit // 10 + 1)
    message = str(refused.value)
    assert message.startswith(f"Not started: {limit // 10 + 1} workers x DATABASE_POOL_SIZE 10 = ")
    assert f"but the database has {limit}: lower DATABASE_POOL_SIZE or WEB_CONCURRENCY" in message


async def test_limit_that_is_set_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_CONNECTION_LIMIT", "20")
    await start(workers=2)
    monkeypatch.setenv("DATABASE_CONNECTION_LIMIT", "19")
    with pytest.raises(SystemExit, match="= 20 connections, but the database has 19: "):
        await start(workers=2)


async def test_reload_above_budget_is_logged_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_CONNECTION_LIMIT", "19")
    master.on_reload(arbiter(workers=2))
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message.startswith("Reloaded, but 2 workers x DATABASE_POOL_SIZE 10 = 20 ")


async def test_start_without_database_is_logged_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@127.0.0.1:9/name")
    await start()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "Could not ask the database for its connection limit" in record.message
    assert "hunter2" not in caplog.text


async def test_preloading_is_refused() -> None:
    with pytest.raises(SystemExit, match="Not started: with --preload"):
        await start(preload_app=True)


def test_folder_of_metrics_is_created_and_removed_by_the_master(tmp_path: Path) -> None:
    master.prepare_metrics_folder()
    [folder] = tmp_path.glob("metrics-*")
    assert os.environ[FOLDER] == str(folder)
    master.remove_metrics_folder(str(folder), os.getpid() + 1)
    assert folder.exists()
    master.remove_metrics_folder(str(folder), os.getpid())
    assert not folder.exists()


def test_folder_of_metrics_that_is_set_is_emptied(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "metrics"
    monkeypatch.setenv(FOLDER, str(folder))
    master.prepare_metrics_folder()
    (folder / "counter_1.db").touch()
    master.prepare_metrics_folder()
    assert list(folder.iterdir()) == []
    assert list(tmp_path.glob("metrics-*")) == []


def test_gauges_of_ended_worker_are_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    for name in ("gauge_livesum_1.db", "gauge_livesum_2.db", "counter_1.db"):
        (tmp_path / name).touch()
    master.child_exit(arbiter(), cast(Any, SimpleNamespace(pid=1)))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"gauge_livesum_2.db", "counter_1.db"}


def test_workers_import_the_code_as_it_is_after_a_reload() -> None:
    name = Settings.__module__
    assert name in sys.modules
    master.on_reload(arbiter(workers=0))
    assert name not in sys.modules
    assert "gunicorn.arbiter" in sys.modules
