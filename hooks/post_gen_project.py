"""Prints what to type next, or removes the example; installs, moves and commits nothing."""

import os
import subprocess
import sys

TOOLS = {
    "uv": "uv (https://docs.astral.sh/uv/)",
    "poetry": "Poetry (https://python-poetry.org/)",
    "pip": "Python 3.11 to 3.14",
}

# docs/update.md: cruft compares two renderings. If the project's example was removed, it is removed
# from them, too. The example's migrations stay, because those of the project may follow them.
REMOVE_EXAMPLE = """
from shutil import rmtree
from scripts.remove_example import FILES, FOLDERS, changed_files
for path, content in changed_files().items():
    path.write_bytes(content)
for path in FILES:
    path.unlink()
for path in FOLDERS:
    rmtree(path)
"""
if os.environ.get("WITHOUT_EXAMPLE") == "1":
    print("WITHOUT_EXAMPLE=1: the example is left out.")
    subprocess.run([sys.executable, "-B", "-c", REMOVE_EXAMPLE], check=True)  # noqa: S603
    sys.exit()

print(
    f"""
{{ cookiecutter.project_slug }} is ready. With make and {TOOLS["{{ cookiecutter.packaging }}"]}:

    cd {{ cookiecutter.project_slug }}
    make run     # installs, starts a PostgreSQL and serves http://127.0.0.1:8000/docs
    make test    # on a database of its own

Then read its README.md."""
)
if os.name == "nt":
    print("On Windows, do this in WSL: the commands need make, sh and a Unix.")
