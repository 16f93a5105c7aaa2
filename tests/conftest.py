"""Fixtures that several tests use."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest
from pytest_cookies.plugin import Cookies

from tests.choices import ROOT
from tests.support.postgres import execute, script
from tests.support.project_user import ProjectUser, clean_environment
from tests.support.rendering import render_into


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a test is skipped: what was not tested must not be green."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and "skipped" in reporter.stats:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)  # when the tests that do not run are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each worker begin with its share of the tests of minutes.

    Otherwise some of these would be the last ones, and the other workers would have nothing to do.
    pytest-xdist gives each worker an equal number of tests that follow each other.
    """

    def is_long(item: pytest.Item) -> bool:
        fixtures = getattr(item, "fixturenames", ())
        # Of `make test-others`, those that render a project run its tests.
        runs_tests = item.get_closest_marker("others") and "render" in fixtures
        return bool("project_user" in fixtures or runs_tests)

    # Projects of uv run the most tests.
    long = sorted(filter(is_long, items), key=lambda item: "-uv]" not in item.name)
    short = [item for item in items if not is_long(item)]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    left = len(items)
    items.clear()
    for worker in range(workers):
        size = left // (workers - worker)
        left -= size
        share = long[worker::workers]
        count = max(size - len(share), 0)
        items += share + short[:count]
        short = short[count:]
    items += short


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
def environment_of_user(
    tmp_path_factory: pytest.TempPathFactory, mypy_cache: Path
) -> dict[str, str]:
    """The environment of a user, with caches that make a second project cheaper than the first."""
    return clean_environment(tmp_path_factory.mktemp("tools")) | {
        "MYPY_CACHE_DIR": str(mypy_cache),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path_factory.getbasetemp() / "hypothesis"),
        # pip would compile every file of every library for each project.
        "PIP_COMPILE": "0",
    }


@pytest.fixture(scope="session")
def mypy_cache() -> Path:
    """The types of all libraries: most of what programs and projects import is the same."""
    return ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "alone")


@pytest.fixture
def project_user(
    tmp_path_factory: pytest.TempPathFactory, environment_of_user: dict[str, str]
) -> Callable[..., ProjectUser]:
    """Render a project for its user, at the same path as the project of the test before."""
    folder = tmp_path_factory.getbasetemp() / "project"
    shutil.rmtree(folder, ignore_errors=True)

    def render_for_user(**answers: str) -> ProjectUser:
        # All projects of a worker have the same path, and uv links the same files into them. So
        # Python compiles a library only once.
        bytecode = tmp_path_factory.getbasetemp() / "bytecode"
        environment = {**environment_of_user, "PYTHONPYCACHEPREFIX": str(bytecode)}
        return ProjectUser(render_into(folder, **answers), environment)

    return render_for_user


@pytest.fixture(scope="session")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the locks of projects, which all workers of pytest-xdist share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "locks"
    folder.mkdir(exist_ok=True)
    return folder


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
