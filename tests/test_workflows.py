"""The GitHub workflows, of the template and of rendered projects."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.choices import CHOICES, ROOT

BIN = Path(sys.executable).parent
ZIZMOR = [BIN / "zizmor", "--offline", "--no-progress", "--strict-collection"]
Render = Callable[..., Path]


@pytest.mark.parametrize("packaging", [None, *CHOICES["packaging"]])
def test_zizmor_finds_nothing(packaging: str | None, rendered: Render) -> None:
    project = rendered(packaging=packaging) if packaging else ROOT
    done = subprocess.run([*ZIZMOR, project / ".github"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "completed" in done.stderr


def test_pip_audit_command_of_a_project_works(rendered: Render) -> None:
    """Here with the environment of the tests, and as a dry run, which needs no network."""
    workflow = (rendered() / ".github/workflows/test.yml").read_text()
    [command] = re.findall(r"- run: pipx run (pip-audit .*)", workflow)
    done = subprocess.run(
        ["sh", "-c", f"{BIN}/{command} --dry-run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"would have audited \d\d+ packages", done.stderr)
