"""Fixtures that several tests use."""

import asyncio
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_cookies.plugin import Cookies

from tests.choices import ROOT
from tests.support.postgres import execute, script
from tests.support.project_user import clean_environment


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a test is skipped: what was not tested must not be green."""
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
    """Render each project once, for tests that only read it."""
    return cache(renderer(cookies_session))


@pytest.fixture(scope="session")
def environment_of_user(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user, and a cache for mypy."""
    # Each worker of pytest-xdist has one cache: the projects import mostly the same modules.
    types = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone") / "projects"
    environment = clean_environment(tmp_path_factory.mktemp("tools"))
    return environment | {"MYPY_CACHE_DIR": str(types)}


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL, started as the projects start theirs."""
    with script.postgres() as url:
        yield url


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """The URL of an empty database."""
    name = f"test_{uuid4().hex}"
    asyncio.run(execute(postgres_url, f"CREATE DATABASE {name}"))
    return f"{postgres_url.rpartition('/')[0]}/{name}"
