"""Updates of projects, and switches of their choices, as docs/update.md describes them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.choices import CHOICES, ROOT, Combination, name
from tests.support.guide import apply, blocks
from tests.support.others import mark_others
from tests.test_projects import contents
from tests.test_shipped_tests import run_python, run_tests

pytestmark = pytest.mark.slow

# States of the template from before its first release: they count until there are three releases.
STATES = ["115dc25", "ca16520", "316bfbb"]
COMBINATIONS = [
    {"framework": "fastapi", "sqlalchemy": "core", "pool": "asyncpg", "packaging": "uv"},
    {"framework": "starlette", "sqlalchemy": "orm", "pool": "asyncpg", "packaging": "poetry"},
    {"framework": "fastapi", "sqlalchemy": "orm", "pool": "databases", "packaging": "pip"},
]
BASE = COMBINATIONS[0]
SWITCHES = [
    (choice, before, after)
    for choice, values in CHOICES.items()
    for before in values
    for after in values
    if before != after
]
REPOSITORY = "https://github.com/org/cookiecutter-async-postgres"
# What a user changes in six files of the template.
OWN_CHANGES = """
```diff title="README.md"
+## Who to ask
+
+The people of the library.
+
 ## Start
```

```diff title="src/notes_service/settings.py"
+    longest_visit: Duration = 3600
     cors_origins: Origins = ()
```

```diff title="Makefile"
 format: install ## Format the code and fix what ruff can fix
+	@echo "Tidy the shelves"
```

```diff title="src/notes_service/app.py"
+SHELVES = 3
+
+
 def create_app(settings: Settings) -> APPLICATION:
```

```diff title="deploy/compose.yaml"
       DATABASE_PGBOUNCER: "true"
+      LONGEST_VISIT: "60"
```

```diff title="pyproject.toml"
     "pydantic-settings>=2.16",
+    "pyjwt>=2.10",
```
"""
TESTS = [
    "tests/authors",
    "tests/books",
    "tests/test_migrations.py::test_upgrade_matches_models_and_downgrade_removes_all_tables",
]
APPLICATION = {"fastapi": "FastAPI", "starlette": "Starlette"}
# The files of projects in which `make check` finds nothing: after updates from several states they
# are the same.
CHECKED: set[frozenset[tuple[str, bytes]]] = set()
DOCUMENT = (ROOT / "docs" / "update.md").read_text()
GIT = {
    **{f"GIT_{role}_NAME": "Zoe" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "zoe@example.com" for role in ("AUTHOR", "COMMITTER")},
}


def run(command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env={**os.environ, **GIT, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def documented(heading: str, number: int = 0, arguments: str = "") -> str:
    """Return a block of commands of a section of docs/update.md.

    arguments: they are added to the first line.
    """
    section = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    first, *others = [block.content for block in blocks(section)][number].splitlines()
    commands = "\n".join([f"{first} {arguments}", *others])
    return re.sub(r"\buvx (\w+)", rf"{shlex.quote(sys.executable)} -m \1", commands)


class Template:
    """A clone of this repository, whose last commit has also what is not committed yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run(f"git clone --quiet {shlex.quote(str(ROOT))} {folder}", ROOT)
        run(f"git --work-tree {shlex.quote(str(ROOT))} add --all", folder)
        run("git commit --quiet --allow-empty --message now", folder)
        self.now = run("git rev-parse HEAD", folder).strip()
        tags = run("git tag --list '20*.*.*' --sort -version:refname", folder).split()
        self.releases = [*tags, *STATES][:3]

    @cache  # noqa: B019
    def with_hook(self, state: str) -> str:
        """Return a commit of a state, to which the hook that can remove the example is added."""
        self.require(state)
        run(
            f"git checkout --quiet --force {state} && git checkout {self.now} -- hooks && "
            "git commit --quiet --allow-empty --message hook",
            self.folder,
        )
        return run("git rev-parse HEAD", self.folder).strip()

    def require(self, state: str) -> None:
        done = subprocess.run(
            ["git", "cat-file", "-e", f"{state}^{{commit}}"], cwd=self.folder, capture_output=True
        )
        if done.returncode:
            pytest.fail(
                f"This clone lacks {state}, an earlier state of the template: "
                "get its history with git fetch --unshallow --tags"
            )

    def answered(self, command: str, version: str) -> str:
        return command.replace(REPOSITORY, str(self.folder)).replace("VERSION", version)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return Template(tmp_path_factory.mktemp("template") / "clone")


