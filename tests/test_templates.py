"""The templates before rendering: plain Python that tools check and run unchanged."""

import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import pytest
from jinja2 import FileSystemLoader
from pytest_cookies.plugin import Cookies

from tests.choices import (
    PROGRAMS,
    PROJECTS,
    ROOT,
    TEMPLATES,
    Combination,
    combinations,
    name,
    python_path,
    source_folders,
)
from tests.test_projects import files_of_layer

PROJECT = ROOT / "{{cookiecutter.project_slug}}"
SOURCES = sorted(TEMPLATES.rglob("*.py"))
STUBS = sorted(
    path
    for path in PROJECT.rglob("*")
    if path.is_file() and path.name not in ("__init__.py", "py.typed")
)
LAYERS = combinations("sqlalchemy", "pool")

# The configuration in templates/common/project.toml, for code that is not rendered.
MYPY = """
[mypy]
strict = true
plugins = pydantic.mypy
explicit_package_bases = true
[mypy-gunicorn.*,uvicorn_worker.*]
follow_untyped_imports = true
"""
PYTEST = """
[pytest]
addopts = -p no:schemathesis
consider_namespace_packages = true
asyncio_mode = auto
asyncio_default_fixture_loop_scope = session
asyncio_default_test_loop_scope = session
filterwarnings = error
"""


