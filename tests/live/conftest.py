"""The deployments that these tests share."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.choices import CHOICES, PROGRAMS, TEMPLATES, name
from tests.live.deployment import PATIENCE, POOL_SIZE, Deployment, deployed
from tests.support.postgres import execute, script
from tests.support.rendering import render_into


@pytest.fixture(scope="session")
def workplace() -> Iterator[Path]:
    """A folder that the users of servers may enter."""
    folder = Path(tempfile.mkdtemp(prefix="live-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The URL of a PostgreSQL with the roles of compose.yaml."""
    with script.postgres() as url:
        compose = (TEMPLATES / "common/deploy/compose.yaml").read_text()
        roles = re.findall("^ +((?:CREATE|ALTER) ROLE .*);$", compose, re.MULTILINE)
        roles = [statement.replace("${DATABASE_PASSWORD:?}", "secret") for statement in roles]
        asyncio.run(execute(url, *roles))
        yield url


# With one group for each program, a worker of pytest-xdist runs all tests of a program.
SERVED = [
    pytest.param(program, id=name(program), marks=pytest.mark.xdist_group(name(program)))
    for program in PROGRAMS
]


@pytest.fixture(scope="session", params=SERVED)
def deployment(
    request: pytest.FixtureRequest, workplace: Path, postgres_url: str
) -> Iterator[Deployment]:
    """Each program, served: pytest runs all tests of one before it starts the next."""
    with deployed(workplace, postgres_url, **request.param) as deployment:
        deployment.environment["DATABASE_POOL_SIZE"] = str(POOL_SIZE)
        deployment.environment["DATABASE_POOL_TIMEOUT"] = str(PATIENCE)
        deployment.master = deployment.start_gunicorn()
        yield deployment


@pytest.fixture(scope="session")
def default_deployment(workplace: Path, postgres_url: str) -> Iterator[Deployment]:
    """The default program without gunicorn, for what is the same in every program."""
    with deployed(workplace, postgres_url, **PROGRAMS[0], packaging="pip") as deployment:
        yield deployment


@pytest.fixture(scope="session", params=CHOICES["packaging"])
def packaged(request: pytest.FixtureRequest, workplace: Path) -> Path:
    """A project with each package manager, for tools that only read it."""
    return render_into(workplace / request.param, packaging=request.param)