class Project:
    """A project with a domain and changes of its user's own."""

    def __init__(self, template: Template, path: Path, mypy_cache: Path) -> None:
        self.template = template
        self.path = path
        self._mypy_cache = mypy_cache

    def create(self, version: str, answers: Combination) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.parent.mkdir(exist_ok=True)
        arguments = f"--no-input --extra-context {shlex.quote(json.dumps(answers))}"
        create = documented("Create a project that can be updated", 0, arguments)
        run(self.template.answered(create, version), self.path.parent)
        run(documented("Create a project that can be updated", 1), self.path)

    def commit(self) -> None:
        run("git add . && git commit --quiet --message mine", self.path)

    def remove_example(self) -> None:
        done = run_python(self.path, "-B", "-m", "scripts.remove_example")
        assert done.returncode == 0, done.stderr

    def work(self, guide: str, framework: str) -> None:
        """Add the guide's domains, and change files of the template."""
        changes = OWN_CHANGES.replace("APPLICATION", APPLICATION[framework])
        for block in blocks(guide + changes):
            if block.language != "sh":
                apply(block, self.path)
        self.format()

    def format(self) -> None:
        run_python(self.path, "-m", "ruff", "format", "--no-cache", ".")
        run_python(self.path, "-m", "ruff", "check", "--no-cache", "--fix", ".")

    def update(self, command: str, version: str, **environment: str) -> None:
        run(self.template.answered(command, version), self.path, **environment)

    def conflicts(self) -> set[str]:
        """Return the files with conflicts."""
        rejected = [str(path) for path in self.path.rglob("*.rej")]
        assert rejected == []
        unmerged = {*run("git diff --name-only --diff-filter=U", self.path).split()}
        markers = {
            file
            for file, content in self.files().items()
            if re.search(rb"^(<<<<<<<|>>>>>>>)", content, re.MULTILINE)
        }
        assert markers == unmerged
        return markers

    def files(self) -> dict[str, bytes]:
        return {
            file: content
            for file, content in contents(self.path).items()
            if not file.startswith(".git/") and file != ".cruft.json"
        }

    def guide(self) -> str:
        return (self.path / "docs" / "guides" / "add-a-domain.md").read_text()

    def test_domains(self) -> None:
        """Write the migration and run the tests of the user's domains, among others."""
        done = run_python(self.path, "-B", "-m", "scripts.develop", "migration", "books")
        assert done.returncode == 0, done.stdout + done.stderr
        done = run_tests(self.path, "-p", "no:cacheprovider", *TESTS)
        assert done.returncode == 0, done.stdout

    def check(self) -> set[str]:
        """Return the files that `make check` names."""
        files_checked = frozenset(self.files().items())
        if files_checked in CHECKED:
            return set()
        named: set[str] = set()
        for command in (
            ["ruff", "format", "--no-cache", "--check", "."],
            ["ruff", "check", "--no-cache", "--output-format", "concise", "."],
            ["mypy", "--cache-dir", str(self._mypy_cache)],
        ):
            done = run_python(self.path, "-m", *command)
            files = re.findall(r"^(?:Would reformat: )?([^\s:]+\.py)\b", done.stdout, re.MULTILINE)
            assert bool(files) == bool(done.returncode), done.stdout + done.stderr
            named |= {*files}
        if not named:
            CHECKED.add(files_checked)
        return named


@pytest.fixture
def project(
    template: Template, tmp_path_factory: pytest.TempPathFactory, mypy_cache: Path
) -> Project:
    # All have the same path, so mypy reads only what differs.
    folder = tmp_path_factory.getbasetemp() / "updated"
    return Project(template, folder / "notes-service", mypy_cache)


def expected(
    rendered: Path, guide: str, framework: str, project: Project, without_example: bool
) -> dict[str, bytes]:
    """Return the files of a project of today in which the user has done the same work."""
    fresh = Project(project.template, project.path.with_name("expected"), Path())
    shutil.rmtree(fresh.path, ignore_errors=True)
    shutil.copytree(rendered, fresh.path)
    if without_example:
        fresh.remove_example()
    fresh.work(guide, framework)
    return fresh.files()


EXAMPLE = pytest.mark.parametrize("without_example", [False, True], ids=["example", "without"])


@EXAMPLE
@pytest.mark.parametrize("combination", mark_others(COMBINATIONS), ids=name)
@pytest.mark.parametrize("age", [0, 1, 2])
def test_update_keeps_own_work_and_has_no_conflict(
    age: int,
    combination: Combination,
    without_example: bool,
    project: Project,
    rendered: Callable[..., Path],
) -> None:
    template = project.template
    state = template.releases[age]
    template.require(state)
    project.create(template.with_hook(state) if without_example else state, combination)
    if without_example:
        project.remove_example()
        project.commit()
    guide = project.guide()
    project.work(guide, combination["framework"])
    project.commit()

    project.update(documented("Update", 2 if without_example else 0), template.now)
    assert project.conflicts() == set()
    fresh = rendered(**combination)
    wanted = expected(fresh, guide, combination["framework"], project, without_example)
    assert project.files() == wanted
    assert project.check() == set()
    if (age, combination, without_example) == (2, BASE, False):
        project.test_domains()


