"""Rules for the code that a program can check: words, lines of a file, private names."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.choices import ROOT, TEMPLATES

# Words that DESIGN 6 replaced, in patterns that do not match themselves.
OLD_WORDS = re.compile(
    r"\b(Turn[s]|Frank[C]onnection|Loa[n]|Kep[t]|ENDE[D])\b"
    r"|Say what there i[s]|is not to b[e] |Tell whethe[r]"
)
LINES = {
    "statement.py": 105,
    "database.py": 130,
    "postgres.py": 150,
    "gunicorn.conf.py": 80,
}
# Only the `databases` layer may have these: the library is archived and will not change.
PRIVATE = re.compile(r"noqa:[^#]*SLF001(.*)")
MOST_PRIVATE = 3


def tracked(*patterns: str) -> list[Path]:
    """Return the files of the repository, committed or not, that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    return [file for file in files if file.is_file()]


def test_old_words_are_gone() -> None:
    files = tracked("templates", "tests", "benchmarks", "*.md")
    lines = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in files
        for line in file.read_text(errors="replace").splitlines()
        if OLD_WORDS.search(line)
    ]
    assert lines == []


@pytest.mark.parametrize("name", ["database.py", "postgres.py", "gunicorn.conf.py"])
def test_file_is_short_enough_to_read(name: str) -> None:
    files = [file for file in TEMPLATES.rglob(name) if file.parent.name in ("service", "deploy")]
    assert files
    for file in files:
        path = file.relative_to(TEMPLATES).as_posix()
        lines = len(file.read_text().splitlines())
        assert lines <= LINES.get(path, LINES[name]), f"{path} has {lines} lines"


def test_private_names_of_libraries_are_used_by_databases_only_and_with_a_reason() -> None:
    """ruff's SLF001 refuses every other one, here and in the rendered projects."""
    exceptions = []
    for file in TEMPLATES.rglob("*.py"):
        before = ""
        for line in file.read_text().splitlines():
            if match := PRIVATE.search(line):
                has_reason = match[1].strip() or before.strip().startswith("#")
                exceptions.append((file.relative_to(TEMPLATES).as_posix(), bool(has_reason)))
            before = line
    assert all(path.startswith("pool/databases/") for path, _ in exceptions), exceptions
    assert all(has_reason for _, has_reason in exceptions), exceptions
    assert len(exceptions) <= MOST_PRIVATE, exceptions


def test_ruff_refuses_private_names_here_and_in_projects() -> None:
    for file in (ROOT / "pyproject.toml", TEMPLATES / "common" / "project.toml"):
        [rules] = re.findall(r"^select = \[(.*)\]$", file.read_text(), re.MULTILINE)
        assert '"SLF"' in rules, file
