"""Prints what to type next; installs, moves and commits nothing."""

import os

TOOLS = {
    "uv": "uv (https://docs.astral.sh/uv/)",
    "poetry": "Poetry (https://python-poetry.org/)",
    "pip": "Python 3.11 or later",
}

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
