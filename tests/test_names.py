"""What is typed at the prompts: any text is accepted, and a name that cannot work is refused."""

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
    "project_name": ["", "  ", "a\x00b", "a\x1bb", "\x00", "\x1b" * 500],
    "description": ["\x1b" * 500, "a\x1b" + "👩‍🚀'\"\\" * 100],
    "project_slug": [
        *["", " ", ".", "..", "-", "~", "a/b", "a/b/c", "../x", "../../x/y", "/", "{outside}/x/y"],
        *["a\\b", "$(id)", "été", "a/../b", "./a", "a/", "\n" * 500, "x/" * 500],
        *["Notes", "notes--x", "-notes", "notes-", "notes_x", "notes service", "a" * 41],
        *["fastapi", "alembic", "pytest", "uv", "pyjwt", "argon2-cffi"],
    ],
    "package_name": [
        *["", " ", "a/b", "../x", "/x", "a.b", "a-b", "a b", "1a", "_a", "Notes", "été", "a" * 41],
        *["class", "async", "json", "types", "fastapi", "alembic", "sqlalchemy", "pytest"],
        *[
            "test",
            "tests",
            "scripts",
            "migrations",
            "deploy",
            "src",
            "jwt",
            "cryptography",
            "redis",
        ],
    ],
}


@pytest.mark.parametrize("framework", CHOICES["framework"])
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_is_rendered_unchanged(
    text: str, framework: str, render: Callable[..., Path]
) -> None:
    project = render(
        framework=framework,
        **dict.fromkeys(["project_name", "description", "author_name"], text),
        project_slug="zoes-notes",
        package_name="zoe",
    )
    expected = " ".join(text.split())
    lint(project)

    metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert metadata["description"] == expected
    assert metadata["authors"] == [{"name": expected}]

    package = ast.parse((project / "src" / "zoe" / "__init__.py").read_text())
    assert ast.get_docstring(package, clean=False) == f"{expected}."
    title, _, rest = (project / "README.md").read_text().partition("\n")
    assert html.unescape(title.replace("&amp;", "&")) == html.unescape(f"# {expected}")
    assert rest.startswith("\n")

    app = ast.parse((project / "src" / "zoe" / "app.py").read_text())
    arguments = [
        (node.arg, ast.literal_eval(node.value))
        for node in ast.walk(app)
        if isinstance(node, ast.keyword) and node.arg in ("title", "description")
    ]
    assert arguments == [("title", expected), ("description", expected)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [(variable, value) for variable, values in REFUSED.items() for value in values],
)
def test_name_that_cannot_work_is_refused_and_leaves_nothing_behind(
    variable: str,
    value: str,
    cookies: Cookies,
    rendered: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    value = value.replace("{outside}", str(tmp_path / "outside"))
    result = cookies.bake(extra_context={variable: value}, template=str(ROOT))
    assert result.exit_code != 0
    printed = capfd.readouterr()
    [line, *_] = (printed.err + printed.out).splitlines()
    assert len(line) <= 300
    refusal = re.fullmatch(
        rf"{variable} ('.*'|\".*\") .* type another, such as ('.*'|\".*\")\.", line
    )
    assert refusal, line
    assert len(ast.literal_eval(refusal[1])) <= 40
    # pytest-cookies renders into cookies/bake00, and no folder is left in it or next to it.
    assert {path.name for path in tmp_path.rglob("*")} == {"cookies", "bake00"}

    suggestion = ast.literal_eval(refusal[2])
    assert rendered(**{variable: suggestion}).is_dir()


@pytest.mark.parametrize("slug", ["a/b", "../x", "..", "{outside}/x"])
def test_refusal_is_printed_before_a_traceback_and_leaves_nothing_behind(
    slug: str, tmp_path: Path
) -> None:
    """As its user would run it, with a project that exists beside the refused one."""
    (tmp_path / "project" / "out").mkdir(parents=True)
    slug = slug.replace("{outside}", str(tmp_path / "outside"))
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", f"project_slug={slug}"]
    done = subprocess.run(
        [*command, "-o", tmp_path / "project" / "out"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "\nThe first line is the reason." in done.stderr.partition("Traceback")[0]
    assert done.stderr.startswith(f"project_slug {slug[:40]!r} is not a slug of at most 40 ")
    folders = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/**/*")}
    assert {path for path in folders if not path.startswith("home/")} == {"project/out"}
    assert {path.name for path in tmp_path.iterdir()} == {"project", "home"}
