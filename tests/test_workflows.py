"""The GitHub workflows, of the template and of rendered projects."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.choices import CHOICES, PROGRAMS, ROOT, name

BIN = Path(sys.executable).parent
ZIZMOR = [BIN / "zizmor", "--offline", "--no-progress", "--strict-collection"]
Render = Callable[..., Path]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
CLAIM = "Python 3.11 to 3.14"
SCHEMAS = {"dependabot.yml": "vendor.dependabot", "workflows/test.yml": "vendor.github-workflows"}
# What Dependabot calls the package managers.
ECOSYSTEMS = {"uv": "uv", "poetry": "pip", "pip": "pip"}


def jobs(project: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((project / ".github/workflows/test.yml").read_text())
    return content["jobs"]  # type: ignore[no-any-return]


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


@pytest.mark.parametrize("file", SCHEMAS)
@pytest.mark.parametrize("packaging", [None, *CHOICES["packaging"]])
def test_github_would_accept_the_file(packaging: str | None, file: str, rendered: Render) -> None:
    project = rendered(packaging=packaging) if packaging else ROOT
    check = [BIN / "check-jsonschema", "--builtin-schema", SCHEMAS[file]]
    done = subprocess.run([*check, project / ".github" / file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("packaging", [None, *CHOICES["packaging"]])
def test_dependabot_waits_a_week_and_finds_its_files(
    packaging: str | None, rendered: Render
) -> None:
    project = rendered(packaging=packaging) if packaging else ROOT
    content = yaml.safe_load((project / ".github/dependabot.yml").read_text())
    updates = {update["package-ecosystem"]: update for update in content["updates"]}
    assert all(update["cooldown"]["default-days"] == 7 for update in updates.values())
    manifests = {
        "github-actions": ".github/workflows/test.yml",
        "docker": "Dockerfile",
        "docker-compose": "compose.yaml",
        ECOSYSTEMS.get(packaging or "", ""): "pyproject.toml",
    }
    for ecosystem, update in updates.items():
        for folder in update.get("directories") or [update["directory"]]:
            assert (project / folder[1:] / manifests[ecosystem]).exists()
    assert len(updates) == (4 if packaging else 2)


@pytest.mark.parametrize("packaging", CHOICES["packaging"])
def test_project_is_tested_weekly_with_the_newest_versions(
    packaging: str, rendered: Render
) -> None:
    project = rendered(packaging=packaging)
    assert "\n  schedule:\n" in (project / ".github/workflows/test.yml").read_text()
    assert re.search(r"^lock:", (project / "Makefile").read_text(), re.MULTILINE)
    steps = jobs(project)["test"]["steps"]
    commands = [step["run"] for step in steps if step.get("run", "").startswith("make")]
    assert commands == ["make lock", "make check", "make test"]
    [lock] = [step for step in steps if step.get("run") == "make lock"]
    assert lock["if"] == "github.event_name == 'schedule'"


def test_projects_use_the_actions_that_are_used_here(rendered: Render) -> None:
    """Dependabot renews these, but does not know the template."""

    def actions(project: Path) -> set[str]:
        text = (project / ".github/workflows/test.yml").read_text()
        return set(re.findall(r"- uses: (.*)", text))

    for packaging in CHOICES["packaging"]:
        assert actions(rendered(packaging=packaging)) <= actions(ROOT)


def test_every_claimed_python_is_in_both_workflows(rendered: Render) -> None:
    here = jobs(ROOT)
    assert here["all"]["strategy"]["matrix"]["python"] == PYTHONS
    assert here["program"]["strategy"]["matrix"]["python"] == [PYTHONS[0], PYTHONS[-1]]
    assert CLAIM in (ROOT / "README.md").read_text()
    for packaging in CHOICES["packaging"]:
        project = rendered(packaging=packaging)
        assert jobs(project)["test"]["strategy"]["matrix"]["python"] == PYTHONS
        assert CLAIM in (project / "README.md").read_text()
        declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        assert declared["requires-python"] == f">={PYTHONS[0]}"


def test_workflow_has_a_job_for_each_program() -> None:
    """They come from cookiecutter.json, so a new choice has its jobs without a change here."""
    here = jobs(ROOT)
    [command] = [step["run"] for step in here["programs"]["steps"] if "run" in step]
    listed = re.findall(r"\$\((.*)\)", command)[0].replace("python3", f"{sys.executable} -S")
    done = subprocess.run(["sh", "-c", listed], cwd=ROOT, capture_output=True, text=True)
    programs = json.loads(done.stdout)
    assert programs == [name(program) for program in PROGRAMS]
    assert "needs.programs.outputs.programs" in here["program"]["strategy"]["matrix"]["program"]

    # What a job types selects the tests of its program, with each package manager.
    [step] = [step for step in here["program"]["steps"] if "run" in step]
    dry_run = [*step["run"].split(), "--dry-run", "--no-print-directory"]
    environment = {**os.environ, "PROGRAM": programs[-1]}
    done = subprocess.run(dry_run, cwd=ROOT, env=environment, capture_output=True, text=True)
    selection = done.stdout.splitlines()[-1].partition("-m ")[2]
    collect = f"{BIN}/pytest --collect-only --quiet -m {selection} tests/test_projects.py"
    done = subprocess.run(["sh", "-c", collect], cwd=ROOT, capture_output=True, text=True)
    for packaging in CHOICES["packaging"]:
        assert f"test_commands_of_the_readme_work[{programs[-1]}-{packaging}]" in done.stdout
    assert programs[0] not in done.stdout
