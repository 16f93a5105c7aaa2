"""Every project that the template renders: its files, and the commands of its README."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.choices import CHOICES, CODE, CONTEXT, PROGRAMS, PROJECTS, ROOT, Combination, name
from tests.support.network import free_port, get
from tests.support.project_user import ProjectUser
from tests.test_shipped_tests import run_tests

Render = Callable[..., Path]
UserOf = Callable[..., ProjectUser]

FILES = [
    ".dockerignore",
    ".env.development",
    ".env.example",
    ".github/dependabot.yml",
    ".github/workflows/test.yml",
    ".gitignore",
    ".pre-commit-config.yaml",
    "AGENTS.md",
    "CLAUDE.md",
    ".template-version",
    "Makefile",
    "README.md",
    "deploy/Dockerfile",
    "deploy/compose.yaml",
    "deploy/gunicorn.conf.py",
    "deploy/nginx.conf",
    "deploy/observability/alerts.yml",
    "deploy/observability/compose.yaml",
    "deploy/observability/grafana/dashboards.yaml",
    "deploy/observability/grafana/datasources.yaml",
    "deploy/observability/grafana/service.json",
    "deploy/observability/prometheus.yml",
    "deploy/pgbouncer.ini",
    "deploy/systemd/notes-service-migrate.service",
    "deploy/systemd/notes-service.service",
    "docs/database.md",
    "docs/deployment.md",
    "docs/guides/add-a-domain.md",
    "docs/guides/authenticate.md",
    "docs/guides/cache-a-read.md",
    "docs/guides/columns-and-relations.md",
    "docs/guides/load-data-in-bulk.md",
    "docs/guides/log-in-with-a-password.md",
    "docs/guides/read-from-a-standby.md",
    "docs/operations.md",
    "docs/security.md",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/2026_11_22_1200_notes.py",
    "migrations/versions/2026_11_22_1210_notes_not_synchronized.py",
    "pyproject.toml",
    "scripts/develop.py",
    "scripts/load.py",
    "scripts/openapi.py",
    "scripts/postgres.py",
    "scripts/remove_example.py",
    "scripts/statements.py",
    "scripts/upstream.py",
    "scripts/variables.py",
    "src/notes_service/__init__.py",
    "src/notes_service/app.py",
    "src/notes_service/connect_failures.py",
    "src/notes_service/constraints.py",
    "src/notes_service/database.py",
    "src/notes_service/database_url.py",
    "src/notes_service/docs.py",
    "src/notes_service/domains.py",
    "src/notes_service/errors.py",
    "src/notes_service/etags.py",
    "src/notes_service/fields.py",
    "src/notes_service/health.py",
    "src/notes_service/json_values.py",
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
    "src/notes_service/paths.py",
    "src/notes_service/postgres.py",
    "src/notes_service/py.typed",
    "src/notes_service/requests.py",
    "src/notes_service/retry.py",
    "src/notes_service/route_table.py",
    "src/notes_service/routing.py",
    "src/notes_service/serve.py",
    "src/notes_service/settings.py",
    "src/notes_service/slots.py",
    "src/notes_service/tracing.py",
    "src/notes_service/worker.py",
    "tests/boxes.py",
    "tests/collector.py",
    "tests/conftest.py",
    "tests/failing_writes.py",
    "tests/notes/conftest.py",
    "tests/notes/test_hostile.py",
    "tests/notes/test_migrations.py",
    "tests/notes/test_notes.py",
    "tests/notes/test_preconditions.py",
    "tests/notes/test_settings.py",
    "tests/notes/test_synchronize.py",
    "tests/notes/test_tracing.py",
    "tests/notes/test_transactions.py",
    "tests/notes/upstream.py",
    "tests/parcel_queries.py",
    "tests/parcels.py",
    "tests/postgres_proxy.py",
    "tests/process.py",
    "tests/raw_sql.py",
    "tests/sample_models.py",
    "tests/sample_queries.py",
    "tests/sample_routes.py",
    "tests/sample_schemas.py",
    "tests/schemathesis.toml",
    "tests/serving.py",
    "tests/temporary_database.py",
    "tests/test_app.py",
    "tests/test_constraints.py",
    "tests/test_database.py",
    "tests/test_database_url.py",
    "tests/test_documentation.py",
    "tests/test_errors.py",
    "tests/test_fields.py",
    "tests/test_etags.py",
    "tests/test_health.py",
    "tests/test_hostile.py",
    "tests/test_http.py",
    "tests/test_logs.py",
    "tests/test_master.py",
    "tests/test_metrics.py",
    "tests/test_migrations.py",
    "tests/test_openapi.py",
    "tests/test_paths.py",
    "tests/test_requests.py",
    "tests/test_routing.py",
    "tests/test_schema.py",
    "tests/test_settings.py",
    "tests/test_tables.py",
    "tests/test_tracing.py",
    "tests/test_transactions.py",
    "tests/test_worker.py",
    "tests/traced.py",
]

# The files that only some data layers have.
FILES_OF_LAYERS = {
    ("core", "asyncpg"): ["src/notes_service/statement.py", "tests/test_statement.py"],
    ("orm", "asyncpg"): [
        "src/notes_service/engine.py",
        "tests/notes/test_session.py",
        "tests/test_session.py",
    ],
    ("databases",): ["tests/test_library.py"],
    ("orm", "databases"): ["tests/notes/test_detached.py"],
}

# Words in code, file names and the README that appear only if all of these values were chosen.
TRACES = {
    ("fastapi",): r"(?i)fastapi",
    ("starlette",): r"models_json_schema",  # FastAPI is built on Starlette
    ("core",): r"\bTable\b|\bColumn\(|\bCore\b",
    ("orm",): r"(?i)\bmapped|\bORM\b|DeclarativeBase|sqlalchemy\.orm|relationship",
    ("core", "asyncpg"): r"create_pool",
    ("orm", "asyncpg"): r"AsyncSession|sessionmaker|expire_on_commit",
    ("databases",): r"(?<!\[)\bdatabases\b|archived",
    ("uv",): r"\buv\b|uv_build|uv\.lock",
    ("poetry",): r"(?i)poetry",
    # Images install the other package managers with pip, and Dependabot names Poetry so, too.
    (
        "pip",
    ): r"(?<!ecosystem: )\bpip\b(?!-audit| install --no-cache-dir)|pip-(tools|compile)|setuptools|requirements(-dev)?\.txt",
}
# Half of the programs, which have every pair of values that can be combined.
PAIRS = [
    program
    for program in PROGRAMS
    if sum(CHOICES[choice].index(value) for choice, value in program.items()) % 2 == 0
]
# These files take half of the time of a project's tests, because they start many processes.
TESTS_OF_PROCESSES = [
    "tests/notes/test_tracing.py",
    "tests/test_master.py",
    "tests/test_migrations.py",
    "tests/test_tracing.py",
]
WITHOUT_PROCESSES = " ".join(f"--ignore={file}" for file in TESTS_OF_PROCESSES)
# The tests of what the README of the template promises, which run in every project.
PROMISES = (
    "tests/notes/test_notes.py tests/notes/test_synchronize.py tests/notes/test_transactions.py "
    "tests/test_transactions.py tests/test_database.py tests/test_health.py"
)
LOCKS = {
    "uv": ["uv.lock"],
    "poetry": ["poetry.lock"],
    "pip": ["requirements.txt", "requirements-dev.txt"],
}
# Characters that are hard to quote in TOML, Python, Markdown, make and shell.
TEXT = 'Zoë\'s "notes" & <b>\\N{BULLET}</b> \\u0041 📝👩‍🚀\n\t\'\'\'""" #1 `x` $HOME $(id) %s %(x)s {y} \\'


