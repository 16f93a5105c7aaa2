"""Rendering: the prompts, the time, no network, and the same result with cruft."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import Environment

from tests.choices import CHOICES, CONTEXT, PROJECTS, ROOT
from tests.test_projects import contents

# What the label of each choice must contain.
PROMPTS = {
    "framework": {"fastapi": "FastAPI", "starlette": "Starlette"},
    "sqlalchemy": {"core": "Core: tables and statements", "orm": "ORM: mapped classes"},
    "pool": {
        "asyncpg": "its own pool (Core), SQLAlchemy's pool of asyncpg connections (ORM)",
        "databases": "archived upstream since 2025, for services already on it; "
        "with ORM: mapped classes, no Session",
    },
    "packaging": {"uv": "uv", "poetry": "Poetry", "pip": "pip"},
}
OFFLINE = """
import socket

def refuse(*arguments, **options):
    raise OSError("no network")

socket.socket.__init__ = refuse
"""
COOKIECUTTER = [sys.executable, "-m", "cookiecutter"]
COMMAND = [*COOKIECUTTER, ROOT, "--no-input"]


def cpu_seconds(command: list[str | Path], environment: dict[str, str]) -> float:
    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before = used()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return used() - before


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty home folder for cookiecutter and git."""
    return {**os.environ, "HOME": str(tmp_path / "home"), "GIT_CONFIG_NOSYSTEM": "1"}


@pytest.mark.parametrize("choice", CHOICES)
def test_prompt_explains_each_choice(choice: str) -> None:
    labels = CONTEXT["__prompts__"][choice]
    assert labels.keys() == {"__prompt__", *CHOICES[choice]}
    for value, words in PROMPTS[choice].items():
        assert words in labels[value]


def test_every_question_has_a_prompt() -> None:
    asked = {variable for variable in CONTEXT if not variable.startswith("_")}
    assert CONTEXT["__prompts__"].keys() == asked


def test_rendering_costs_a_few_starts_of_cookiecutter(tmp_path: Path, home: dict[str, str]) -> None:
    """Compare CPU times of the same run, because machines differ. The ratio is 2.1 to 3.3."""
    version: list[str | Path] = [*COOKIECUTTER, "--version"]
    starting = min(cpu_seconds(version, home) for _ in range(3))
    rendering = min(cpu_seconds([*COMMAND, "-o", tmp_path / str(n)], home) for n in range(3))
    assert rendering < 5 * starting


def test_rendering_needs_no_network(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFFLINE)
    offline = {**home, "PYTHONPATH": str(tmp_path)}
    connect = [sys.executable, "-c", "import socket; socket.socket()"]
    assert subprocess.run(connect, env=offline, capture_output=True).returncode == 1
    subprocess.run([*COMMAND, "-o", tmp_path], env=offline, check=True, capture_output=True)
    assert (tmp_path / "notes-service" / "README.md").exists()


def test_cruft_renders_the_same_bytes(
    tmp_path: Path, home: dict[str, str], render: Callable[..., Path]
) -> None:
    template = tmp_path / "template"
    for part in ("cookiecutter.json", "hooks", "templates", "{{cookiecutter.project_slug}}"):
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, template / part)
        else:
            template.mkdir()
            shutil.copy(ROOT / part, template)
    author = ["-c", "user.name=Zoë", "-c", "user.email=zoe@example.com"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "-m", "all"]):
        subprocess.run(["git", *command], cwd=template, env=home, check=True)

    answers = [f'"{variable}": "{value}"' for variable, value in PROJECTS[-1].items()]
    cruft = [sys.executable, "-m", "cruft", "create", template, "--no-input", "--output-dir", "."]
    cruft += ["--extra-context", f"{{{', '.join(answers)}}}"]
    subprocess.run(cruft, cwd=tmp_path, env=home, check=True)
    created = contents(tmp_path / "notes-service")
    del created[".cruft.json"]
    assert created == contents(render(**PROJECTS[-1]))


def run_hook(name: str, before: str) -> subprocess.CompletedProcess[str]:
    """Run a hook with the default answers, after the line `before`."""
    source = (ROOT / "hooks" / f"{name}_gen_project.py").read_text()
    answers = {
        **{choice: values[0] for choice, values in CHOICES.items()},
        **dict.fromkeys(["project_name", "description", "author_name"], "one"),
        **{"project_slug": "notes-x", "__typed_slug": "notes-x", "package_name": "notes_x"},
    }
    hook = Environment(autoescape=False).from_string(source).render(cookiecutter=answers)  # noqa: S701
    return subprocess.run(
        [sys.executable, "-c", f"{before}\n{hook}"], capture_output=True, text=True
    )


@pytest.mark.parametrize("version", ["1.7.3", "2.1.1", "2.2.0", "2.10", "3.0rc1"])
def test_cookiecutter_that_is_too_old_is_refused_in_one_line(version: str) -> None:
    """An older one does not find the files that a project includes, and says so in a riddle."""
    before = f"import importlib.metadata\nimportlib.metadata.version = lambda name: {version!r}"
    done = run_hook("pre", before)
    if version.startswith(("1.", "2.1.")):
        assert done.returncode == 1
        reason = f"cookiecutter {version} is too old for this template: install 2.2 or later."
        assert done.stderr.splitlines()[0] == reason
    else:
        assert (done.returncode, done.stderr) == (0, "")
    assert "cookiecutter 2.2 or later" in (ROOT / "README.md").read_text()


def test_only_systems_that_can_run_a_project_are_named(rendered: Callable[..., Path]) -> None:
    for readme in (ROOT, rendered()):
        assert "You need Linux, macOS or WSL" in (readme / "README.md").read_text()
    assert "WSL" not in run_hook("post", "").stdout
    lines = run_hook("post", "import os; os.name = 'nt'").stdout.splitlines()
    assert lines[-1] == "On Windows, do this in WSL: the commands need make, sh and a Unix."
