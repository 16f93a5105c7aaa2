"""A project on the oldest and on the newest Python of this machine that projects claim to run on."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.project_user import ProjectUser
from tests.test_projects import check_passed
from tests.test_workflows import PYTHONS

WORKS = "import ensurepip, ssl, sys; print(*sys.version_info[:2], sep='.')"


def candidates(version: str) -> Iterator[str | Path | None]:
    yield shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from pyenv.glob(f"versions/{version}.*/bin/python{version}")


def installed_pythons() -> dict[str, Path]:
    """Return the Pythons that work, by their versions, the oldest first.

    A program of pyenv may be found that only says which versions there are.
    """
    pythons = {}
    for version in PYTHONS:
        for path in filter(None, candidates(version)):
            done = subprocess.run([path, "-c", WORKS], capture_output=True, text=True)
            if done.stdout.strip() == version:
                pythons[version] = Path(path)
    return pythons


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, -1], ids=["oldest", "newest"])
def test_project_passes_its_checks_and_tests(
    place: int, project_user: Callable[..., ProjectUser]
) -> None:
    pythons = installed_pythons()
    version = [*pythons][place]
    if version == "{}.{}".format(*sys.version_info) and len(pythons) > 1:
        return  # the commands of all READMEs run on it

    user = project_user(packaging="uv")
    python = {"UV_PYTHON": str(pythons[version])}
    user.run("make check", **python)
    # Coverage is measured on the Python of the template.
    check_passed(user.run(".venv/bin/pytest"))
    assert f"Python {version}." in user.run(".venv/bin/python --version")