def test_plain_project_can_be_linked(project: Project, render: Callable[..., Path]) -> None:
    heading = "Link a project that plain cookiecutter made"
    shutil.rmtree(project.path, ignore_errors=True)
    shutil.copytree(render(framework="starlette"), project.path)
    run(documented("Create a project that can be updated", 1), project.path)
    project.update(documented(heading), project.template.now)
    assert run("git status --porcelain", project.path) == ""
    run(documented(heading, 1), project.path)

    readme = project.path / "README.md"
    readme.write_text(readme.read_text().replace("## Start", "## Begin"))
    assert "## Begin\n" in run(documented(heading, 1) + " || true", project.path)


def test_rejected_changes_are_merged_when_git_has_the_files(
    project: Project, tmp_path: Path, rendered: Callable[..., Path]
) -> None:
    """The user's first commit has changes already, two lines from one of the template.

    A file that was deleted stays deleted, and a file that is skipped keeps its contents.
    """
    template, state = project.template, STATES[-1]
    template.require(state)
    project.create(state, BASE)
    settings = project.path / "src" / "notes_service" / "settings.py"
    mine = '"critical"], BeforeValidator(lower_case)\n    ] = "warning"\n'
    assert settings.read_text().count(mine.replace("warning", "info")) == 1
    settings.write_text(settings.read_text().replace(mine.replace("warning", "info"), mine))
    deleted, skipped = project.path / "docs/security.md", project.path / "deploy/compose.yaml"
    deleted.unlink()
    compose = skipped.read_bytes()
    with (project.path / "pyproject.toml").open("a") as file:
        file.write("\n" + textwrap.dedent(re.findall(r"\n( +\[tool\.cruft\]\n.*\n)", DOCUMENT)[0]))
    run("rm -rf .git", project.path)
    run(documented("Create a project that can be updated", 1), project.path)

    update = documented("Update")
    project.update(update, template.now)
    rejected = [path.name for path in project.path.rglob("*.rej")]
    assert rejected == ["settings.py.rej"]

    commands = documented("If there are `.rej` files").replace("COMMIT", state)
    for path in ("answers.json", "rendered"):
        commands = commands.replace(f"/tmp/{path}", str(tmp_path / path))  # noqa: S108
    project.update(commands, "")
    project.update(update, template.now)
    assert project.conflicts() == set()
    assert mine in settings.read_text()
    assert "otel_exporter_otlp_endpoint" in settings.read_text()
    assert not deleted.exists()
    assert skipped.read_bytes() == compose != (rendered() / "deploy/compose.yaml").read_bytes()


def left_to_do(choice: str, value: str) -> tuple[set[str], set[str]]:
    """Return the names of the files with conflicts, and of those that `make check` names."""
    for label in (f"`{choice}` to `{value}`", f"`{choice}`"):
        if row := re.search(rf"^\| {label} \|(.*?)\|(.*?)\|", DOCUMENT, re.MULTILINE):
            conflicts, named = (re.findall(r"`(.+?)`", cell) for cell in row.groups())
            return {*conflicts}, {*named}
    raise AssertionError(f"docs/update.md has no row for {choice}")


@pytest.mark.parametrize(("choice", "before", "after"), SWITCHES)
def test_switch_leaves_to_do_what_the_document_says(
    choice: str, before: str, after: str, project: Project, rendered: Callable[..., Path]
) -> None:
    template = project.template
    answers = {**BASE, choice: before}
    switched = {**BASE, choice: after}
    package = Path("src") / "notes_service"
    conflicts, named = left_to_do(choice, after)

    project.create(template.now, answers)
    of_template = project.files()
    project.work(project.guide(), answers["framework"])
    project.commit()
    added = {file: text for file, text in project.files().items() if file not in of_template}

    command = documented("Switch a choice later").replace(
        '{"pool": "databases"}', json.dumps({choice: after})
    )
    project.update(command, template.now)
    assert project.conflicts() == {str(package / file) for file in conflicts}
    assert {file: project.files().get(file) for file in added} == added
    guide = project.guide()
    if conflicts:
        paths = " ".join(str(package / file) for file in sorted(conflicts))
        run(f"git checkout --quiet --theirs {paths}", project.path)
        changes = guide + OWN_CHANGES.replace("APPLICATION", APPLICATION[switched["framework"]])
        for block in blocks(changes):
            if block.title in paths.split():
                apply(block, project.path)
        project.format()
    assert {Path(file).name for file in project.check()} == named

    # The guide in the switched project shows these files in their new form.
    for block in blocks(guide):
        if block.title in added:
            (project.path / str(block.title)).unlink()
            apply(block, project.path)
    project.format()
    assert project.check() == set()
    fresh = rendered(**switched)
    assert project.files() == expected(fresh, guide, switched["framework"], project, False)
    if after == "orm":
        project.test_domains()