def python(*arguments: str | Path, program: Combination, cwd: Path) -> str:
    """Run Python with the code of `program` on its path, and return what it prints."""
    path = python_path(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, "MYPYPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def modules(program: Combination) -> list[str]:
    """Return the modules of `program`, except migrations, which have no importable names.

    scripts.load needs locust, whose plugin of pytest must not be installed where tests run.
    """
    files = [
        path.relative_to(folder)
        for folder in source_folders(program)
        for path in folder.rglob("*.py")
    ]
    return sorted(
        ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        for file in files
        if file.parts[0] in ("service", "scripts", "tests") or file.name == "env.py"
        if file != Path("scripts/load.py")
    )


def signatures(file: Path) -> dict[str, str]:
    """Return the signatures of a module's public functions and of its classes' public methods."""
    public = {}
    tree = ast.parse(file.read_text())
    owners = {"": tree.body}
    owners |= {f"{node.name}.": node.body for node in tree.body if isinstance(node, ast.ClassDef)}
    for owner, body in owners.items():
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
                node.body = [ast.Pass()]
                public[f"{owner}{node.name}"] = ast.unparse(node)
    return public


def signatures_in(program: Combination, file: str) -> dict[str, str]:
    [path] = [folder / file for folder in source_folders(program) if (folder / file).exists()]
    return signatures(path)


@pytest.mark.parametrize("command", [["format", "--check"], ["check"]], ids=" ".join)
def test_formatter_and_linter_change_nothing(command: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff", *command, ROOT]
    done = subprocess.run(ruff, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_python_templates_have_jinja_in_strings_only(source: Path) -> None:
    text = source.read_text()
    ast.parse(text)
    strings = [
        (token.start, token.end)
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.STRING and "f" not in token.string.split(token.string[-1])[0]
    ]
    for number, line in enumerate(text.splitlines(), 1):
        assert not re.search("{[%#]", line)
        for match in re.finditer("{{", line):
            assert any(start < (number, match.start()) < end for start, end in strings), line


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_mypy_accepts_every_program(program: Combination, mypy_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(MYPY)
    named = [argument for module in modules(program) for argument in ("-m", module)]
    python("-m", "mypy", "--cache-dir", mypy_cache, *named, program=program, cwd=tmp_path)


@pytest.mark.parametrize("program", PROGRAMS[1:], ids=name)
def test_every_program_has_the_same_modules(program: Combination) -> None:
    def shared_modules(program: Combination) -> set[str]:
        of_layer = {
            file.removesuffix(".py").replace("src/notes_service", "service").replace("/", ".")
            for file in files_of_layer(program)
        }
        assert of_layer <= set(modules(program))
        return set(modules(program)) - of_layer

    assert shared_modules(program) == shared_modules(PROGRAMS[0])


@pytest.mark.parametrize("chosen", LAYERS[1:], ids=name)
def test_every_data_layer_has_the_same_queries(chosen: Combination) -> None:
    queries = "service/notes/queries.py"
    assert signatures_in(chosen, queries) == signatures_in(LAYERS[0], queries) != {}


@pytest.mark.parametrize("chosen", LAYERS, ids=name)
def test_every_data_layer_has_the_same_database_interface(chosen: Combination) -> None:
    generator = r"@asynccontextmanager\nasync def (\w+)\(self\) -> AsyncIterator\[(\w+)\]"
    methods = {
        name: re.sub(generator, r"def \1(self) -> AbstractAsyncContextManager[\2]", text)
        for name, text in signatures_in(chosen, "service/database.py").items()
        if name.startswith("Database.")
    }
    assert methods == {
        f"Database.{name}": f"{signature}:\n    pass"
        for name, signature in {
            "connection": "def connection(self) -> AbstractAsyncContextManager[Connection]",
            "transaction": "def transaction(self) -> AbstractAsyncContextManager[Transaction]",
            "ping": "async def ping(self) -> None",
        }.items()
    }


def unrendered(arguments: list[str], program: Combination, folder: Path) -> str:
    """Run tests of a project on the unrendered `program`, and return what pytest prints."""
    (folder / "pytest.ini").write_text(PYTEST)
    common = TEMPLATES / "common"
    options = [
        "-c",
        folder / "pytest.ini",
        "--rootdir",
        common,
        "-p",
        "no:cacheprovider",
        "-q",
    ]
    return python("-m", "pytest", *options, *arguments, program=program, cwd=common)


@pytest.mark.slow  # `make test-fast` runs the same tests, rendered
def test_unrendered_tests_pass(tmp_path: Path) -> None:
    """Those of the example and of what it uses. All of them run in rendered projects."""
    # This one looks for the package in one folder, and unrendered it is in several.
    arguments = ["tests/notes", "tests/test_database.py", "-k", "not located_in_the_query"]
    printed = unrendered(arguments, PROGRAMS[0], tmp_path)
    assert re.search(r"\d+ passed", printed)
    assert "skipped" not in printed


@pytest.mark.soak
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_schemathesis_finds_nothing_in_thousands_of_requests(
    program: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEMA_EXAMPLES", "500")
    printed = unrendered(["tests/test_schema.py"], program, tmp_path)
    assert re.search(r"\b1 passed", printed)


@pytest.fixture(scope="module")
def included(cookies_session: Cookies) -> set[str]:
    """Render every project, and return the templates that were read."""
    names = set()
    read = FileSystemLoader.get_source

    def get_source(loader: FileSystemLoader, environment: Any, template: str) -> Any:
        names.add(template)
        return read(loader, environment, template)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileSystemLoader, "get_source", get_source)
        for project in PROJECTS:
            result = cookies_session.bake(extra_context=project, template=str(ROOT))
            assert result.exception is None
    return names


def test_every_template_is_rendered_in_some_project(included: set[str]) -> None:
    files = {
        path
        for path in TEMPLATES.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != ".coverage"
    }
    assert files - {TEMPLATES / template for template in included} == set()


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_stub_is_one_include(stub: Path) -> None:
    rename = "{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}"
    include, *others = [
        line for line in stub.read_text().splitlines() if line not in (rename, "{% endfilter %}")
    ]
    assert re.fullmatch(r"{% include .* %}", include)
    assert others == []


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_imported_objects_are_frozen_for_the_garbage_collector(
    program: Combination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1/nowhere")
    monkeypatch.setenv("UPSTREAM_URL", "http://127.0.0.1")
    frozen = "import gc, service.main; print(gc.get_freeze_count())"
    # The imports alone create as many objects.
    assert int(python("-c", frozen, program=program, cwd=tmp_path)) > 50_000
