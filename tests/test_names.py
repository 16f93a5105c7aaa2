"""What is typed at the prompts: any text is taken, and a name that cannot work is refused."""

import ast
import html
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_cookies.plugin import Cookies

from tests.choices import CHOICES, ROOT
from tests.test_projects import TEXT, lint

pytestmark = pytest.mark.slow

TEXTS = [
    TEXT,
    '"',
    "it's",
    "\\",
    "C:\\new\\table",
    '"""',
    "'''",
    "Zoë, Łukasz, 日本語",
    "📝👩‍🚀",
    "one\ntwo",
    "one\ttwo",
    "  one  ",
    "$HOME $(id) `id` $$",
    "100 % %s %(here)s %%",
    "<b>&amp;</b> &",
    "# one",
    "{one} {0} }",
    "\\N{BULLET} \\u0041 \\x41 \\",
    "one " * 60,
]
REFUSED = {
    "project_name": ["", "  ", "a\x00b", "a\x1bb"],
    "project_slug": [
        *["", " ", ".", "..", "-", "~", "a/b", "../x", "/x", "a\\b", "$(id)", "été"],
        *["Notes", "notes--x", "-notes", "notes-", "notes_x", "notes service", "a" * 41],
        *["fastapi", "alembic", "pytest", "uv"],
    ],
    "package_name": [
        *["", " ", "a/b", "../x", "/x", "a.b", "a-b", "a b", "1a", "_a", "Notes", "été", "a" * 41],
        *["class", "async", "json", "types", "fastapi", "alembic", "sqlalchemy", "pytest"],
        *["tests", "scripts", "migrations", "deploy", "src"],
    ],
}


@pytest.mark.parametrize("framework", CHOICES["framework"])
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_taken_as_it_is(text: str, framework: str, render: Callable[..., Path]) -> None:
    project = render(
        framework=framework,
        **dict.fromkeys(["project_name", "description", "author_name"], text),
        project_slug="zoes-notes",
        package_name="zoe",
    )
    meant = " ".join(text.split())
    lint(project)

    declared = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert declared["description"] == meant
    assert declared["authors"] == [{"name": meant}]

    package = ast.parse((project / "src" / "zoe" / "__init__.py").read_text())
    assert ast.get_docstring(package, clean=False) == f"{meant}."
    title, _, rest = (project / "README.md").read_text().partition("\n")
    assert html.unescape(title.replace("&amp;", "&")) == html.unescape(f"# {meant}")
    assert rest.startswith("\n")

    app = ast.parse((project / "src" / "zoe" / "app.py").read_text())
    told = [
        (node.arg, ast.literal_eval(node.value))
        for node in ast.walk(app)
        if isinstance(node, ast.keyword) and node.arg in ("title", "description")
    ]
    assert told == [("title", meant), ("description", meant)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [(variable, value) for variable, values in REFUSED.items() for value in values],
)
def test_a_name_that_cannot_work_is_refused(
    variable: str,
    value: str,
    cookies: Cookies,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    result = cookies.bake(extra_context={variable: value}, template=str(ROOT))
    assert result.exit_code != 0
    printed = capfd.readouterr()
    [line, *_] = (printed.err + printed.out).splitlines()
    said = re.fullmatch(rf"{variable} .* type another, such as ('.*')\.", line)
    assert said, line
    # Nothing is left behind: these folders are pytest-cookies' own.
    assert {path.name for path in tmp_path.rglob("*")} == {"cookies", "bake00"}

    better = ast.literal_eval(said[1])
    assert cookies.bake(extra_context={variable: better}, template=str(ROOT)).exit_code == 0


def test_the_refusal_comes_before_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "-o", tmp_path / "out"]
    done = subprocess.run(
        [*command, "package_name=json"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("package_name 'json' is a module of Python's standard library")
    assert list((tmp_path / "out").iterdir()) == []