def files_of_layer(combination: Combination) -> list[str]:
    chosen = set(combination.values())
    return [
        file for values, files in FILES_OF_LAYERS.items() if chosen >= {*values} for file in files
    ]


def answers_for(project: Combination) -> Combination:
    """Return the answers for a project. One program has names that are hard to quote."""
    if any(project[choice] != PROJECTS[-1][choice] for choice in CODE):
        return project
    free = dict.fromkeys(["project_name", "description", "author_name"], TEXT)
    return {**project, **free, "project_slug": "zoes-notes", "package_name": "zoe"}


# `make test-fast` tests the first project only.
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
def test_project_has_exactly_these_files(project: Combination, rendered: Render) -> None:
    files = contents(rendered(**project))
    assert sorted(files) == sorted([*FILES, *files_of_layer(project)])


@pytest.mark.parametrize("project", SOME_SLOW)
def test_project_has_no_trace_of_jinja(project: Combination, rendered: Render) -> None:
    for file, content in contents(rendered(**project)).items():
        # script.py.mako is a template of alembic, expressions of GitHub start with a $, and the README
        # has the address of this template.
        trace = rb"(?<!\$)\{\{|\{%|\{#|cookiecutter(?!-async-postgres/blob)"
        assert not re.search(trace, content), file


@pytest.mark.parametrize("project", SOME_SLOW)
def test_project_has_no_trace_of_other_choices(project: Combination, rendered: Render) -> None:
    text = "\n".join(
        f"{file}\n{content.decode()}"
        for file, content in contents(rendered(**project)).items()
        # Migrations and their tests create tables and columns in every project.
        if "versions" not in file and file != "tests/test_migrations.py"
    )
    traces = {values for values, words in TRACES.items() if re.search(words, text)}
    assert traces == {values for values in TRACES if set(values) <= set(project.values())}
    assert (".c." in text) == ("core" in project.values())
    compiled = {"core", "asyncpg"} <= set(project.values())
    assert bool(re.search(r"\bStatement\b", text)) == compiled


