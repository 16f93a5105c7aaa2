"""The rendered tests run on any DATABASE_URL that the service accepts."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.choices import Combination, combinations, name
from tests.support.others import mark_others
from tests.support.postgres import programs, running_server
from tests.test_shipped_tests import run_tests

URLS = {
    "a socket folder": "postgresql://postgres@/postgres?host={folder}&port={port}",
    "several hosts": "postgresql://postgres@127.0.0.1:1,localhost:{port}/postgres"
    "?target_session_attrs=primary",
    "parameters": "postgresql:///postgres?user=postgres&host=127.0.0.1&port={port}"
    "&sslmode=disable&application_name=a%20b&lock_timeout=10s&keepalives=1",
}
LAYERS = combinations("sqlalchemy", "pool")
# They use the data layer, directly and through the proxy.
TESTS = ["tests/test_health.py", "tests/test_transactions.py"]
# They use alembic, gunicorn's master and its workers, which are the same in every data layer.
TESTS_OF_FIRST_LAYER = [
    "tests/test_migrations.py::test_replicas_can_migrate_at_once",
    "tests/test_migrations.py::test_url_in_small_letters_in_the_env_file_is_migrated",
    "tests/test_master.py",
    "tests/test_hostile.py::test_incomplete_body_is_ignored",
]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The folder and the port of a PostgreSQL server that listens on both."""
    with tempfile.TemporaryDirectory(prefix="socket-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        with running_server(programs(), folder, "-k", folder) as port:
            yield {"folder": str(folder), "port": str(port)}


@pytest.mark.slow
@pytest.mark.parametrize("url", URLS.values(), ids=list(URLS))
@pytest.mark.parametrize("layer", mark_others(LAYERS), ids=name)
def test_rendered_tests_run_on(
    layer: Combination, url: str, server: dict[str, str], render: Callable[..., Path]
) -> None:
    tests = TESTS + TESTS_OF_FIRST_LAYER if layer == LAYERS[0] else TESTS
    done = run_tests(render(**layer), *tests, DATABASE_URL=url.format(**server))
    assert done.returncode == 0, done.stdout
