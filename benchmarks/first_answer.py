"""How long it takes from `cookiecutter` to the first answer, for each package manager."""

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.servers import free_port
from tests.choices import CHOICES, ROOT
from tests.support.project_user import BIN, ProjectUser, clean_environment


def first_answer(packaging: str) -> float:
    """Render a project and `make run` it as its user would; return the seconds that this took."""
    with tempfile.TemporaryDirectory() as folder:
        tools = Path(folder) / "tools"
        tools.mkdir()
        port = free_port()
        started = time.monotonic()
        render = [BIN / "cookiecutter", "--no-input", "--output-dir", folder, ROOT]
        subprocess.run([*render, f"packaging={packaging}"], check=True, capture_output=True)
        [project] = (path.parent for path in Path(folder).glob("*/README.md"))
        user = ProjectUser(project, clean_environment(tools))
        with user.serve(f"make run PORT={port}", f"http://127.0.0.1:{port}/notes"):
            return time.monotonic() - started


def measure(bench: Bench) -> dict[str, Any]:
    """Do it once to fill the caches, and then once to measure it."""
    track = bench.progress.track(CHOICES["packaging"], description="First answer")
    return {packaging: [first_answer(packaging) for _ in range(2)][1:] for packaging in track}
