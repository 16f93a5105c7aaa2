"""The configuration with which an editor resolves imports in templates/."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.choices import PROGRAMS, ROOT, source_folders

FOLDERS = [str(folder.relative_to(ROOT)) for folder in source_folders(PROGRAMS[0])]
MYPY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]


def test_vscode_has_the_folders_of_the_default_combination() -> None:
    settings = json.loads((ROOT / ".vscode" / "settings.json").read_text())
    assert settings["python.analysis.extraPaths"] == FOLDERS


def test_mypy_has_the_folders_and_packages_of_the_default_combination() -> None:
    assert MYPY["mypy_path"] == FOLDERS
    assert MYPY["files"] == [
        f"{folder}/{package}"
        for folder in FOLDERS
        for package in ("scripts", "service", "tests")
        if (ROOT / folder / package).is_dir()
    ]


@pytest.mark.parametrize(
    "files", [[], ["templates/framework/fastapi/service/app.py"]], ids=["all", "one"]
)
def test_mypy_checks_the_templates_in_place(files: list[str], mypy_cache: Path) -> None:
    mypy = [sys.executable, "-m", "mypy", "--cache-dir", mypy_cache, *files]
    done = subprocess.run(mypy, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
