"""What the tests of the template share."""

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from pytest_cookies.plugin import Cookies

from tests.choices import ROOT, TEMPLATES
from tests.user import clean_environment


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for every skip: what is not tested is not green."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and "skipped" in reporter.stats:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def renderer(cookies: Cookies) -> Callable[..., Path]:
    def render(**answers: str) -> Path:
        result = cookies.bake(extra_context=answers, template=str(ROOT))
        assert result.exception is None, result.exception
        project: Path = result.project_path
        return project

    return render


@pytest.fixture
def render(cookies: Cookies) -> Callable[..., Path]:
    """Render a project for this test alone."""
    return renderer(cookies)


@pytest.fixture(scope="session")
def rendered(cookies_session: Cookies) -> Callable[..., Path]:
    """Render a project that tests only read, once."""
    return cache(renderer(cookies_session))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a user has, and a cache for mypy."""
    # One cache of types a worker: most of what the projects import is the same.
    types = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone") / "projects"
    environment = clean_environment(tmp_path_factory.mktemp("tools"))
    return environment | {"MYPY_CACHE_DIR": str(types)}


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL, started as the projects start theirs."""
    path = TEMPLATES / "common" / "scripts" / "postgres.py"
    spec = spec_from_file_location("postgres", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.postgres() as url:
        yield url


@pytest.fixture
def database_url(server: str) -> str:
    """The URL of an empty database."""
    name = f"test_{uuid4().hex}"

    async def create() -> None:
        connection = await asyncpg.connect(server)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    asyncio.run(create())
    return f"{server.rpartition('/')[0]}/{name}"
