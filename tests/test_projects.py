"""Every project that the template renders: read, then used as its README says."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.choices import CHOICES, CODE, CONTEXT, PROGRAMS, PROJECTS, ROOT, Combination, name
from tests.user import User, free_port, get

Render = Callable[..., Path]

FILES = [
    ".dockerignore",
    ".env.example",
    ".github/workflows/test.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "Makefile",
    "README.md",
    "deploy/Dockerfile",
    "deploy/compose.yaml",
    "deploy/gunicorn.conf.py",
    "deploy/nginx.conf",
    "deploy/pgbouncer.ini",
    "deploy/systemd/notes-service-migrate.service",
    "deploy/systemd/notes-service.service",
    "docs/deployment.md",
    "docs/security.md",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/2026_11_22_1200_notes.py",
    "migrations/versions/2026_11_22_1210_notes_not_synchronized.py",
    "pyproject.toml",
    "scripts/develop.py",
    "scripts/postgres.py",
    "scripts/upstream.py",
    "src/notes_service/__init__.py",
    "src/notes_service/app.py",
    "src/notes_service/database.py",
    "src/notes_service/docs.py",
    "src/notes_service/domains.py",
    "src/notes_service/errors.py",
    "src/notes_service/etags.py",
    "src/notes_service/health.py",
    "src/notes_service/lifespan.py",
    "src/notes_service/logs.py",
    "src/notes_service/main.py",
    "src/notes_service/master.py",
    "src/notes_service/metrics.py",
    "src/notes_service/middleware.py",
    "src/notes_service/models.py",
    "src/notes_service/notes/__init__.py",
    "src/notes_service/notes/errors.py",
    "src/notes_service/notes/lifespan.py",
    "src/notes_service/notes/models.py",
    "src/notes_service/notes/queries.py",
    "src/notes_service/notes/routes.py",
    "src/notes_service/notes/schemas.py",
    "src/notes_service/notes/synchronize.py",
    "src/notes_service/notes/upstream.py",
    "src/notes_service/openapi.py",
    "src/notes_service/postgres.py",
    "src/notes_service/py.typed",
    "src/notes_service/requests.py",
    "src/notes_service/retry.py",
    "src/notes_service/route_table.py",
    "src/notes_service/routing.py",
    "src/notes_service/settings.py",
    "src/notes_service/slots.py",
    "src/notes_service/worker.py",
    "tests/conftest.py",
    "tests/notes/conftest.py",
    "tests/notes/test_hostile.py",
    "tests/notes/test_migrations.py",
    "tests/notes/test_notes.py",
    "tests/notes/test_preconditions.py",
    "tests/notes/test_synchronize.py",
    "tests/notes/test_transactions.py",
    "tests/notes/upstream.py",
    "tests/postgres_proxy.py",
    "tests/process.py",
    "tests/raw_sql.py",
    "tests/schemathesis.toml",
    "tests/serving.py",
    "tests/temporary_database.py",
    "tests/test_app.py",
    "tests/test_database.py",
    "tests/test_documentation.py",
    "tests/test_errors.py",
    "tests/test_health.py",
    "tests/test_http.py",
    "tests/test_logs.py",
    "tests/test_master.py",
    "tests/test_metrics.py",
    "tests/test_migrations.py",
    "tests/test_openapi.py",
    "tests/test_routing.py",
    "tests/test_schema.py",
    "tests/test_settings.py",
    "tests/test_worker.py",
]

# What tells that all of these values were chosen: words of the code, of files' names, of the README.
TRACES = {
    ("fastapi",): r"(?i)fastapi",
    ("starlette",): r"openapi.pydantic|AuthenticationMiddleware",  # FastAPI stands on Starlette
    ("core",): r"\bTable\b|\bColumn\(|\bCore\b",
    ("orm",): r"(?i)\bmapped|\bORM\b|DeclarativeBase|sqlalchemy\.orm|relationship",
    ("core", "asyncpg"): r"create_pool",
    ("orm", "asyncpg"): r"AsyncSession|sessionmaker|expire_on_commit",
    ("databases",): r"(?<!\[)\bdatabases\b|archived",
    ("uv",): r"\buv\b|uv_build|uv\.lock",
    ("poetry",): r"(?i)poetry",
    # An image gets the other package managers by pip.
    (
        "pip",
    ): r"\bpip\b(?!-audit| install --no-cache-dir)|pip-(tools|compile)|setuptools|requirements(-dev)?\.txt",
}
# Half of the programs, in which every two values that can meet do.
PAIRS = [
    program
    for program in PROGRAMS
    if sum(CHOICES[choice].index(value) for choice, value in program.items()) % 2 == 0
]
LOCKS = {
    "uv": ["uv.lock"],
    "poetry": ["poetry.lock"],
    "pip": ["requirements.txt", "requirements-dev.txt"],
}
# All that is hard to write down in TOML, Python, Markdown, make and shell at once.
TEXT = 'Zoë\'s "notes" & <b>\\N{BULLET}</b> \\u0041 📝👩‍🚀\n\t\'\'\'""" #1 `x` $HOME $(id) %s %(x)s {y} \\'


