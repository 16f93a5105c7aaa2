"""The command behind `make remove-example`: it removes the example domain, and then itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.postgres import postgres

VERSIONS = Path("migrations/versions")
MIGRATIONS = [
    VERSIONS / "2026_11_22_1200_notes.py",
    VERSIONS / "2026_11_22_1210_notes_not_synchronized.py",
]
FOLDERS = [Path("src/{{ cookiecutter.package_name }}/notes"), Path("tests/notes")]
FILES = [Path("scripts/upstream.py"), Path("scripts/remove_example.py")]
# Files with parts that belong to the example: lines that end in "The example", and lines from
# "The example: begin" to "The example: end".
SHARED = [
    Path(".env.example"),
    Path("Makefile"),
    Path("README.md"),
    Path("pyproject.toml"),
    *(
        path
        for folder in ("deploy", "docs", "scripts", "src", "tests")
        for path in Path(folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ),
]
PART = re.compile(
    rb"^[^\n]*The example: begin[^\n]*\n.*?The example: end[^\n]*\n+|^[^\n]*# The example\n",
    re.MULTILINE | re.DOTALL,
)
DROP_TABLES = "DROP TABLE note_revisions, notes, alembic_version;"


def changed_files() -> dict[Path, bytes]:
    """Return the new content of each shared file that has a part of the example."""
    contents = {}
    for path in SHARED:
        if path in FILES or any(path.is_relative_to(folder) for folder in FOLDERS):
            continue
        before = path.read_bytes()
        after = PART.sub(b"", before)
        if re.search(b"The example: (begin|end)", after):
            raise SystemExit(f"Nothing was removed: a beginning or an end is missing in {path}")
        if after != before:
            contents[path] = after
    return contents


def require_commit(paths: list[Path]) -> None:
    """Refuse to change what git could not restore. Without git, nothing is checked."""
    command: list[str | Path] = ["git", "status", "--porcelain", "--", *paths]
    try:
        status = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return
    if status.returncode == 0 and status.stdout:
        raise SystemExit(f"Nothing was removed: commit these changes first\n{status.stdout}")


def drop_tables() -> None:
    """Remove the tables from the database that `make run` keeps in .postgres, if there is one."""
    if not Path(".postgres/data").exists():
        return
    with postgres(Path(".postgres")) as url:
        command = [sys.executable, "-m", "alembic", "downgrade", "base"]
        environment = {
            name: value for name, value in os.environ.items() if name.upper() != "DATABASE_URL"
        }
        if subprocess.run(command, env={**environment, "DATABASE_URL": url}).returncode:
            raise SystemExit("Nothing was removed: the database in .postgres was not downgraded")


def main() -> None:
    contents = changed_files()
    has_own_migrations = bool({*VERSIONS.glob("*.py")} - {*MIGRATIONS})
    removed = [*FOLDERS, *FILES, *([] if has_own_migrations else MIGRATIONS)]
    missing = [str(path) for path in removed if not path.exists()]
    if missing:
        raise SystemExit(f"Nothing was removed: {', '.join(missing)} is missing")
    require_commit([*removed, *contents])
    if not has_own_migrations:
        drop_tables()
    for path, content in contents.items():
        path.write_bytes(content)
    for path in removed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    print("The example is removed.", end=" ")
    if has_own_migrations:
        print("Its migrations stay, because yours follow them. Drop its tables with a new one:")
        print('make migration m="remove the example"')
    else:
        print("If a database of your own has its tables, execute this in it:")
        print(DROP_TABLES)


if __name__ == "__main__":
    main()
