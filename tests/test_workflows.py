"""The GitHub workflows, ours and the rendered ones."""

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


def test_a_project_asks_pip_audit_about_what_is_installed(rendered: Render) -> None:
    """Here of our own environment, and without the answer, which comes from the network."""
    workflow = (rendered() / ".github/workflows/test.yml").read_text()
    [command] = re.findall(r"- run: pipx run (pip-audit .*)", workflow)
    done = subprocess.run(
        ["sh", "-c", f"{BIN}/{command} --dry-run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"would have audited \d\d+ packages", done.stderr)
