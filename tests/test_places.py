"""Where a project is rendered and run: in a workspace of uv, and by a `make run` that is killed."""

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.network import free_port
from tests.support.project_user import ProjectUser

pytestmark = pytest.mark.slow

WORKSPACE = """
[project]
name = "monorepo"
version = "1"
requires-python = ">=3.11"

[tool.uv.workspace]
members = ["services/*"]
"""


def test_project_in_a_uv_workspace_has_an_environment_of_its_own(
    rendered: Callable[..., Path], environment_of_user: dict[str, str], tmp_path: Path
) -> None:
    """The lock is the workspace's, and the workspace still works."""
    (tmp_path / "pyproject.toml").write_text(WORKSPACE)
    project = tmp_path / "services" / "notes-service"
    shutil.copytree(rendered(packaging="uv"), project)
    user = ProjectUser(project, environment_of_user)
    user.run("make install openapi && test -x .venv/bin/pytest && test -s openapi.json")
    assert {path.name for path in tmp_path.iterdir()} == {"pyproject.toml", "services", "uv.lock"}
    user.run("cd ../.. && uv lock --check")

    # As the README says, for an image.
    with_exclude = WORKSPACE + 'exclude = ["services/notes-service"]\n'
    (tmp_path / "pyproject.toml").write_text(with_exclude)
    user.run("make install && test -s uv.lock && cd ../.. && uv lock")


@pytest.mark.parametrize(
    ("killed", "sent"),
    [
        ("make run", signal.SIGKILL),
        ("scripts.develop run", signal.SIGKILL),
        ("scripts.develop run", signal.SIGTERM),
    ],
)
def test_killed_make_run_leaves_nothing_behind(
    killed: str, sent: signal.Signals, project_user: Callable[..., ProjectUser]
) -> None:
    user = project_user(packaging="uv")
    port = str(free_port())
    with user.serve("make run", f"http://127.0.0.1:{port}/health/ready", PORT=port):
        [process] = [
            process
            for process in psutil.process_iter(["cmdline", "cwd"])
            if process.info["cwd"] == str(user.project)
            and " ".join(process.info["cmdline"]).partition(" --port")[0].endswith(killed)
            and not process.info["cmdline"][0].endswith("sh")
        ]
        process.send_signal(sent)
        deadline = time.monotonic() + 15
        while processes := user.processes():
            assert time.monotonic() < deadline, processes
            time.sleep(0.1)
    if sent == signal.SIGTERM:  # it has stopped everything itself
        assert "Error 130" in user.project.with_suffix(".log").read_text()