@pytest.mark.slow
@pytest.mark.parametrize("package", ["notes_service", "z", "z" * 40])
@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_formatter_and_linter_change_nothing(
    program: Combination, package: str, render: Render
) -> None:
    lint(render(**program, package_name=package))


@pytest.mark.parametrize("project", SOME_SLOW)
def test_same_answers_render_the_same_bytes(
    project: Combination, render: Render, rendered: Render
) -> None:
    assert contents(render(**project)) == contents(rendered(**project))


@pytest.mark.parametrize("project", SOME_SLOW)
def test_dependencies_are_those_that_are_imported(project: Combination, rendered: Render) -> None:
    folder = rendered(**project)
    declared = tomllib.loads((folder / "pyproject.toml").read_text())
    groups = declared.get("dependency-groups") or declared["project"]["optional-dependencies"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}

    needed, development = names(declared["project"]["dependencies"]), names(groups["dev"])
    assert needed & development == set()

    # The group is installed by `make load`, and not here.
    assert names(groups["load"]) == {"locust"}
    known = packages_distributions() | {"locust": ["locust"]}
    for file in folder.rglob("*.py"):
        part = file.relative_to(folder).parts[0]
        allowed = needed if part in ("src", "migrations", "deploy") else needed | development
        allowed |= names(groups["load"]) if file.name == "load.py" else set()
        for node in ast.walk(ast.parse(file.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                imported = [str(node.module)]
            for module in imported:
                top = module.partition(".")[0]
                if top in sys.stdlib_module_names or (folder / top).is_dir():
                    continue
                if not (folder / "src" / top).is_dir():
                    assert {normal(package) for package in known[top]} & allowed, (file, module)

    code = "\n".join(
        path.read_text()
        for path in folder.rglob("*")
        if path.suffix == ".py" or path.stem == "Makefile"
    )
    for distribution in needed:
        assert distribution.replace("-", "_") in code.replace(".", "_"), distribution


@pytest.mark.parametrize("program", PROGRAMS, ids=name)
def test_package_manager_changes_no_code(program: Combination, rendered: Render) -> None:
    def code(packaging: str) -> dict[str, object]:
        project = rendered(**program, packaging=packaging)
        declared = tomllib.loads((project / "pyproject.toml").read_text())
        groups = declared.get("dependency-groups") or declared["project"]["optional-dependencies"]
        tools = declared["tool"]
        return {
            "dependencies": declared["project"]["dependencies"],
            "groups": groups,
            **{tool: tools[tool] for tool in ("coverage", "mypy", "pytest", "ruff")},
            **{
                file: content
                for file, content in contents(project).items()
                if file.partition("/")[0] in ("src", "migrations", "scripts", "tests")
            },
        }

    first, *others = CHOICES["packaging"]
    for packaging in others:
        assert code(packaging) == code(first)


@pytest.mark.parametrize("project", SOME_SLOW)
def test_commands_of_the_readme_work(
    project: Combination, project_user: UserOf, database_url: str, locks: Path
) -> None:
    user = project_user(**answers_for(project))
    with_uv = project["packaging"] == "uv"
    is_first_program = PROGRAMS[0].items() <= project.items()
    reuse_lock(user, project["packaging"], locks)
    if project["packaging"] == "pip" and is_first_program:
        # In one project pip-compile updates the lock, which is older than pyproject.toml, and pip
        # installs everything. This takes most of a minute.
        os.utime(user.project / LOCKS["pip"][-1], (0, 0))
    else:
        reuse_environment(user, project["packaging"], locks)
    run, request, _, work, serve = user.readme_commands()
    versions = user.project / "migrations" / "versions"
    rendered = set(versions.iterdir())
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"

    with user.serve(run, f"{url}/docs", PORT=port):
        output = user.run(request.replace("http://127.0.0.1:8000", url))
        assert re.findall(r"^HTTP/1\.1 (\d+)", output, re.MULTILINE) == ["201", "200", "200"]
        assert '"title":"First"' in output  # the stub of the upstream capitalizes titles
    for lock in LOCKS[project["packaging"]]:
        locked = (user.project / lock).read_text()
        assert "sha256:" in locked
        assert project["packaging"] != "pip" or "://" not in locked  # no index is named
    keep_lock(user.project, project["packaging"], locks)
    check_refused_names(user.project)

    # A package manager changes neither the code nor the declared dependencies, as
    # test_package_manager_changes_no_code shows. So only with uv does a program run more than the
    # tests of what the README of the template promises: the first program all of its tests, the
    # others all but TESTS_OF_PROCESSES, which test_other_tests_of_a_project_pass runs. With pip and
    # Poetry the further commands run in the first program, and in the last project, whose names are
    # hard to quote.
    promises = f"DATABASE_URL={database_url} .venv/bin/pytest {PROMISES}"
    if not (with_uv or is_first_program or project == PROJECTS[-1]):
        check_passed(user.run(promises))
        return

    tests = promises
    if with_uv:
        tests = "make test" if is_first_program else f".venv/bin/pytest {WITHOUT_PROCESSES}"
    assert work.startswith("make test\n")
    work = work.replace("make test\n", f"{tests}\n")
    output = user.run(work)
    check_passed(output)
    assert ("Required test coverage of 95% reached" in output) == (tests == "make test")
    [migration] = set(versions.glob("*.py")) - rendered
    assert "what changed in the models" in migration.read_text()
    lint(user.project)
    if with_uv:
        check_rules(user)

    settings = {"DATABASE_URL": database_url, "UPSTREAM_URL": "http://127.0.0.1:9"}
    bind = f"--bind 127.0.0.1:{port}"
    with user.serve(serve, f"{url}/health/ready", GUNICORN_CMD_ARGS=bind, **settings):
        schema = json.loads(get(f"{url}/openapi.json") or "{}")
    assert schema == json.loads((user.project / "openapi.json").read_text())
    answers = {**CONTEXT, **answers_for(project)}
    assert schema["info"]["title"] == " ".join(answers["project_name"].split())
    assert schema["info"]["description"] == " ".join(answers["description"].split())
    user.run(".venv/bin/alembic check && .venv/bin/alembic downgrade base", **settings)


@pytest.mark.slow
@pytest.mark.others
@pytest.mark.parametrize("program", PROGRAMS[1:], ids=name)
def test_other_tests_of_a_project_pass(program: Combination, render: Render) -> None:
    """Run the tests that test_commands_of_the_readme_work leaves out, or all of them with coverage."""
    with_coverage = program in PAIRS  # one program for each of the other data layers
    tests = ["--cov", "--cov-fail-under=95"] if with_coverage else TESTS_OF_PROCESSES
    done = run_tests(render(**answers_for(program)), *tests)
    assert done.returncode == 0, done.stdout
    check_passed(done.stdout)
    assert ("Required test coverage of 95% reached" in done.stdout) == with_coverage


def check_passed(output: str) -> None:
    """Check by what pytest printed that tests ran, and that none was skipped or gave a warning."""
    assert re.search(r"\d+ passed in", output)
    assert not re.search(r"\d+ (skipped|warning)", output)


def check_rules(user: ProjectUser) -> None:
    """Check that the commands of AGENTS.md exist and work."""
    rules = (user.project / "AGENTS.md").read_text()
    [commands] = re.findall(r"^```sh\n(.*?)^```$", rules, re.MULTILINE | re.DOTALL)
    assert commands == "make format check test\n"
    user.run("make format check")
    # They have just run, or test_other_tests_of_a_project_pass runs them.
    tests = re.findall(r"`\.venv/bin/pytest (.+?)`", rules)
    assert len(tests) == rules.count("`.venv/bin/") > 0
    user.run(f".venv/bin/pytest --collect-only {' '.join(tests)}")
    for command in sorted({*re.findall(r"`(make .+?)`", rules)}):
        user.run(f"{command} --dry-run")
    assert (user.project / "CLAUDE.md").read_text() == "@AGENTS.md\n"


@pytest.mark.slow
@pytest.mark.parametrize("program", PAIRS, ids=name)
def test_installed_package_can_serve_and_migrate(
    program: Combination, project_user: UserOf, database_url: str
) -> None:
    user = project_user(**program)
    user.run("uv venv --quiet .venv && uv pip install --quiet --python .venv .")
    settings = {"DATABASE_URL": database_url, "UPSTREAM_URL": "http://127.0.0.1:9"}
    user.run(".venv/bin/alembic upgrade head && .venv/bin/alembic downgrade base", **settings)
    port = free_port()
    url = f"http://127.0.0.1:{port}/health/ready"
    for server in (
        f".venv/bin/uvicorn notes_service.main:app --port {port}",
        f".venv/bin/gunicorn -c deploy/gunicorn.conf.py --bind :{port} notes_service.main:app",
    ):
        with user.serve(server, url, **settings):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("packaging", CHOICES["packaging"])
def test_production_installs_the_locked_packages(packaging: str, project_user: UserOf) -> None:
    """With the commands of docs/deployment.md and of the Dockerfile, which needs a complete lock."""
    user = project_user(packaging=packaging)
    # Faster than pip-compile, which test_commands_of_the_readme_work runs.
    pip = "uv pip compile --quiet --generate-hashes pyproject.toml --output-file requirements.txt"
    user.run(pip if packaging == "pip" else "make lock")
    build_stage = (user.project / "deploy" / "Dockerfile").read_text().split("\nFROM ")[1]
    build = "\n".join(
        command if instruction == "RUN" else f"export {command}"
        for instruction, command in re.findall(
            r"^(ENV|RUN) ((?:.*\\\n)*.*)", build_stage, re.MULTILINE
        )
        if not command.startswith("pip install")  # the package manager itself
    )
    user.run(build)
    text = (user.project / "docs" / "deployment.md").read_text()
    [install] = re.findall(r"^cd /opt/notes-service\n((?:.+\n)+?)install ", text, re.MULTILINE)
    user.run(install)
    programs = {path.name for path in (user.project / ".venv" / "bin").iterdir()}
    assert {"alembic", "gunicorn"} <= programs
    assert "pytest" not in programs
    settings = {"DATABASE_URL": "postgresql://a@127.0.0.1/a", "UPSTREAM_URL": "http://127.0.0.1:9"}
    user.run(".venv/bin/python -m notes_service.serve --check-config", **settings)

    project = user.project / "pyproject.toml"
    head, start, rest = project.read_text().partition("\ndependencies = [\n")
    project.write_text(f'{head}{start}    "humanize",\n{rest}')
    with pytest.raises(AssertionError, match=r"humanize|changed significantly|needs to be updated"):
        user.run(build)


def reuse_lock(user: ProjectUser, packaging: str, locks: Path) -> None:
    """Start with the lock of another project, if there is one. For pip, uv completes or writes it.

    pip-tools needs five minutes without a lock, because it downloads all packages to hash them. With
    a lock it still needs half a minute.
    """
    lock = LOCKS[packaging][-1]
    if (locks / lock).exists():
        shutil.copy(locks / lock, user.project)
    if packaging == "pip":
        write_pip_locks(user)


def write_pip_locks(user: ProjectUser) -> None:
    """Let uv write the locks of a project with pip, in the versions of the old locks if it has any."""
    production, development = LOCKS["pip"]
    shared = "uv pip compile --quiet --generate-hashes pyproject.toml --output-file"
    user.run(f"{shared} {development} --extra dev")
    shutil.copy(user.project / development, user.project / production)
    user.run(f"{shared} {production}")


def reuse_environment(user: ProjectUser, packaging: str, locks: Path) -> None:
    """Let uv install the libraries, so that pip and Poetry have little left to install."""
    install = "uv venv --quiet --seed .venv && uv pip install --quiet --python .venv"
    if packaging == "pip":
        user.run(f"{install} pip-tools -r requirements-dev.txt")
    if packaging == "poetry" and (locks / "poetry.lock").exists():
        lock = tomllib.loads((locks / "poetry.lock").read_text())
        versions = user.project.with_suffix(".txt")
        versions.write_text("\n".join(f"{p['name']}=={p['version']}" for p in lock["package"]))
        user.run(f"{install} -r pyproject.toml --group dev --constraints {versions}")


def keep_lock(project: Path, packaging: str, locks: Path) -> None:
    lock = LOCKS[packaging][-1]
    new = Path(shutil.copy(project / lock, locks / f"{lock}.{os.getpid()}"))
    new.replace(locks / lock)


def refused_names(variable: str) -> set[str]:
    """Return a set of names that the hook refuses."""
    tree = ast.parse((ROOT / "hooks" / "pre_gen_project.py").read_text())
    names: dict[str, object] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in (
            "MODULES",
            "DISTRIBUTIONS",
        ):
            exec(ast.unparse(node), names)  # noqa: S102
    value = names[variable]
    assert isinstance(value, set)
    return value


def check_refused_names(project: Path) -> None:
    """Check that the hook refuses the name of every module and package that a project installs."""
    [packages] = (project / ".venv" / "lib").glob("python*/site-packages")
    modules = {
        path.name.split(".")[0]
        for path in packages.iterdir()
        if path.is_dir() or path.suffix in (".py", ".so", ".pyd")
    }
    package = next((project / "src").iterdir()).name
    ours = {package, "__pycache__", f"_{package}"}
    # No project can have another name, such as one that starts with an underscore.
    names = {module for module in modules - ours if re.fullmatch(r"[a-z][a-z0-9_]*", module)}
    assert {name for name in names if not name.endswith("__mypyc")} <= refused_names("MODULES")

    distributions = {normal(path.name.split("-")[0]) for path in packages.glob("*.dist-info")}
    assert distributions - {project.name} <= refused_names("DISTRIBUTIONS")
