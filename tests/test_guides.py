"""What a user builds on a rendered project: the example goes, and everything still works."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.choices import CHOICES, PROGRAMS, Combination, name
from tests.support.guide import follow
from tests.support.network import free_port, get
from tests.support.others import mark_others
from tests.support.project_user import ProjectUser
from tests.test_projects import (
    check_passed,
    check_refused_names,
    contents,
    files_of_layer,
    reuse_environment,
    reuse_lock,
    write_pip_locks,
)
from tests.test_shipped_tests import run_python

# Every program once. The last ones are for the other package managers.
UV, *OTHERS = CHOICES["packaging"]
PROJECTS = [
    {**program, "packaging": packaging}
    for program, packaging in zip(
        PROGRAMS, [UV] * (len(PROGRAMS) - len(OTHERS)) + OTHERS, strict=True
    )
]
EXAMPLE = re.compile(r"(?i)notes|upstream|aiohttp|the example\b")
# nginx calls the servers behind it upstream: in a directive and in the names of variables.
NGINX = re.compile(r"^ +upstream service|\$upstream_\w+|proxy_next_upstream", re.MULTILINE)
LOCKS = {"uv.lock", "poetry.lock", "requirements.txt", "requirements-dev.txt"}
# These two differ in every choice. When the example is gone, and before the first guide, they run
# TESTS_OF_DOMAINS. After the guides the last one runs all tests. The others run the tests of the
# guides, TESTS_OF_DOMAINS, and the tests of their data layer.
FIRST, LAST = PROJECTS[0], PROJECTS[-1]
# This one runs all tests before the guides.
ALL_WITHOUT_DOMAINS = PROJECTS[1]
# They depend on the routes, tables and settings of a project.
TESTS_OF_DOMAINS = (
    "tests/test_app.py tests/test_documentation.py tests/test_openapi.py tests/test_routing.py "
    "tests/test_schema.py tests/test_settings.py tests/test_transactions.py "
    "tests/test_migrations.py::test_upgrade_matches_models_and_downgrade_removes_all_tables"
)
GUIDES = [
    "add-a-domain.md",
    "columns-and-relations.md",
    "authenticate.md",
    "log-in-with-a-password.md",
    "load-data-in-bulk.md",
    "cache-a-read.md",
    "read-from-a-standby.md",
]
CHECK_AND_TEST = "make format check test\n"
NOT_SEARCHED = {".git", ".venv", ".postgres", "__pycache__", *LOCKS}


def traces_of_the_example(project: Path) -> list[str]:
    """Return the file names and the lines in which a word of the example occurs."""
    traces = []
    for path in project.rglob("*"):
        relative = path.relative_to(project)
        is_generated = any(part.endswith(("_cache", ".egg-info")) for part in relative.parts)
        if NOT_SEARCHED & {*relative.parts} or is_generated or not path.is_file():
            continue
        if path.name == ".coverage":
            continue
        text = path.read_text()
        if path.name in {"nginx.conf", "deployment.md"}:
            text = NGINX.sub("", text)
        lines = [str(relative), *text.splitlines()]
        traces += [f"{relative}: {line}" for line in lines if EXAMPLE.search(line)]
    return traces


@pytest.mark.slow
# `make test` follows the guides once with each package manager.
@pytest.mark.parametrize(
    "project", mark_others(PROJECTS, [FIRST, *PROJECTS[-len(OTHERS) :]]), ids=name
)
def test_guides_can_be_followed_after_the_example_is_removed(
    project: Combination,
    project_user: Callable[..., ProjectUser],
    locks: Path,
    postgres_url: str,
) -> None:
    user = project_user(**project, project_name="Library")
    reuse_lock(user, project["packaging"], locks)
    reuse_environment(user, project["packaging"], locks)
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    run, _, remove, _, _ = user.readme_commands()

    # The example leaves its tables and its revision in .postgres.
    with user.serve(run, f"{url}/notes", PORT=port):
        pass
    user.run(remove)
    assert traces_of_the_example(user.project) == []
    if project == ALL_WITHOUT_DOMAINS:
        check_and_test(user, "make check test\n")
    if project in (FIRST, LAST):
        user.run("make check")
        tests = f".venv/bin/pytest {TESTS_OF_DOMAINS}"
        check_passed(user.run(tests, DATABASE_URL=postgres_url))

    def run_all_but_tests(commands: str) -> None:
        if commands == CHECK_AND_TEST:
            return
        if project["packaging"] == "pip" and guide != GUIDES[-1]:
            lock, declared = user.project / "requirements-dev.txt", user.project / "pyproject.toml"
            if lock.stat().st_mtime < declared.stat().st_mtime:
                # pip-compile takes a quarter of a minute after each new dependency. So it adds only
                # those of the last guide.
                write_pip_locks(user)
        user.run(commands)

    readme = (user.project / "README.md").read_text()
    for guide in GUIDES:
        assert f"(docs/guides/{guide})" in readme
        text = (user.project / "docs/guides" / guide).read_text()
        # Every guide ends with its tests. They run once, with those of the other guides.
        assert text.count(CHECK_AND_TEST) >= 1
        follow(text, user.project, run_all_but_tests)
    tested = {path.parent.name for path in (user.project / "tests").glob("*/test_*.py")}
    assert {"authors", "books", "products", "users", "cities", "ratings", "visits"} <= tested
    if project == LAST:
        check_and_test(user, CHECK_AND_TEST)
    else:
        user.run("make format check")
        folders = " ".join(f"tests/{folder}" for folder in sorted(tested))
        layer = " ".join(file for file in files_of_layer(project) if file.startswith("tests/test_"))
        tests = f".venv/bin/pytest {folders} {TESTS_OF_DOMAINS} {layer}"
        check_passed(user.run(tests, DATABASE_URL=postgres_url))
    check_refused_names(user.project)

    with user.serve(run, f"{url}/health/ready", PORT=port):
        paths = json.loads(get(f"{url}/openapi.json") or b"")["paths"]
    added = {"/authors", "/books/{book_id}", "/products", "/login", "/cities", "/visits"}
    assert {*added, "/ratings/{film_id}"} <= paths.keys()


def check_and_test(user: ProjectUser, commands: str) -> None:
    output = user.run(commands)
    check_passed(output)
    assert "Required test coverage of 95% reached" in output


REMOVE = "python3 -m scripts.remove_example"
COMMIT = "git add . && git -c user.name=Zoe -c user.email=zoe@example.com commit --quiet -m all"


def refused(user: ProjectUser) -> str:
    """Try to remove the example, check that nothing changes, and return why not."""
    before = contents(user.project)
    with pytest.raises(AssertionError, match="Nothing was removed") as refusal:
        user.run(f"PYTHONDONTWRITEBYTECODE=1 {REMOVE}")
    assert contents(user.project) == before
    return str(refusal.value)


def test_example_is_removed_only_when_git_could_restore_it(
    project_user: Callable[..., ProjectUser],
) -> None:
    user = project_user()
    user.run("git init --quiet")
    assert "commit these changes first" in refused(user)
    user.run(COMMIT)
    settings = user.project / "src/notes_service/settings.py"
    settings.write_text(settings.read_text() + "# mine\n")
    assert "settings.py" in refused(user)
    user.run(COMMIT)
    user.run(REMOVE)
    assert settings.read_text().endswith("# mine\n")
    user.run("git reset --quiet --hard && git diff --exit-code HEAD")


def test_example_is_not_removed_when_a_marker_is_missing(
    project_user: Callable[..., ProjectUser],
) -> None:
    user = project_user()
    file = user.project / ".env.example"
    file.write_text(file.read_text().replace("# The example: end\n", ""))
    assert ".env.example" in refused(user)


MIGRATION = """\
revision = "mine"
down_revision = "notes_not_synchronized"
branch_labels = None
depends_on = None


def upgrade() -> None: ...


def downgrade() -> None: ...
"""


@pytest.mark.slow
def test_example_is_removed_by_a_migration_where_others_follow_its_own(
    render: Callable[..., Path],
) -> None:
    project = render()
    versions = project / "migrations/versions"
    (versions / "2026_12_01_1200_mine.py").write_text(MIGRATION)
    before = contents(versions)

    def run(*command: str) -> str:
        done = run_python(project, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    command = 'make migration m="remove the example"'
    assert command in (project / "README.md").read_text()
    assert command in run("-m", "scripts.remove_example")
    assert contents(versions) == before
    assert not (project / "src/notes_service/notes").exists()
    run("-m", "scripts.develop", "migration", "remove the example")
    [migration] = versions.glob("*_remove_the_example.py")
    upgrade = migration.read_text().partition("def downgrade")[0]
    assert re.findall(r'op.drop_table\("(\w+)"\)', upgrade) == ["note_revisions", "notes"]
    # It upgrades, checks and downgrades twice.
    run("-m", "pytest", "-q", "tests/test_migrations.py", "-k", "upgrade_matches_models")