def answers_for(project: Combination) -> Combination:
    """Give one program, with every package manager, names that are hard to write down."""
    if any(project[choice] != PROJECTS[-1][choice] for choice in CODE):
        return project
    free = dict.fromkeys(["project_name", "description", "author_name"], TEXT)
    return {**project, **free, "project_slug": "zoes-notes", "package_name": "zoe"}


# `make test-fast` takes the first project only.
SOME_SLOW = [
    pytest.param(project, id=name(project), marks=[pytest.mark.slow] if number else [])
    for number, project in enumerate(PROJECTS)
]


def contents(project: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file()
    }


def normal(distribution: str) -> str:
    return re.sub("[-_.]+", "-", distribution).lower()


def lint(project: Path) -> None:
    for command in (["format", "--check", "--diff"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("project", SOME_SLOW)
def test_a_project_has_exactly_these_files(project: Combination, rendered: Render) -> None:
    files = contents(rendered(**project))
    assert sorted(files) == sorted(FILES)


@pytest.mark.parametrize("project", SOME_SLOW)
def test_a_project_shows_no_trace_of_jinja(project: Combination, rendered: Render) -> None:
    for file, content in contents(rendered(**project)).items():
        # script.py.mako is alembic's own template, and GitHub's expressions have a $ in front.
        assert not re.search(rb"(?<!\$)\{\{|\{%|\{#|cookiecutter", content), file


@pytest.mark.parametrize("project", SOME_SLOW)
def test_a_project_shows_no_trace_of_what_was_not_chosen(
    project: Combination, rendered: Render
) -> None:
    text = "\n".join(
        f"{file}\n{content.decode()}"
        for file, content in contents(rendered(**project)).items()
        if "versions" not in file  # migrations create tables and columns whoever asks for them
    )
    traced = {values for values, words in TRACES.items() if re.search(words, text)}
    assert traced == {values for values in TRACES if set(values) <= set(project.values())}
    assert (".c." in text) == ("core" in project.values())
    compiled = "core" in project.values() or "databases" in project.values()
    assert bool(re.search(r"\bStatement\b", text)) == compiled


@pytest.mark.slow
@pytest.mark.parametrize("package", ["notes_service", "z", "z" * 40])
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_the_formatter_and_the_linter_change_nothing(
    program: Combination, package: str, render: Render
) -> None:
    lint(render(**program, package_name=package))


@pytest.mark.parametrize("project", SOME_SLOW)
def test_the_same_answers_give_the_same_bytes(
    project: Combination, render: Render, rendered: Render
) -> None:
    assert contents(render(**project)) == contents(rendered(**project))


@pytest.mark.parametrize("project", SOME_SLOW)
def test_what_is_imported_is_declared_and_the_other_way_round(
    project: Combination, rendered: Render
) -> None:
    folder = rendered(**project)
    declared = tomllib.loads((folder / "pyproject.toml").read_text())
    groups = declared.get("dependency-groups") or declared["project"]["optional-dependencies"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}

    needed, development = names(declared["project"]["dependencies"]), names(groups["dev"])
    assert needed & development == set()

    known = packages_distributions()
    for file in folder.rglob("*.py"):
        part = file.relative_to(folder).parts[0]
        allowed = needed if part in ("src", "migrations", "deploy") else needed | development
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported = [str(node.module)]
            for module in imported:
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or (folder / top).is_dir():
                    continue
                if not (folder / "src" / top).is_dir():
                    assert {normal(found) for found in known[top]} & allowed, (file, module)

    code = "\n".join(
        path.read_text()
        for path in folder.rglob("*")
        if path.suffix == ".py" or path.stem == "Makefile"
    )
    for distribution in needed:
        assert distribution.replace("-", "_") in code, distribution


@pytest.mark.parametrize("project", SOME_SLOW)
def test_what_the_readme_says_is_so(
    project: Combination, render: Render, environment: dict[str, str], database_url: str
) -> None:
    user = User(render(**answers_for(project)), environment)
    run, ask, work, _, serve = user.reads()
    versions = user.project / "migrations" / "versions"
    rendered = set(versions.iterdir())
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"

    with user.serves(run, f"{url}/docs", PORT=port):
        said = user.types(ask.replace("http://127.0.0.1:8000", url))
        assert re.findall(r"^HTTP/1\.1 (\d+)", said, re.MULTILINE) == ["201", "200", "200"]
        assert '"title":"First"' in said  # the stub of the upstream capitalized it
    for lock in LOCKS[project["packaging"]]:
        locked = (user.project / lock).read_text()
        assert "sha256:" in locked
        assert project["packaging"] != "pip" or "://" not in locked  # it names no index
    refuses_what_is_installed(user.project)

    said = user.types(work)
    assert re.search(r"\d+ passed in", said)
    assert "Required test coverage of 95% reached" in said
    assert not re.search(r"\d+ (skipped|warning)", said)
    [migration] = set(versions.glob("*.py")) - rendered
    assert "what changed in the models" in migration.read_text()
    lint(user.project)

    given = {"DATABASE_URL": database_url, "UPSTREAM_URL": "http://127.0.0.1:9"}
    bind = f"--bind 127.0.0.1:{port}"
    with user.serves(serve, f"{url}/health/ready", GUNICORN_CMD_ARGS=bind, **given):
        info = json.loads(get(f"{url}/openapi.json") or "{}")["info"]
    asked = {**CONTEXT, **answers_for(project)}
    assert info["title"] == " ".join(asked["project_name"].split())
    assert info["description"] == " ".join(asked["description"].split())
    user.types(".venv/bin/alembic check && .venv/bin/alembic downgrade base", **given)


@pytest.mark.slow
@pytest.mark.parametrize("program", PAIRS, ids=name)  # it is the same code with each packaging
def test_the_example_is_removed_as_the_readme_says(
    program: Combination, render: Render, environment: dict[str, str]
) -> None:
    user = User(render(**program), environment)
    _, _, _, remove, _ = user.reads()
    user.types(f"{remove}make test && make check")


@pytest.mark.slow
@pytest.mark.parametrize("program", PAIRS, ids=name)
def test_production_needs_no_more_than_the_package(
    program: Combination, render: Render, environment: dict[str, str], database_url: str
) -> None:
    user = User(render(**program), environment)
    user.types("uv venv --quiet .venv && uv pip install --quiet --python .venv .")
    given = {"DATABASE_URL": database_url, "UPSTREAM_URL": "http://127.0.0.1:9"}
    user.types(".venv/bin/alembic upgrade head && .venv/bin/alembic downgrade base", **given)
    port = free_port()
    url = f"http://127.0.0.1:{port}/health/ready"
    for server in (
        f".venv/bin/uvicorn notes_service.main:app --port {port}",
        f".venv/bin/gunicorn -c deploy/gunicorn.conf.py --bind :{port} notes_service.main:app",
    ):
        with user.serves(server, url, **given):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("packaging", CHOICES["packaging"])
def test_production_installs_what_the_lock_says(
    packaging: str, render: Render, environment: dict[str, str]
) -> None:
    """As docs/deployment.md has it, and as the Dockerfile, which refuses a lock that lacks something."""
    user = User(render(packaging=packaging), environment)
    # pip-compile takes a minute for it, in the test above.
    pip = "uv pip compile --quiet --generate-hashes pyproject.toml --output-file requirements.txt"
    user.types(pip if packaging == "pip" else "make lock")
    stage = (user.project / "deploy" / "Dockerfile").read_text().split("\nFROM ")[1]
    build = "\n".join(
        command if kind == "RUN" else f"export {command}"
        for kind, command in re.findall(r"^(ENV|RUN) ((?:.*\\\n)*.*)", stage, re.MULTILINE)
        if not command.startswith("pip install")  # of the package manager, which is there
    )
    user.types(build)
    text = (user.project / "docs" / "deployment.md").read_text()
    [install] = re.findall(r"^cd /opt/notes-service\n((?:.+\n)+?)install ", text, re.MULTILINE)
    user.types(install)
    programs = {path.name for path in (user.project / ".venv" / "bin").iterdir()}
    assert {"alembic", "gunicorn"} <= programs
    assert "pytest" not in programs
    given = {"DATABASE_URL": "postgresql://a@127.0.0.1/a", "UPSTREAM_URL": "http://127.0.0.1:9"}
    app = "notes_service.main:app"
    user.types(f".venv/bin/gunicorn --check-config -c deploy/gunicorn.conf.py {app}", **given)

    project = user.project / "pyproject.toml"
    head, start, rest = project.read_text().partition("\ndependencies = [\n")
    project.write_text(f'{head}{start}    "humanize",\n{rest}')
    with pytest.raises(AssertionError, match=r"humanize|changed significantly|needs to be updated"):
        user.types(build)


def refused(kind: str) -> set[str]:
    """Read a set of names off the hook."""
    tree = ast.parse((ROOT / "hooks" / "pre_gen_project.py").read_text())
    names: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
            "MODULES",
            "DISTRIBUTIONS",
        ):
            exec(ast.unparse(node), names)  # noqa: S102
    found = names[kind]
    assert isinstance(found, set)
    return found


def refuses_what_is_installed(project: Path) -> None:
    """Compare the names that the hook refuses with those that a project's environment has."""
    [packages] = (project / ".venv" / "lib").glob("python*/site-packages")
    modules = {
        path.name.split(".")[0]
        for path in packages.iterdir()
        if path.is_dir() or path.suffix in (".py", ".so", ".pyd")
    }
    package = next((project / "src").iterdir()).name
    ours = {package, "__pycache__", f"_{package}"}
    # Of the others no project can have the name: they start with an underscore, or a number.
    names = {module for module in modules - ours if re.fullmatch(r"[a-z][a-z0-9_]*", module)}
    assert {name for name in names if not name.endswith("__mypyc")} <= refused("MODULES")

    distributions = {normal(path.name.split("-")[0]) for path in packages.glob("*.dist-info")}
    assert distributions - {project.name} <= refused("DISTRIBUTIONS")
