"""Releases: the changelog, the version, and what a release must not change without a word."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import release
from tests.choices import CONTEXT, ROOT, Combination
from tests.support import interface
from tests.test_projects import SOME_SLOW

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
HEADINGS = ["What an update brings by itself", "What to edit by hand", "Migrations"]
UNRELEASED = "".join([release.UNRELEASED, *(f"\n### {heading}\n\nNone.\n" for heading in HEADINGS)])

# The example's migrations are never changed, and no other is added to them.
MIGRATIONS = {
    "2026_11_22_1200_notes.py": (
        "7458d5a0d16238d0774e7c52bb93891191136b85a03f3a913ea54aa1d6b2a72b"
    ),
    "2026_11_22_1210_notes_not_synchronized.py": (
        "23daaac53147ad643cc87ac604b0590e580613dd033efc7e70e92a9491936a23"
    ),
}
FROZEN = """
The example's migrations are frozen. Projects have run them, so a change of one reaches no database,
and a new one would be a second head beside the migrations of the project's owner. Restore them, and
leave the example's tables as they are: what they do not show, a guide can show.
"""
WRITE = f".venv/bin/python -m tests.support.interface > {interface.FILE.relative_to(ROOT)}"
CHANGED = f"""
Domains of users rely on the lines of docs/interface.txt that start with -. Keep them true. If that is
not possible, add the change to "What to edit by hand" in CHANGELOG.md, under `## Unreleased`, with
the command that carries a domain over. Then write the file again:

    {WRITE}
"""
ADDED = f"There is more that domains may rely on. Write it down:\n\n    {WRITE}\n"


def sections() -> dict[str, str]:
    """Return the sections of the changelog, the newest first."""
    _, *rest = re.split(r"^## (.*)\n", CHANGELOG, flags=re.MULTILINE)
    return dict(zip(rest[::2], rest[1::2], strict=True))


def test_version_is_the_newest_release_of_the_changelog() -> None:
    versions = [title for title in sections() if f"## {title}\n" != release.UNRELEASED]
    assert CONTEXT["__version"] == versions[0]
    numbers = [[int(number) for number in version.split(".")] for version in versions]
    assert numbers == sorted(numbers, reverse=True)
    assert all(len(number) == 3 and 1 <= number[1] <= 12 for number in numbers)


@pytest.mark.parametrize("title", sections())
def test_section_of_a_release_has_its_three_parts(title: str) -> None:
    _, *parts = re.split(r"^### (.*)\n", sections()[title], flags=re.MULTILINE)
    assert parts[::2] == HEADINGS
    assert all(part.strip() for part in parts[1::2])


@pytest.mark.parametrize("project", SOME_SLOW)
def test_project_names_its_release(project: Combination, rendered: Callable[..., Path]) -> None:
    """In a file of one line, which an update can replace whatever its owner has edited."""
    text = (rendered(**project) / ".template-version").read_text()
    assert text == f"{CONTEXT['__version']}\n"


@pytest.mark.parametrize("project", SOME_SLOW)
def test_migrations_of_the_example_are_frozen(
    project: Combination, rendered: Callable[..., Path]
) -> None:
    folder = rendered(**project) / "migrations" / "versions"
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert hashes == MIGRATIONS, FROZEN


def test_interface_is_the_declared_one() -> None:
    declared, actual = interface.FILE.read_text(), interface.declaration()
    removed = set(declared.splitlines()) - set(actual.splitlines())
    assert not removed, "\n".join([CHANGED, *(f"- {line}" for line in sorted(removed))])
    assert declared == actual, ADDED


def test_interface_has_what_guides_import() -> None:
    """The names are found by reading, so a part that is not found would be missed."""
    text = interface.FILE.read_text()
    for name in ("Database.transaction", "Transaction", "Connection", "Statement.many"):
        assert re.search(rf"\.{re.escape(name)}: ", text), name
    for name in ("DatabaseDependency", "read", "Id", "path_to", "retry_on_conflict", "serve"):
        assert re.search(rf"\.{name}: ", text), name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("@retried", "@retry_on_conflict"),
        ("# it is retried", "# it is retried"),
        (
            "from ..database import Connection, Statement",
            "from ..database import Connection\nfrom ..statement import Statement",
        ),
        ("from ..database import Statement", "from ..statement import Statement"),
        ("raise Unavailable", "raise DatabaseUnavailable"),
        ("except StatementTimedOut:", "except StatementTimeout:"),
        ("except (ReadOnly, Collision):", "except (DatabaseReadOnly, TransactionConflict):"),
        ("from ..openapi import heeds, linked", "from ..openapi import header, links"),
        ("from tests.databases import Sql", "from tests.temporary_database import Sql"),
        (
            "from tests.serving import problem, serve",
            "from tests.serving import assert_problem, serve",
        ),
        ("    problem(answer, 404)", "    assert_problem(answer, 404)"),
        ("from tests.wire import Wire", "from tests.postgres_proxy import PostgresProxy"),
        ("    assert wire.startups", "    assert postgres_proxy.startup_messages"),
    ],
)
def test_commands_of_the_first_release_carry_a_domain_over(
    before: str, after: str, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", sections()["2026.11.1"], re.M | re.S)
    file = tmp_path / "domain.py"
    file.write_text(f"{before}\n")
    for block in blocks:
        commands = re.sub(r"^(\w+)=.*", r"\1=.", block)
        commands = commands.replace("$DOMAIN/*.py", file.name).replace("$TESTS", file.name)
        subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, check=True)
    assert file.read_text() == f"{after}\n"


@pytest.mark.parametrize(
    ("changelog", "version"),
    [
        ("", "2026.12.1"),
        ("## 2026.11.9\n", "2026.12.1"),
        ("## 2026.12.1\n## 2026.11.4\n", "2026.12.2"),
        ("## 2026.12.10\n## 2026.12.9\n", "2026.12.11"),
        ("## 2025.12.3\n", "2026.12.1"),
    ],
)
def test_release_is_named_by_its_month(changelog: str, version: str) -> None:
    assert release.next_version(changelog, date(2026, 12, 31)) == version


class Repository:
    """A clone of this repository with one commit, and somebody who makes releases in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("Makefile", "release.py", "CHANGELOG.md", "cookiecutter.json"):
            shutil.copy(ROOT / name, folder)
        for name in ("templates/common", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc"))
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments: str) -> None:
        author = ["-c", "user.name=Zoë", "-c", "user.email=zoe@example.com"]
        subprocess.run(["git", *author, *arguments], cwd=self.folder, check=True)

    def commit(self) -> None:
        self.git("add", ".")
        self.git("commit", "--quiet", "--allow-empty", "--message", "work")

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    def change(self, file: str, before: str, after: str) -> None:
        self.write(file, (self.folder / file).read_text().replace(before, after, 1))

    def release(self) -> str:
        """Return the output of `make release`."""
        done = subprocess.run(
            ["make", "release"],
            cwd=self.folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path)
    released = re.sub(r"^## Unreleased\n.*?(?=^## )", "", CHANGELOG, flags=re.MULTILINE | re.DOTALL)
    repository.write("CHANGELOG.md", released)
    repository.commit()
    return repository


