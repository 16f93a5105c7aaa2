"""Rendering a project outside of pytest-cookies, into a folder of the test's choice."""

from pathlib import Path

from cookiecutter.main import cookiecutter

from tests.choices import ROOT


def render_into(folder: Path, **answers: str) -> Path:
    """Render a project, and return its path."""
    project = cookiecutter(str(ROOT), no_input=True, extra_context=answers, output_dir=str(folder))
    return Path(project)