def add_section(repository: Repository, by_hand: str = "None.") -> None:
    section = UNRELEASED.replace("by hand\n\nNone.", f"by hand\n\n{by_hand}")
    first = f"## {CONTEXT['__version']}\n"
    repository.change("CHANGELOG.md", first, f"{section}\n{first}")


def test_release_is_prepared_and_nothing_is_pushed(repository: Repository) -> None:
    version = CONTEXT["__version"]
    assert f'git tag --annotate {version} --message "{version}"' in repository.release()
    repository.git("tag", version)
    assert "no release is needed" in repository.release()

    repository.write("docs/new.md", "Not rendered.")
    repository.commit()
    assert "no release is needed" in repository.release()

    repository.change("templates/common/gitignore", "", "*.new\n")
    assert "Commit your work first" in repository.release()
    repository.commit()
    assert "CHANGELOG.md does not say what" in repository.release()

    add_section(repository)
    repository.commit()
    output = repository.release()
    new = re.findall(r"git tag --annotate (\S+)", output)[0]
    assert f"git push origin HEAD {new}" in output
    assert f'"__version": "{new}"' in (repository.folder / "cookiecutter.json").read_text()
    changelog = (repository.folder / "CHANGELOG.md").read_text()
    assert re.findall(r"^## (.*)", changelog, re.MULTILINE)[:2] == [new, version]

    # Who makes the release types the commands, all but the last one, which pushes it.
    commit, tag = re.findall(r"^    git (commit .*|tag .*)$", output, re.MULTILINE)
    for command in (commit, tag):
        arguments = [argument.strip('"') for argument in re.findall(r'"[^"]*"|\S+', command)]
        repository.git(*arguments)
    assert "no release is needed" in repository.release()


def test_release_that_changes_the_interface_says_what_to_edit(repository: Repository) -> None:
    repository.git("tag", CONTEXT["__version"])
    repository.change("templates/common/gitignore", "", "*.new\n")
    [first, *_] = re.findall(r"^service\..*\n", interface.FILE.read_text(), re.MULTILINE)
    repository.change("docs/interface.txt", first, "")
    add_section(repository)
    repository.commit()
    assert first.strip() in repository.release()

    repository.change("CHANGELOG.md", "by hand\n\nNone.", "by hand\n\nWhat to type.")
    repository.commit()
    assert "To release it" in repository.release()
